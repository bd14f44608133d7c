//! What the agent knows about the time (protocol.md rule 14): only sealed answers say what it is, and a clock that
//! nobody can set counts on from there.
//!
//! Invariants:
//! - `at_least` never goes back within a boot, and never passes the true time while the cluster's stamps do not.
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
}

impl KnownTime {
    /// All that a boot knows is the floor on flash.
    pub fn start(floor: Timestamp, now: Now) -> Self {
        KnownTime { base: floor, at_millis: now.monotonic_millis, heard: false }
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

    /// The time by which a lease is judged. A wall clock that is off by decades harms nobody once the cluster was
    /// heard; before that, one that was set back gains nothing beyond the floor.
    pub fn for_leases(&self, now: Now) -> Timestamp {
        let at_least = self.at_least(now);
        if self.heard { at_least } else { at_least.max(now.wall) }
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
        let time = KnownTime::start(at(1_000_000), now(50, 0));
        assert_eq!(time.at_least(now(50, 0)), at(1_000_000));
        assert_eq!(time.for_leases(now(4_050, 17)), at(1_004_000));
    }

    #[test]
    fn before_a_sealed_answer_the_wall_clock_may_end_a_lease_and_afterwards_it_is_not_asked() {
        let mut time = KnownTime::start(at(1_000), now(0, 0));
        assert_eq!(time.for_leases(now(10, 9_000)), at(9_000));
        time.hear(at(5_000), now(10, 9_000));
        assert_eq!(time.for_leases(now(20, 9_000)), at(5_010));
    }

    #[test]
    fn an_answer_that_comes_late_takes_nothing_back() {
        let mut time = KnownTime::start(at(0), now(0, 0));
        time.hear(at(5_000), now(100, 0));
        time.hear(at(4_000), now(200, 0));
        assert_eq!(time.at_least(now(200, 0)), at(5_100));
    }
}
