//! The loop that takes messages from the bus and admits them, burst by burst. One task owns all of admission, so that
//! it needs no locks of its own.

use super::activation::Activations;
use super::buckets::{PairBuckets, Rate};
use super::desk::Desk;
use super::heartbeat::Heartbeats;
use super::hello::Hellos;
use super::membership::Membership;
use super::parked::{Leaving, ParkingLot, Progress, Until};
use super::received::Received;
use super::resume::Resumes;
use super::tamper::TamperReports;
use super::update::Updates;
use super::{Admitted, IngressLimits};
use crate::bus::subject::UpKind;
use crate::bus::{Bus, BusHealth, Message};
use events::ids::LogIndex;
use events::vocabulary::rejection::RejectionReason;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// A queue group that could not be joined is tried again after this.
const REJOIN_AFTER: Duration = Duration::from_secs(1);
/// What was delivered before this node left the group is taken within this.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// Messages of one source that are traced; others are admitted all the same.
const TRACES: Rate = Rate { burst: 256, every_millis: 100 };

pub(super) struct Intake {
    desk: Arc<Desk>,
    membership: Membership,
    /// Who asks whether this node is in the group looks here.
    joined: watch::Sender<bool>,
    signals: Signals,
    parked: ParkingLot,
    hellos: Hellos,
    activations: Activations,
    resumes: Resumes,
    heartbeats: Heartbeats,
    tamper_reports: TamperReports,
    updates: Updates,
    traces: PairBuckets,
}

/// What tells the loop to do something else than to admit.
pub(super) struct Signals {
    /// Whether this node can commit.
    pub serving: watch::Receiver<bool>,
    pub health: watch::Receiver<BusHealth>,
    pub applied: watch::Receiver<LogIndex>,
    pub stop: watch::Receiver<bool>,
}

enum News {
    Messages,
    /// Somebody parked may go on.
    Parked,
    /// Perhaps this node must join or leave the group.
    Membership,
    Stop,
}

impl Intake {
    pub fn new(
        desk: Arc<Desk>,
        bus: Arc<dyn Bus>,
        limits: &IngressLimits,
        signals: Signals,
        joined: watch::Sender<bool>,
    ) -> Self {
        Intake {
            membership: Membership::new(bus),
            joined,
            signals,
            parked: ParkingLot::new(limits.parked_per_source),
            hellos: Hellos::new(Arc::clone(&desk)),
            activations: Activations::new(Arc::clone(&desk)),
            resumes: Resumes::new(Arc::clone(&desk)),
            heartbeats: Heartbeats::new(Arc::clone(&desk), limits.sessions_kept),
            tamper_reports: TamperReports::new(Arc::clone(&desk)),
            updates: Updates::new(Arc::clone(&desk)),
            traces: PairBuckets::new(TRACES),
            desk,
        }
    }

    /// Runs until it is told to stop; then leaves the group and admits what was delivered before.
    pub async fn run(mut self) {
        let mut messages = Vec::new();
        loop {
            let joined = self.reconcile().await;
            self.tell_membership();
            match self.news(&mut messages, joined).await {
                News::Messages => self.admit(&mut messages).await,
                News::Parked => self.go_on().await,
                News::Membership => {}
                News::Stop => break,
            }
        }
        self.drain(messages).await;
    }

    /// Joins or leaves the group, as this node's state demands; false if it should be a member and could not.
    async fn reconcile(&mut self) -> bool {
        let connected = matches!(*self.signals.health.borrow(), BusHealth::Connected);
        let refused = matches!(*self.signals.health.borrow(), BusHealth::Refused(_));
        let serving = *self.signals.serving.borrow() && !refused;
        match (serving, self.membership.is_member()) {
            (true, true) | (false, false) => true,
            (true, false) if !connected => true,
            (true, false) => match self.membership.join().await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(%error, "cannot join the queue group");
                    false
                }
            },
            (false, true) => {
                self.membership.leave().await;
                true
            }
        }
    }

    fn tell_membership(&self) {
        let is_member = self.membership.is_member();
        self.joined.send_if_modified(|told| std::mem::replace(told, is_member) != is_member);
    }

    async fn news(&mut self, messages: &mut Vec<Message>, joined: bool) -> News {
        let Signals { serving, health, applied, stop } = &mut self.signals;
        let due = self.parked.due_in_millis(self.desk.now_millis()).map(Duration::from_millis);
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => News::Stop,
            Ok(()) = serving.changed() => News::Membership,
            Ok(()) = health.changed() => News::Membership,
            () = sleep(REJOIN_AFTER), if !joined => News::Membership,
            () = sleep(due.unwrap_or_default()), if due.is_some() => News::Parked,
            Ok(()) = applied.changed(), if due.is_some() => News::Parked,
            () = self.membership.next_burst(messages) => News::Messages,
        }
    }

    async fn admit(&mut self, messages: &mut Vec<Message>) {
        self.desk.counters.received.add(messages.len());
        let now = self.desk.now_millis();
        let mut admitted = Admitted::default();
        let mut received = Vec::with_capacity(messages.len());
        for message in messages.drain(..) {
            let traced = |source: &str| self.traces.take(0, source, now);
            match Received::read(message, now, traced) {
                Ok(message) => received.push(message),
                Err(refused) => admitted.answers.extend(self.desk.refuse(refused)),
            }
        }
        self.admit_received(received, false, &mut admitted);
        self.finish(admitted).await;
    }

    /// Admits those who waited for this node: it caught up, or they waited long enough.
    async fn go_on(&mut self) {
        let progress = AppliedHere { desk: &self.desk, applied: self.desk.applied() };
        let Leaving { ready, expired } = self.parked.leave(&progress, self.desk.now_millis());
        let mut admitted = Admitted::default();
        self.admit_received(ready, false, &mut admitted);
        self.admit_received(expired, true, &mut admitted);
        self.finish(admitted).await;
    }

    fn admit_received(&mut self, messages: Vec<Received>, expired: bool, admitted: &mut Admitted) {
        let mut heartbeats = Vec::with_capacity(messages.len());
        for received in messages {
            match received.kind {
                UpKind::Heartbeat => heartbeats.push(received),
                UpKind::Hello => admitted.answers.extend(self.hellos.admit(received)),
                UpKind::Resume => self.resumes.admit(received, expired, admitted),
                UpKind::Activation => self.activations.admit(received, expired, admitted),
                UpKind::Tamper => self.tamper_reports.admit(received, admitted),
                UpKind::Update => admitted.answers.extend(self.updates.admit(received)),
            }
        }
        if !heartbeats.is_empty() {
            self.heartbeats.admit(&mut heartbeats, expired, admitted);
        }
    }

    async fn finish(&mut self, admitted: Admitted) {
        let Admitted { mut answers, waiting } = admitted;
        for (received, until) in waiting {
            match self.parked.park(received, until) {
                None => self.desk.counters.parked.add(1),
                Some(received) => {
                    self.desk.failures.note(&received, self.desk.now_millis());
                    answers.extend(self.desk.refuse(received.refused(without_place(until))));
                }
            }
        }
        self.desk.outbox.send(answers).await;
    }

    async fn drain(mut self, mut messages: Vec<Message>) {
        self.membership.leave().await;
        self.tell_membership();
        let rest = async {
            while !self.membership.is_empty() {
                self.membership.next_burst(&mut messages).await;
                self.admit(&mut messages).await;
            }
        };
        if timeout(DRAIN_WITHIN, rest).await.is_err() {
            tracing::warn!("the bus did not end the subscriptions in time");
        }
        let parked = self.parked.take_all();
        let refuse = |received: Received| self.desk.refuse(received.refused(RejectionReason::Unavailable));
        self.desk.outbox.send(parked.into_iter().filter_map(refuse).collect()).await;
    }
}

/// What is said to a message that would have to wait and finds no place to: what it would hear in the end.
fn without_place(until: Until) -> RejectionReason {
    match until {
        Until::Applied(_) => RejectionReason::Unavailable,
        Until::CaughtUp => RejectionReason::NotAuthentic,
    }
}

struct AppliedHere<'a> {
    desk: &'a Desk,
    applied: LogIndex,
}

impl Progress for AppliedHere<'_> {
    fn applied(&self) -> LogIndex {
        self.applied
    }

    fn has_caught_up(&self, arrived_millis: u64) -> bool {
        self.desk.batcher.has_caught_up(arrived_millis, self.applied)
    }
}
