//! Whether this node's clock may stamp the log (protocol.md rule 10).
//!
//! - A node stamps only while its clock agrees with those of a majority (itself counted), within 5 s.
//! - A jump beyond the time that passed since the last agreement is not believed until a majority agrees again:
//!   until then stamps run on with the monotonic clock.
//! - A node that a majority disagrees with neither leads nor stamps.

use crate::clock::Clock;
use events::time::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::watch;

/// Clocks further apart than this disagree, in milliseconds.
pub const CLOCK_APART_MILLIS_MAX: u64 = 5_000;

/// What a majority of the members' clocks says of this node's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClockVerdict {
    /// Too few peers were heard so far.
    #[default]
    Unjudged,
    Agrees,
    /// The median of the peers' clocks is this far ahead (or, negative, behind), in milliseconds.
    Off {
        by_millis: i64,
    },
}

impl ClockVerdict {
    /// A node of which this is known neither leads nor stamps.
    #[must_use]
    pub fn is_off(self) -> bool {
        matches!(self, ClockVerdict::Off { .. })
    }
}

/// Why there is no stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoStamp {
    #[error("this node's clock was not compared with a majority's yet")]
    Unjudged,
    #[error("this node's clock is {by_millis} ms off the others'; set it right")]
    Off { by_millis: i64 },
}

/// Wall and monotonic time at the last agreement.
#[derive(Clone, Copy)]
struct Anchor {
    wall: Timestamp,
    monotonic_millis: u64,
}

pub struct ClockGuard {
    clock: Arc<dyn Clock>,
    /// Members whose clocks must agree, this node counted.
    majority: usize,
    verdict: watch::Sender<ClockVerdict>,
    anchor: Mutex<Option<Anchor>>,
}

impl ClockGuard {
    /// `members`: voters of the cluster, this node counted.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, members: usize) -> Self {
        let guard = ClockGuard {
            clock,
            majority: members / 2 + 1,
            verdict: watch::Sender::default(),
            anchor: Mutex::default(),
        };
        guard.judge(&[]);
        guard
    }

    /// Judges by how far the clocks of the peers that answered are ahead of this node's, in milliseconds.
    pub fn judge(&self, ahead_millis: &[i64]) -> ClockVerdict {
        let near = |ahead: &&i64| ahead.unsigned_abs() <= CLOCK_APART_MILLIS_MAX;
        let agreeing = 1 + ahead_millis.iter().filter(near).count();
        if agreeing >= self.majority {
            let anchor = Anchor { wall: self.clock.now(), monotonic_millis: self.clock.monotonic_millis() };
            *self.anchor.lock() = Some(anchor);
            self.verdict.send_replace(ClockVerdict::Agrees);
        } else if ahead_millis.len() >= self.majority {
            let mut sorted = ahead_millis.to_vec();
            sorted.sort_unstable();
            self.verdict.send_replace(ClockVerdict::Off { by_millis: sorted[sorted.len() / 2] });
        }
        // With fewer peers heard, nobody can tell which clock is wrong: the last verdict stays.
        self.verdict()
    }

    #[must_use]
    pub fn verdict(&self) -> ClockVerdict {
        *self.verdict.borrow()
    }

    /// Waits for the first verdict.
    pub async fn judged(&self) -> ClockVerdict {
        let mut verdict = self.verdict.subscribe();
        let judged = verdict.wait_for(|verdict| *verdict != ClockVerdict::Unjudged).await;
        judged.map_or(ClockVerdict::Unjudged, |verdict| *verdict)
    }

    /// The time to stamp with.
    pub fn stamp(&self) -> Result<Timestamp, NoStamp> {
        let anchor = match (self.verdict(), *self.anchor.lock()) {
            (ClockVerdict::Off { by_millis }, _) => return Err(NoStamp::Off { by_millis }),
            (ClockVerdict::Unjudged, _) | (_, None) => return Err(NoStamp::Unjudged),
            (ClockVerdict::Agrees, Some(anchor)) => anchor,
        };
        let elapsed = self.clock.monotonic_millis().saturating_sub(anchor.monotonic_millis);
        let expected = anchor.wall.plus_millis(elapsed);
        let wall = self.clock.now();
        let jumped = wall.as_millis().abs_diff(expected.as_millis()) > CLOCK_APART_MILLIS_MAX;
        Ok(if jumped { expected } else { wall })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct HandClock {
        wall: AtomicU64,
        monotonic: AtomicU64,
    }

    impl HandClock {
        fn pass(&self, millis: u64) {
            self.wall.fetch_add(millis, Ordering::Relaxed);
            self.monotonic.fetch_add(millis, Ordering::Relaxed);
        }

        fn jump_to(&self, wall: u64) {
            self.wall.store(wall, Ordering::Relaxed);
        }
    }

    impl Clock for HandClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.wall.load(Ordering::Relaxed))
        }

        fn monotonic_millis(&self) -> u64 {
            self.monotonic.load(Ordering::Relaxed)
        }
    }

    fn guard(members: usize) -> (Arc<HandClock>, ClockGuard) {
        let clock = Arc::new(HandClock::default());
        clock.jump_to(1_000_000);
        (clock.clone(), ClockGuard::new(clock, members))
    }

    #[test]
    fn a_node_alone_trusts_its_own_clock() {
        let (_, guard) = guard(1);
        assert_eq!(guard.stamp(), Ok(Timestamp::from_millis(1_000_000)));
    }

    #[test]
    fn rule_10_a_node_stamps_only_once_a_majority_agrees() {
        let (_, guard) = guard(3);
        assert_eq!(guard.stamp(), Err(NoStamp::Unjudged));
        assert_eq!(guard.judge(&[-40]), ClockVerdict::Agrees);
        assert_eq!(guard.stamp(), Ok(Timestamp::from_millis(1_000_000)));
    }

    #[test]
    fn rule_10_a_node_off_its_peers_median_does_not_stamp_until_it_is_set_right() {
        let (_, guard) = guard(3);
        guard.judge(&[0, 0]);
        assert_eq!(guard.judge(&[9_000, 7_000]), ClockVerdict::Off { by_millis: 9_000 });
        assert_eq!(guard.stamp(), Err(NoStamp::Off { by_millis: 9_000 }));
        assert_eq!(guard.judge(&[100, 200]), ClockVerdict::Agrees);
        assert!(guard.stamp().is_ok());
    }

    #[test]
    fn one_peer_that_disagrees_convicts_nobody_while_the_third_is_away() {
        let (_, guard) = guard(3);
        guard.judge(&[0, 0]);
        assert_eq!(guard.judge(&[60_000]), ClockVerdict::Agrees);
    }

    #[test]
    fn rule_10_a_jump_to_the_year_2099_is_not_stamped_until_a_majority_jumped_too() {
        let (clock, guard) = guard(3);
        guard.judge(&[0, 0]);
        clock.pass(700);
        clock.jump_to(4_070_908_800_000);
        assert_eq!(
            guard.stamp(),
            Ok(Timestamp::from_millis(1_000_700)),
            "time goes on with the monotonic clock"
        );
        clock.pass(300);
        guard.judge(&[0, -12]);
        assert_eq!(guard.stamp(), Ok(Timestamp::from_millis(4_070_908_800_300)));
    }
}
