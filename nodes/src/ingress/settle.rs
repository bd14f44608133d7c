//! From outcomes to answers: who waited for a batch hears what the fold made of it, and nothing else.
//!
//! ```text
//!   committed ─▶ rows ────▶ verdicts, one pass     again ─▶ proposed once more, as events
//!             └▶ events ──▶ verdicts, grants (sealed on the P-384 threads), acknowledgements
//!   surely not proposed ─▶ UNAVAILABLE             unknown ─▶ silence: they ask again
//! ```

use super::activation::ActivationWaiter;
use super::batcher::{Decided, Settle};
use super::desk::Desk;
use super::opened::Opened;
use super::queue::{Favour, Refused as NoPlace};
use super::received::Received;
use super::resume::ResumeWaiter;
use super::tamper::ACKNOWLEDGEMENT;
use super::under_way::Joined;
use crate::bus::Outgoing;
use crate::egress::Sealer;
use crate::egress::verdict::verdict;
use crate::proposer::ProposeError;
use bytes::Bytes;
use events::ids::LogIndex;
use events::time::Timestamp;
use events::vocabulary::RejectionSummary;
use events::vocabulary::rejection::RejectionReason;
use futures::FutureExt;
use futures::future::BoxFuture;
use projector::outcome::{HeartbeatOutcome, HeartbeatStatus, Outcome, Outcomes};
use std::sync::Arc;
use tracing::Span;

/// Answers sealed before they are handed on, so that the first of a large batch do not wait for the last.
const BURST_MAX: usize = 512;

/// Who waits for an event.
pub(super) enum EventWaiter {
    Heartbeat(Box<Opened>),
    Activation(Box<ActivationWaiter>),
    Resume(Box<ResumeWaiter>),
    Tamper(Box<Received>),
    /// What this node reports by itself, and nobody waits for.
    Nobody,
    /// This node itself: the refusals go back into the book if the summary was surely not proposed.
    Summary(Box<RejectionSummary>),
}

/// The moment of the log that answers speak of.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub index: LogIndex,
    pub stamp: Timestamp,
}

pub(super) struct Answers {
    pub desk: Arc<Desk>,
}

impl Settle for Answers {
    type Row = Opened;
    type Event = EventWaiter;

    fn settle(&self, decided: Decided<Opened, EventWaiter>) -> BoxFuture<'_, ()> {
        async move {
            let Decided { result, rows, joined, events } = decided;
            match result {
                Ok(outcomes) => self.committed(outcomes, rows, joined, events).await,
                Err(error) => {
                    let rows = rows.into_iter().chain(joined.into_iter().map(|(_, row)| row));
                    let rows = rows.map(|row| EventWaiter::Heartbeat(Box::new(row)));
                    self.not_committed(&error, rows.chain(events)).await;
                }
            }
        }
        .boxed()
    }

    /// A batch carries many messages; its proposal is part of the first trace among them.
    fn span(&self, rows: &[Opened], events: &[EventWaiter]) -> Span {
        let received =
            rows.iter().map(|row| &row.received).chain(events.iter().filter_map(EventWaiter::received));
        let mut proposals = received.filter_map(|received| received.trace.as_ref()?.proposal());
        proposals.next().cloned().unwrap_or_else(Span::none)
    }
}

impl Answers {
    async fn committed(
        &self,
        outcomes: Outcomes,
        mut rows: Vec<Opened>,
        joined: Vec<(u32, Opened)>,
        events: Vec<EventWaiter>,
    ) {
        for (at, again) in joined {
            if let Some(row) = rows.get_mut(at as usize) {
                row.companions.push(again);
            }
        }
        let moment = Moment { index: outcomes.index, stamp: outcomes.stamp };
        let mut sealing = Sealing::new(&self.desk, moment);
        for (row, outcome) in rows.into_iter().zip(outcomes.heartbeats.iter()) {
            sealing.heartbeat(row, outcome);
            sealing.hand_on(BURST_MAX).await;
        }
        for (waiter, outcome) in events.into_iter().zip(outcomes.events) {
            sealing.event(waiter, outcome);
            sealing.hand_on(BURST_MAX).await;
        }
        sealing.propose_again();
        sealing.hand_on(1).await;
    }

    async fn not_committed(&self, error: &ProposeError, waiters: impl Iterator<Item = EventWaiter>) {
        match error {
            // Perhaps committed: whoever is told `no` now may find `yes` in the log. They ask again.
            ProposeError::Unknown { .. } => self.desk.counters.unanswered.add(waiters.count()),
            ProposeError::NotLeader | ProposeError::Unavailable { .. } | ProposeError::Malformed { .. } => {
                let refuse = |waiter: EventWaiter| waiter.refuse(&self.desk, RejectionReason::Unavailable);
                self.desk.outbox.send(waiters.flat_map(refuse).collect()).await;
            }
        }
        match error {
            ProposeError::Malformed { .. } => tracing::error!(%error, "a batch of this node was refused"),
            ProposeError::NotLeader | ProposeError::Unavailable { .. } | ProposeError::Unknown { .. } => {
                tracing::warn!(%error, "a batch was not committed");
            }
        }
    }
}

/// One pass over the waiters of a batch.
struct Sealing<'a> {
    desk: &'a Arc<Desk>,
    moment: Moment,
    now_millis: u64,
    sealer: Sealer,
    burst: Vec<Outgoing>,
    again: Vec<Opened>,
}

impl<'a> Sealing<'a> {
    fn new(desk: &'a Arc<Desk>, moment: Moment) -> Self {
        let sealer = Sealer::new(Arc::clone(&desk.entropy));
        Sealing { desk, moment, now_millis: desk.now_millis(), sealer, burst: Vec::new(), again: Vec::new() }
    }

    fn heartbeat(&mut self, mut heartbeat: Opened, outcome: &HeartbeatOutcome) {
        if outcome.status == HeartbeatStatus::Again {
            // With its companions: however often it was repeated, it is proposed once.
            return self.again.push(heartbeat);
        }
        for companion in std::mem::take(&mut heartbeat.companions) {
            self.heartbeat(companion, outcome);
        }
        if let Some(verdict) = verdict(self.moment.index, self.moment.stamp, outcome) {
            self.desk.counters.verdicts.add(1);
            let waited = self.now_millis.saturating_sub(heartbeat.received.arrived_millis);
            self.desk.projector.measures().verdict_seconds.observe(waited as f64 / 1000.0);
            return self.burst.push(heartbeat.answer(&mut self.sealer, &verdict));
        }
        match outcome.status {
            // New when this node judged it, and answered through another one since: a race that nobody is charged for.
            HeartbeatStatus::Replayed => {
                let refused = heartbeat.received.refused(RejectionReason::Replayed);
                self.burst.extend(self.desk.refuse_unjudged(refused));
            }
            HeartbeatStatus::Again
            | HeartbeatStatus::Committed
            | HeartbeatStatus::Retried
            | HeartbeatStatus::EpochStale
            | HeartbeatStatus::CloneEvidence => {}
        }
    }

    fn event(&mut self, waiter: EventWaiter, outcome: Outcome) {
        match (waiter, outcome) {
            (EventWaiter::Heartbeat(heartbeat), Outcome::Observed(outcome)) => {
                self.heartbeat(*heartbeat, &outcome);
            }
            (EventWaiter::Heartbeat(heartbeat), Outcome::Refused(reason)) => {
                self.refuse(heartbeat.received, reason);
            }
            (EventWaiter::Activation(waiter), outcome) => {
                self.burst.extend(waiter.settle(self.desk, self.moment, outcome));
            }
            (EventWaiter::Resume(waiter), outcome) => {
                self.burst.extend(waiter.settle(self.desk, self.moment, outcome));
            }
            (EventWaiter::Tamper(received), Outcome::Accepted | Outcome::Duplicate) => {
                self.desk.counters.tamper_reports.add(1);
                self.burst.push(Outgoing::to(received.inbox, Bytes::from_static(ACKNOWLEDGEMENT)));
            }
            (EventWaiter::Tamper(received), _) => self.refuse(*received, RejectionReason::NotAuthentic),
            (EventWaiter::Summary(_) | EventWaiter::Nobody, _) => {}
            (EventWaiter::Heartbeat(heartbeat), outcome) => {
                tracing::error!(?outcome, "a heartbeat got an outcome that is none of a heartbeat's");
                self.refuse(heartbeat.received, RejectionReason::Unavailable);
            }
        }
    }

    /// Rows that were not routine any more go into the next batch with everything they say.
    fn propose_again(&mut self) {
        for mut heartbeat in std::mem::take(&mut self.again) {
            let key = (heartbeat.session.slot, heartbeat.heard.sequence);
            match self.desk.heartbeats_under_way.join(key, ()) {
                Joined::First(first, ()) => heartbeat.under_way = Some(first),
                // Other content of the same sequence came before it: its sender asks again.
                Joined::Companion | Joined::Full(()) => continue,
            }
            let (event, tag) = (heartbeat.event(), heartbeat.tag());
            let waiter = EventWaiter::Heartbeat(Box::new(heartbeat));
            let placed = self
                .desk
                .batcher
                .fill(self.desk.applied(), |queue| queue.event(&event, Favour::Favoured, Some(tag), waiter));
            match placed {
                Ok(()) | Err(NoPlace::UnderWay(_)) => {}
                Err(NoPlace::Full(waiter) | NoPlace::Malformed(waiter, _)) => {
                    self.burst.extend(waiter.refuse(self.desk, RejectionReason::Unavailable));
                }
            }
        }
    }

    fn refuse(&mut self, received: Received, reason: RejectionReason) {
        self.burst.extend(self.desk.refuse(received.refused(reason)));
    }

    /// Hands the answers on once there are `enough`.
    async fn hand_on(&mut self, enough: usize) {
        if self.burst.len() >= enough {
            self.desk.outbox.send(std::mem::take(&mut self.burst)).await;
        }
    }
}

impl EventWaiter {
    /// Refuses whoever waits; puts a summary back into the book.
    pub fn refuse(self, desk: &Desk, reason: RejectionReason) -> Vec<Outgoing> {
        let received = match self {
            EventWaiter::Summary(summary) => {
                desk.rejections.lock().restore(*summary);
                return Vec::new();
            }
            EventWaiter::Nobody => return Vec::new(),
            EventWaiter::Activation(waiter) => return waiter.unavailable(desk),
            EventWaiter::Resume(waiter) => return waiter.unavailable(desk),
            EventWaiter::Heartbeat(waiter) => {
                let again = waiter.companions.into_iter().map(|companion| companion.received);
                let all = std::iter::once(waiter.received).chain(again);
                return all.filter_map(|received| desk.refuse(received.refused(reason))).collect();
            }
            EventWaiter::Tamper(received) => *received,
        };
        desk.refuse(received.refused(reason)).into_iter().collect()
    }

    fn received(&self) -> Option<&Received> {
        match self {
            EventWaiter::Heartbeat(waiter) => Some(&waiter.received),
            EventWaiter::Activation(waiter) => Some(waiter.received()),
            EventWaiter::Resume(waiter) => Some(waiter.received()),
            EventWaiter::Tamper(received) => Some(received),
            EventWaiter::Summary(_) | EventWaiter::Nobody => None,
        }
    }
}
