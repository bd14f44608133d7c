//! What every state of the machine shares: identity, flash, counters and the queues towards the shell.

use super::backoff::full_jitter;
use super::boot_check::BootCheck;
use super::effects::{AgentEvent, RequestId, Snapshot, Standing, Transmit, TransmitKind};
use super::exchange::Exchange;
use super::known_time::KnownTime;
use super::now::Now;
use super::saved::Saved;
use super::settings::Settings;
use super::spooling::Spooling;
use bytes::Bytes;
use events::envelope::Refusal;
use events::ids::{BootId, Epoch};
use events::keyring::ClusterPublic;
use events::time::Timestamp;
use events::update::UpdateFailure;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{DirectiveId, Legitimacy, OperationKind};
use rand_core::CryptoRng;
use std::collections::VecDeque;
use std::sync::Arc;

/// Time and randomness of one call, as values from the shell.
pub(super) struct World<'a> {
    pub now: Now,
    pub rng: &'a mut dyn CryptoRng,
}

pub(super) struct Core {
    pub settings: Settings,
    /// The cluster's public keys, as pinned.
    pub cluster: Arc<ClusterPublic>,
    pub check: BootCheck,
    pub saved: Saved,
    /// Random at each start of the agent.
    pub boot: BootId,
    pub started_millis: u64,
    pub time: KnownTime,
    /// When the shell was heard last.
    pub now: Now,
    /// The terminal's clock was found behind the time known; told once.
    pub clock_behind: bool,
    /// Resumes refused in a row, each with a fresh ticket.
    pub refusals: Refusals,
    /// Tickets refused in a row.
    pub ticket_refusals: u32,
    /// When this agent may re-key on its own accord, once resumes keep failing or a re-key found no answer: drawn with
    /// jitter.
    pub rekey_due: Option<u64>,
    /// A re-key found no answer and is to be tried again.
    pub rekey_owed: bool,
    /// Tickets that the re-key under way used up without a sealed answer.
    pub rekey_tickets: u32,
    /// The directive that demands the next re-key; zero for none.
    pub rekey_directive: DirectiveId,
    /// Whether a re-key was tried in this boot though there was no session at all.
    pub rekey_tried_blank: bool,
    /// Epochs in a row that were left after a few heartbeats.
    pub young_deaths: u32,
    /// Heartbeats made in this boot, over all its epochs, sent or spooled.
    pub heartbeats: u32,
    /// The lease whose token was asked for by a resume in this boot.
    pub lease_asked: u32,
    /// Why the last update failed, as heartbeats tell it.
    pub update_failure: Option<UpdateFailure>,
    pub spooling: Spooling,
    pub events: VecDeque<AgentEvent>,
    gate: PersistGate,
    outbox: VecDeque<Transmit>,
    requests: RequestId,
    time_floor_written: u64,
}

/// Resumes refused in a row.
#[derive(Clone, Copy, Default)]
pub(super) struct Refusals {
    pub count: u32,
    /// Those that were sealed: only the cluster itself can say them.
    pub sealed: u32,
    /// When the first of them came, in monotonic milliseconds.
    since: Option<u64>,
}

impl Refusals {
    pub fn add(&mut self, sealed: bool, now: Now) {
        self.count = self.count.saturating_add(1);
        self.sealed = self.sealed.saturating_add(u32::from(sealed));
        self.since.get_or_insert(now.monotonic_millis);
    }

    /// Whether the sessions on flash seem to be of no use any more. Refusals that nobody sealed may be lies, so that
    /// many in a moment mean nothing (protocol.md rule 9).
    pub fn are_enough(&self, now: Now, settings: &Settings) -> bool {
        let lasted = self.since.map_or(0, |since| now.monotonic_millis.saturating_sub(since));
        let enough = settings.resume_refusals_before_rekey;
        self.sealed >= enough || (self.count >= enough && lasted >= settings.unsealed_refusals_before_rekey)
    }
}

/// Nothing leaves while the state that it stands on is not durable.
#[derive(Default)]
struct PersistGate {
    dirty: bool,
    revision: u64,
    in_flight: bool,
}

impl Core {
    pub fn new(settings: Settings, cluster: Arc<ClusterPublic>, check: BootCheck, saved: Saved) -> Self {
        Core {
            settings,
            cluster,
            check,
            saved,
            boot: BootId::from_bytes([0; 16]),
            started_millis: 0,
            time: KnownTime::start(
                Timestamp::ZERO,
                Timestamp::ZERO,
                Now { monotonic_millis: 0, wall: Timestamp::ZERO },
            ),
            now: Now { monotonic_millis: 0, wall: Timestamp::ZERO },
            clock_behind: false,
            refusals: Refusals::default(),
            ticket_refusals: 0,
            rekey_due: None,
            rekey_owed: false,
            rekey_tickets: 0,
            rekey_directive: DirectiveId::default(),
            rekey_tried_blank: false,
            young_deaths: 0,
            heartbeats: 0,
            lease_asked: 0,
            update_failure: None,
            spooling: Spooling::default(),
            events: VecDeque::new(),
            gate: PersistGate::default(),
            outbox: VecDeque::new(),
            requests: 0,
            time_floor_written: 0,
        }
    }

    /// What the terminal may do: the boot check and the cluster must both agree to `Full`.
    pub fn standing(&self) -> Standing {
        if self.saved.restricted { Standing::Restricted } else { self.check.standing }
    }

    /// A request that starts `delay` milliseconds from now.
    pub fn exchange(&mut self, kind: TransmitKind, bytes: Vec<u8>, delay: u64, now: Now) -> Exchange {
        self.requests += 1;
        Exchange::starting_at(self.requests, kind, Bytes::from(bytes), now.monotonic_millis + delay)
    }

    /// Sends what is due of `exchange`. True if that was so.
    pub fn transmit(&mut self, exchange: &mut Exchange, world: &mut World<'_>) -> bool {
        let due = exchange.transmit(world.now, &self.settings, world.rng);
        let sent = due.is_some();
        self.outbox.extend(due);
        sent
    }

    /// Bytes that no key opened. If they are an unsealed refusal, it is told to whoever listens and the next attempt
    /// of `exchange` waits; anything else changes nothing at all.
    pub fn hint(
        &mut self,
        bytes: &[u8],
        exchange: &mut Exchange,
        world: &mut World<'_>,
    ) -> Option<RejectionReason> {
        let refusal = Refusal::parse(bytes).ok()?;
        self.events.push_back(AgentEvent::Hinted { kind: exchange.kind, reason: refusal.reason });
        exchange.back_off(u64::from(refusal.retry_after_millis), world.now, &self.settings, world.rng);
        Some(refusal.reason)
    }

    /// The state changed in a way that must be durable before anything else leaves. A terminal whose record does
    /// not open writes nothing: what lies there may be the state of the device that it was.
    pub fn must_persist(&mut self) {
        self.gate.dirty = self.check.identity.is_some();
    }

    /// Only sealed answers come here (protocol.md rule 14). Flash wears, so this alone writes rarely.
    pub fn raise_time_floor(&mut self, stamp: Timestamp, now: Now) {
        self.time.hear(stamp, now);
        self.saved.time_floor = self.saved.time_floor.max(stamp);
        if now.monotonic_millis.saturating_sub(self.time_floor_written) >= self.settings.time_floor_interval {
            self.time_floor_written = now.monotonic_millis;
            self.must_persist();
        }
    }

    /// The first word under `epoch` is about to leave: from here on the cluster may have confirmed it.
    pub fn speak(&mut self, epoch: Epoch) {
        if !self.saved.next_spoken && self.saved.next.as_ref().is_some_and(|next| next.epoch == epoch) {
            self.saved.next_spoken = true;
            self.must_persist();
        }
    }

    /// The older epoch is about to leave although its successor was spoken. From here on that successor never speaks
    /// again: the cluster may see a fork now, and the other branch of a fork that speaks is a clone (protocol.md rule 4).
    pub fn go_back(&mut self) {
        self.saved.next = None;
        self.saved.next_spoken = false;
        self.saved.went_back = true;
        self.must_persist();
    }

    /// A ticket was refused: how long the next hello waits. Whoever says so unsealed may be a liar, and each resume under
    /// a fresh ticket is an entry of the log.
    pub fn back_off_tickets(&mut self, world: &mut World<'_>) -> u64 {
        self.ticket_refusals = self.ticket_refusals.saturating_add(1);
        full_jitter(&self.settings, self.ticket_refusals, world.rng)
    }

    /// `directive` was obeyed: it, and all below it, never again.
    pub fn count_obeyed(&mut self, id: DirectiveId, kind: OperationKind) {
        if id <= self.saved.obeyed {
            return;
        }
        self.saved.obeyed = id;
        self.must_persist();
        let standing = self.standing();
        self.events.push_back(AgentEvent::DirectiveObeyed { id, kind, standing });
    }

    /// A re-key presents the fingerprint: with a failed boot check it would only be refused.
    pub fn may_rekey(&self) -> bool {
        self.check.is_full()
    }

    /// A verdict under `epoch` verified: the epoch before it is of no use any more (protocol.md rule 5).
    pub fn prove(&mut self, epoch: Epoch) {
        if let Some(next) = self.saved.next.take_if(|next| next.epoch == epoch) {
            self.saved.keep(next);
            self.saved.next_spoken = false;
            self.must_persist();
        }
    }

    /// Sealed legitimacy is the authority on what the terminal may do; directives only say so sooner. A restriction
    /// that expired, or that a restored cluster forgot, thus ends here too.
    pub fn learn_legitimacy(&mut self, legitimacy: Legitimacy) {
        let restricted = matches!(legitimacy, Legitimacy::Restricted | Legitimacy::Revoked);
        if self.saved.restricted != restricted {
            self.saved.restricted = restricted;
            self.must_persist();
        }
        if self.saved.legitimacy != legitimacy {
            self.saved.legitimacy = legitimacy;
            self.must_persist();
            self.events.push_back(AgentEvent::LegitimacyChanged { legitimacy });
        }
    }

    pub fn poll_persist(&mut self) -> Option<Snapshot> {
        if !self.gate.dirty || self.gate.in_flight {
            return None;
        }
        self.gate.dirty = false;
        self.gate.in_flight = true;
        self.gate.revision += 1;
        // A write that is made anyway takes along how late it is, so that no reboot lengthens a lease.
        self.saved.time_reached = self.time.reached(self.now);
        Some(Snapshot { revision: self.gate.revision, bytes: self.saved.encode() })
    }

    pub fn handle_persisted(&mut self, revision: u64) {
        if revision == self.gate.revision {
            self.gate.in_flight = false;
        }
    }

    fn is_durable(&self) -> bool {
        !self.gate.dirty && !self.gate.in_flight
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.is_durable() { self.outbox.pop_front() } else { None }
    }

    pub fn poll_event(&mut self) -> Option<AgentEvent> {
        if self.is_durable() { self.events.pop_front() } else { None }
    }
}
