//! What the agent knows about the time (protocol.md rule 14): only sealed answers say what it is, and a clock that
//! nobody can set counts on from there.
//!
//! Invariants:
//! - `at_least` never goes back within a boot, `reached` not even across boots; neither ever passes the true time while
//!   the cluster's stamps do not.
//! - Whether the terminal's own clock is asked depends on one thing: whether a sealed answer came in this boot.

use super::now::Now;
use events::time::Timestamp;

#[derive(Clone, Copy, Debug)]
pub(super) struct KnownTime {
    /// It was at least this late ...
    base: Timestamp,
    /// ... when the monotonic clock stood here.
    at_millis: u64,
    /// A sealed answer named the time in this boot.
    heard: bool,
    /// It was at least this late when the state on flash was written, so also when the boot started ...
    before: Timestamp,
    /// ... at this monotonic clock.
    started_millis: u64,
}

impl KnownTime {
    /// A boot knows what is on flash: the floor, and what the boots before it had reached.
    pub fn start(floor: Timestamp, reached: Timestamp, now: Now) -> Self {
        let started_millis = now.monotonic_millis;
        KnownTime { base: floor, at_millis: started_millis, heard: false, before: reached, started_millis }
    }

    /// A sealed answer that was stamped `stamp` came. One that comes late takes nothing back.
    pub fn hear(&mut self, stamp: Timestamp, now: Now) {
        self.heard = true;
        if stamp > self.at_least(now) {
            self.base = stamp;
            self.at_millis = now.monotonic_millis;
        }
    }

    /// Whether a sealed answer named the time in this boot.
    pub fn is_heard(&self) -> bool {
        self.heard
    }

    /// It is not earlier than this.
    pub fn at_least(&self, now: Now) -> Timestamp {
        self.base.plus_millis(now.monotonic_millis.saturating_sub(self.at_millis))
    }

    /// It is not earlier than this either. What earlier boots counted is in it, so it is no measure of a clock that a
    /// power cut set back, and is told to nobody.
    pub fn reached(&self, now: Now) -> Timestamp {
        let uptime = now.monotonic_millis.saturating_sub(self.started_millis);
        self.at_least(now).max(self.before.plus_millis(uptime))
    }

    /// The time by which a lease is judged. A wall clock that is off by decades harms nobody once the cluster was
    /// heard; before that, one that was set back gains nothing beyond what was reached. No reboot takes that back.
    pub fn for_leases(&self, now: Now) -> Timestamp {
        let reached = self.reached(now);
        if self.heard { reached } else { reached.max(now.wall) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(monotonic_millis: u64, wall: u64) -> Now {
        Now { monotonic_millis, wall: Timestamp::from_millis(wall) }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_floor_counts_on_with_the_uptime_and_a_wall_clock_that_was_set_back_changes_nothing() {
        let time = KnownTime::start(at(1_000_000), at(0), now(50, 0));
        assert_eq!(time.at_least(now(50, 0)), at(1_000_000));
        assert_eq!(time.for_leases(now(4_050, 17)), at(1_004_000));
    }

    #[test]
    fn before_a_sealed_answer_the_wall_clock_may_end_a_lease_and_afterwards_it_is_not_asked() {
        let mut time = KnownTime::start(at(1_000), at(0), now(0, 0));
        assert_eq!(time.for_leases(now(10, 9_000)), at(9_000));
        time.hear(at(5_000), now(10, 9_000));
        assert_eq!(time.for_leases(now(20, 9_000)), at(5_010));
    }

    #[test]
    fn an_answer_that_comes_late_takes_nothing_back() {
        let mut time = KnownTime::start(at(0), at(0), now(0, 0));
        time.hear(at(5_000), now(100, 0));
        time.hear(at(4_000), now(200, 0));
        assert_eq!(time.at_least(now(200, 0)), at(5_100));
    }
    #[test]
    fn what_an_earlier_boot_reached_counts_for_leases_and_not_against_the_wall_clock() {
        let time = KnownTime::start(at(1_000), at(8_000), now(50, 0));
        assert_eq!(time.for_leases(now(150, 17)), at(8_100));
        assert_eq!(time.at_least(now(150, 17)), at(1_100));
        assert_eq!(time.reached(now(150, 17)), at(8_100), "so the next boot goes on from there");
    }
}
