//! When heartbeats go to the spool: while there is a session and no epoch that this boot may seal under.
//!
//! Within an epoch nothing is spooled, so that numbers and sequences count up together there; what is unanswered when the
//! epoch is left goes to the spool. Flash wears: what is spooled is written at most hourly, at an orderly end, and at once
//! when it is the first of this boot that tells of a kind of evidence.

use super::core::{Core, World};
use super::effects::AgentEvent;
use super::now::Now;
use super::settings::CLOCK_SLACK_MILLIS;
use super::spool::EVIDENCE;
use events::time::Timestamp;
use events::update::with_failure;
use events::vocabulary::heartbeat::{HeartbeatBody, SpooledBody, condition};

/// Before the first grant nobody said how often.
const INTERVAL_MILLIS: u64 = 60_000;

/// What a boot keeps in memory beside the spool.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spooling {
    /// When the last heartbeat was made, sent or not; in monotonic milliseconds.
    pub made: u64,
    /// When the spool was last put on flash for its own sake.
    written: u64,
    /// Until then heartbeats bring nothing along: what did was refused, or found no answer.
    rest_until: u64,
    /// Kinds of evidence that this boot put on flash: each of them once at once, however often a clock is turned.
    evidence: u8,
}

impl Spooling {
    pub fn start(now: Now) -> Self {
        Spooling { made: now.monotonic_millis, written: now.monotonic_millis, rest_until: 0, evidence: 0 }
    }
}

impl Core {
    /// When the next heartbeat goes to the spool if no epoch is granted until then; none if nothing is spooled.
    pub fn spool_due(&self) -> Option<u64> {
        let spools = self.settings.spool_bodies > 0 && self.saved.newest_session().is_some();
        spools.then(|| self.spooling.made.saturating_add(self.spool_interval()))
    }

    fn spool_interval(&self) -> u64 {
        let granted = self.saved.spool.interval_millis;
        let granted = if granted == 0 { INTERVAL_MILLIS } else { granted };
        granted.max(self.settings.spool_interval_min)
    }

    /// Makes the heartbeat that is due and keeps it: there is nobody to tell.
    pub fn spool_when_due(&mut self, world: &World<'_>) {
        if self.spool_due().is_none_or(|due| world.now.monotonic_millis < due) {
            return;
        }
        let body = self.make_body(world);
        self.spool(&body, self.time.at_least(world.now));
        let unwritten = world.now.monotonic_millis.saturating_sub(self.spooling.written);
        let is_news = body.condition & EVIDENCE & !self.spooling.evidence != 0;
        if is_news || unwritten >= self.settings.spool_write_interval {
            self.spooling.evidence |= body.condition & EVIDENCE;
            self.write_spool(world.now);
        }
    }

    /// Keeps a heartbeat that was made, no earlier than `made`, and not answered.
    pub fn spool(&mut self, body: &HeartbeatBody, made: Timestamp) {
        if self.settings.spool_bodies == 0 {
            return;
        }
        let spooled = SpooledBody {
            boot_count: self.saved.boot_count,
            number: body.number,
            uptime_seconds: body.uptime_seconds,
            firmware: body.firmware,
            made,
            condition: body.condition & !condition::SPOOL_DROPPED,
        };
        let complete_before = !self.saved.spool.dropped;
        self.saved.spool.keep(spooled, self.settings.spool_bodies);
        if complete_before && self.saved.spool.dropped {
            self.events.push_back(AgentEvent::SpoolFull { bodies: self.saved.spool.len() });
        }
    }

    /// What the heartbeat that is sealed now brings along, newest first.
    pub fn bring(&self, now: Now) -> Vec<SpooledBody> {
        if now.monotonic_millis < self.spooling.rest_until { Vec::new() } else { self.saved.spool.newest() }
    }

    /// Nothing is brought along for a while: what did found no verdict.
    pub fn rest_spool(&mut self, now: Now) {
        self.spooling.rest_until = now.monotonic_millis.saturating_add(self.settings.spool_rest);
    }

    /// A verdict shows that the cluster has these, and that it knows `condition`.
    pub fn forget_spooled(&mut self, brought: &[SpooledBody], told: u8, now: Now) {
        if told & condition::SPOOL_DROPPED != 0 {
            self.saved.spool.dropped = false;
        }
        if brought.is_empty() {
            return;
        }
        self.saved.spool.forget(brought);
        let left = self.saved.spool.len();
        self.events.push_back(AgentEvent::SpoolAcknowledged { bodies: brought.len(), left });
        // Until then a power cut makes it bring some again, which the cluster counts once.
        let unwritten = now.monotonic_millis.saturating_sub(self.spooling.written);
        if self.saved.spool.is_empty() || unwritten >= self.settings.spool_write_interval {
            self.write_spool(now);
        }
    }

    fn write_spool(&mut self, now: Now) {
        self.spooling.written = now.monotonic_millis;
        self.must_persist();
    }

    /// The next heartbeat of this boot. Its number is taken for ever.
    pub fn make_body(&mut self, world: &World<'_>) -> HeartbeatBody {
        self.heartbeats = self.heartbeats.wrapping_add(1);
        self.spooling.made = world.now.monotonic_millis;
        let uptime = world.now.monotonic_millis.saturating_sub(self.started_millis) / 1000;
        HeartbeatBody {
            number: self.heartbeats,
            uptime_seconds: u32::try_from(uptime).unwrap_or(u32::MAX),
            firmware: self.settings.firmware,
            condition: self.condition(world.now),
            obeyed: self.saved.obeyed,
        }
    }

    fn condition(&mut self, now: Now) -> u8 {
        let restricted = if self.check.is_full() { 0 } else { condition::RESTRICTED };
        let (wall, at_least) = (now.wall, self.time.at_least(now));
        let behind = wall.plus_millis(CLOCK_SLACK_MILLIS) < at_least;
        if behind && !self.clock_behind {
            self.events.push_back(AgentEvent::ClockBehind { wall, at_least });
        }
        self.clock_behind = behind;
        let behind = if behind { condition::CLOCK_ROLLBACK } else { 0 };
        let dropped = if self.saved.spool.dropped { condition::SPOOL_DROPPED } else { 0 };
        with_failure(restricted | behind | dropped, self.update_failure)
    }
}
