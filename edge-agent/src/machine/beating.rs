//! Awaiting verdicts: one heartbeat at a time, at the granted interval.
//!
//! Invariants:
//! - `sequence` counts up by one per sealed heartbeat, in memory only: the epoch belongs to this start of the agent,
//!   so no later one can use its keys again (protocol.md rule 8).
//! - A heartbeat is sealed once and sent as those bytes until a verdict on it verifies (rule 2). `acked` is therefore
//!   always the sequence before it.

use super::backoff::{below, full_jitter};
use super::core::{Core, World};
use super::directive::{self, Consequence};
use super::effects::{AgentEvent, RequestId, TransmitKind};
use super::exchange::Exchange;
use super::hello::{Hello, Purpose};
use super::now::Now;
use super::phase::Phase;
use super::settings::{INTERVAL_MILLIS_MAX, INTERVAL_MILLIS_MIN};
use events::envelope::heartbeat::{HeartbeatHead, RequestDigest};
use events::envelope::{HeartbeatStatus, SessionKeys, VerdictBody};
use events::ids::{Epoch, LogIndex, Sequence};
use events::time::Timestamp;
use events::vocabulary::heartbeat::{HeartbeatBody, SpooledBody};
use events::vocabulary::rejection::RejectionReason;

/// An epoch that lived for so many heartbeats did not die young.
const MATURE_HEARTBEATS: Sequence = 32;

pub(super) struct Beating {
    epoch: Epoch,
    keys: SessionKeys,
    sequence: Sequence,
    /// Log index of the newest sealed answer.
    seen: LogIndex,
    interval: u64,
    next_beat: u64,
    awaited: Option<Heartbeat>,
    /// The heartbeat answered last: a second node may answer it too, and of two verdicts the newer index counts.
    answered: Option<Heartbeat>,
    stale_hints: u32,
}

/// A sealed heartbeat on its way.
struct Heartbeat {
    exchange: Exchange,
    digest: RequestDigest,
    body: HeartbeatBody,
    /// It was made no earlier than this.
    made: Timestamp,
    /// What it brings from the spool.
    brought: Vec<SpooledBody>,
}

/// What a grant says about the session that begins.
pub(super) struct Granted {
    pub epoch: Epoch,
    pub keys: SessionKeys,
    pub index: LogIndex,
    pub interval_millis: u32,
}

impl Beating {
    /// The first heartbeat leaves at a random moment of the first interval: a region comes back spread out.
    pub fn start(granted: Granted, world: &mut World<'_>) -> Self {
        let interval = bounded(granted.interval_millis);
        Beating {
            epoch: granted.epoch,
            keys: granted.keys,
            sequence: 0,
            seen: granted.index,
            interval,
            next_beat: world.now.monotonic_millis + below(interval, world.rng),
            awaited: None,
            answered: None,
            stale_hints: 0,
        }
    }

    pub fn is_waiting(&self) -> bool {
        self.awaited.is_some()
    }

    /// The heartbeat that has no verdict yet.
    pub fn unanswered(&self) -> Option<(&HeartbeatBody, Timestamp)> {
        self.awaited.as_ref().map(|heartbeat| (&heartbeat.body, heartbeat.made))
    }

    pub fn due(&self) -> u64 {
        self.awaited.as_ref().map_or(self.next_beat, |heartbeat| heartbeat.exchange.due())
    }

    pub fn handle_timeout(mut self: Box<Self>, core: &mut Core, world: &mut World<'_>) -> Phase {
        if let Some(heartbeat) = &mut self.awaited {
            if heartbeat.exchange.is_exhausted(world.now, &core.settings) {
                return self.leave(Purpose::Resume, "a heartbeat stays unanswered", core, world);
            }
            core.transmit(&mut heartbeat.exchange, world);
            return Phase::Beating(self);
        }
        if world.now.monotonic_millis < self.next_beat {
            return Phase::Beating(self);
        }
        if core.rekey_owed
            && core.may_rekey()
            && core.rekey_due.is_some_and(|due| due <= world.now.monotonic_millis)
        {
            return self.leave(Purpose::Rekey, "a re-key that found no answer is tried again", core, world);
        }
        let Some(sequence) = self.sequence.checked_add(1) else {
            return self.leave(Purpose::Resume, "the epoch's sequences are used up", core, world);
        };
        self.sequence = sequence;
        self.awaited = Some(self.seal(core, world));
        // The next one keeps its distance from when this one first left, however long its answer takes.
        self.next_beat = world.now.monotonic_millis + self.interval;
        Phase::Beating(self)
    }

    fn seal(&self, core: &mut Core, world: &mut World<'_>) -> Heartbeat {
        let head = HeartbeatHead {
            device: core.saved.device,
            epoch: self.epoch,
            sequence: self.sequence,
            acked: self.sequence - 1,
            seen: self.seen,
        };
        let body = core.make_body(world);
        let (made, brought) = (core.time.at_least(world.now), core.bring(world.now));
        core.speak(self.epoch);
        let bytes = self.keys.seal_heartbeat_with_spool(&head, &body, &brought);
        let digest = RequestDigest::of(&bytes);
        let mut exchange = core.exchange(TransmitKind::Heartbeat, bytes, 0, world.now);
        core.transmit(&mut exchange, world);
        Heartbeat { exchange, digest, body, made, brought }
    }

    pub fn handle_reply(
        mut self: Box<Self>,
        request: RequestId,
        bytes: &[u8],
        core: &mut Core,
        world: &mut World<'_>,
    ) -> Phase {
        if let Some(heartbeat) = self.awaited.take_if(|heartbeat| heartbeat.exchange.request == request) {
            return self.handle_answer(heartbeat, bytes, core, world);
        }
        let late = self.answered.as_ref().filter(|heartbeat| heartbeat.exchange.request == request);
        match late.and_then(|heartbeat| self.keys.open_verdict(&heartbeat.digest, bytes).ok()) {
            Some(verdict) if verdict.index > self.seen => self.learn(&verdict, core, world),
            _ => Phase::Beating(self),
        }
    }

    fn handle_answer(
        mut self: Box<Self>,
        mut heartbeat: Heartbeat,
        bytes: &[u8],
        core: &mut Core,
        world: &mut World<'_>,
    ) -> Phase {
        let Ok(verdict) = self.keys.open_verdict(&heartbeat.digest, bytes) else {
            let hint = core.hint(bytes, &mut heartbeat.exchange, world);
            self.awaited = Some(heartbeat);
            return self.count_hint(hint, core, world);
        };
        self.stale_hints = 0;
        if verdict.status == HeartbeatStatus::EpochStale {
            core.spool(&heartbeat.body, heartbeat.made);
            // The epoch is over, but what is sealed in the verdict holds.
            return match take_over(&verdict, core, world.now) {
                Consequence::Rekey => {
                    self.leave(Purpose::Rekey, "a directive demands a new key", core, world)
                }
                Consequence::None => self.leave(Purpose::Resume, "the epoch was superseded", core, world),
            };
        }
        core.events.push_back(AgentEvent::Acknowledged {
            epoch: self.epoch,
            sequence: self.sequence,
            index: verdict.index,
            status: verdict.status,
        });
        core.forget_spooled(&heartbeat.brought, heartbeat.body.condition, world.now);
        self.answered = Some(heartbeat);
        core.prove(self.epoch);
        self.learn(&verdict, core, world)
    }

    /// Takes over what a verdict says beside its status.
    fn learn(mut self: Box<Self>, verdict: &VerdictBody, core: &mut Core, world: &mut World<'_>) -> Phase {
        self.seen = self.seen.max(verdict.index);
        let interval = bounded(verdict.interval_millis);
        core.saved.spool.interval_millis = interval;
        if interval != self.interval {
            // Counted from when the last heartbeat left; a wide step down must not wait out the old interval.
            self.next_beat = (self.next_beat + interval).saturating_sub(self.interval);
            self.interval = interval;
        }
        let lease = verdict.lease;
        match take_over(verdict, core, world.now) {
            Consequence::Rekey => self.leave(Purpose::Rekey, "a directive demands a new key", core, world),
            Consequence::None if lease > 0 && lease != core.saved.lease && lease != core.lease_asked => {
                // The token comes with the answer to a resume; asked for once per lease, whatever the answer says.
                core.lease_asked = lease;
                self.leave(Purpose::Resume, "a new license token waits", core, world)
            }
            Consequence::None => Phase::Beating(self),
        }
    }

    /// Leaves this epoch for a new one. Epochs that die young one after the other have another holder of the secret
    /// behind them, or a cluster in trouble: neither is helped, nor flash spared, by superseding each other at full speed.
    fn leave(
        self: Box<Self>,
        purpose: Purpose,
        why: &'static str,
        core: &mut Core,
        world: &mut World<'_>,
    ) -> Phase {
        if let Some(unanswered) = &self.awaited {
            core.spool(&unanswered.body, unanswered.made);
            if !unanswered.brought.is_empty() {
                // A path that drops long messages, or a node that does not know them, must not silence the terminal.
                core.rest_spool(world.now);
            }
        }
        let died_young = self.sequence < MATURE_HEARTBEATS;
        core.young_deaths = if died_young { core.young_deaths.saturating_add(1) } else { 0 };
        let delay = match core.young_deaths {
            0 | 1 => 0,
            deaths => full_jitter(&core.settings, deaths, world.rng),
        };
        core.events.push_back(AgentEvent::StartedOver { why });
        Phase::Hello(Hello::start(purpose, core, delay, world))
    }

    /// An unsealed refusal decides nothing. A few that hint at a dead epoch make the agent ask the cluster itself.
    fn count_hint(
        mut self: Box<Self>,
        hint: Option<RejectionReason>,
        core: &mut Core,
        world: &mut World<'_>,
    ) -> Phase {
        let brings = self.awaited.as_ref().is_some_and(|heartbeat| !heartbeat.brought.is_empty());
        let refuses_spool = |reason| brings && may_refuse_spool(reason);
        if !hint.is_some_and(|reason| hints_at_dead_epoch(reason) || refuses_spool(reason)) {
            return Phase::Beating(self);
        }
        self.stale_hints += 1;
        if self.stale_hints < core.settings.stale_hints_before_resume {
            return Phase::Beating(self);
        }
        self.leave(Purpose::Resume, "several hints that the epoch is dead", core, world)
    }
}

/// What holds whatever became of the heartbeat: time, legitimacy, directive.
fn take_over(verdict: &VerdictBody, core: &mut Core, now: Now) -> Consequence {
    core.raise_time_floor(verdict.stamp, now);
    core.learn_legitimacy(verdict.legitimacy);
    match &verdict.directive {
        Some(found) => directive::obey(found, verdict.stamp, core, now),
        None => Consequence::None,
    }
}

fn hints_at_dead_epoch(reason: RejectionReason) -> bool {
    match reason {
        RejectionReason::EpochStale
        | RejectionReason::NotAuthentic
        | RejectionReason::Replayed
        | RejectionReason::Downgrade => true,
        RejectionReason::Malformed
        | RejectionReason::TicketRefused
        | RejectionReason::CodeRefused
        | RejectionReason::RateExceeded
        | RejectionReason::ReplySubject
        | RejectionReason::Oversized
        | RejectionReason::Unavailable
        | RejectionReason::NotLicensed => false,
    }
}

/// What a node says that does not know, or does not want so much of, what a heartbeat brings from the spool.
fn may_refuse_spool(reason: RejectionReason) -> bool {
    matches!(reason, RejectionReason::Malformed | RejectionReason::RateExceeded | RejectionReason::Oversized)
}

fn bounded(interval_millis: u32) -> u64 {
    u64::from(interval_millis).clamp(INTERVAL_MILLIS_MIN, INTERVAL_MILLIS_MAX)
}
