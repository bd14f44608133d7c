//! Whether this node's state is fresh enough to judge by.
//!
//! ```text
//!   leader's report: applied 900 ──▶ goal 900 ──reached──▶ fresh, next report is the next goal
//!                                       └── not reached within LAG_MAX ──▶ stale, until it reached what the newest one says
//! ```
//!
//! A node that is minutes behind would refuse codes that were issued since, for good, and hand out tickets that nobody takes.

use events::ids::LogIndex;
use std::time::Duration;
use tokio::time::Instant;

/// Reports come once a second, and a node under load is a moment behind each.
const LAG_MAX: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Lag {
    goal: Option<Goal>,
    fresh: bool,
}

#[derive(Clone, Copy)]
struct Goal {
    index: LogIndex,
    since: Instant,
}

impl Lag {
    /// Judges by how far this node is and how far the leader was when it said so last.
    pub(super) fn is_fresh(&mut self, own: LogIndex, leaders: LogIndex, now: Instant) -> bool {
        let goal = *self.goal.get_or_insert(Goal { index: leaders, since: now });
        if own >= goal.index {
            // A node that was stale is fresh only once it reached what is known now.
            self.fresh |= own >= leaders;
            self.goal = (own < leaders).then_some(Goal { index: leaders, since: now });
        } else if now.duration_since(goal.since) >= LAG_MAX {
            self.fresh = false;
        }
        self.fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(steps: &[(u64, LogIndex, LogIndex)]) -> Vec<bool> {
        let (mut lag, began) = (Lag::default(), Instant::now());
        let judge =
            |&(millis, own, leaders)| lag.is_fresh(own, leaders, began + Duration::from_millis(millis));
        steps.iter().map(judge).collect()
    }

    #[test]
    fn a_node_that_starts_behind_is_stale_until_it_reached_the_leader() {
        assert_eq!(judged(&[(0, 10, 900), (5, 800, 900), (10, 900, 900)]), [false, false, true]);
        assert_eq!(judged(&[(0, 10, 900), (900, 900, 1_900), (990, 1_900, 1_900)]), [false, false, true]);
    }

    #[test]
    fn a_node_that_is_a_moment_behind_each_report_stays_fresh() {
        let steps: Vec<_> = (0..100)
            .flat_map(|n| [(n * 100, n * 50, n * 50 + 40), (n * 100 + 50, n * 50 + 45, n * 50 + 40)])
            .collect();
        assert_eq!(judged(&steps).iter().filter(|fresh| !**fresh).count(), 1, "but for the first word");
    }

    #[test]
    fn a_node_that_falls_behind_for_long_is_stale_until_it_caught_up() {
        let fell = [(0, 50, 50), (1_000, 60, 900), (5_999, 200, 5_000), (6_000, 300, 6_000)];
        assert_eq!(judged(&fell), [true, true, true, false]);
        let came_back =
            [&fell[..], &[(7_000, 950, 7_000), (8_000, 7_000, 8_000), (8_100, 8_000, 8_000)]].concat();
        assert_eq!(judged(&came_back)[4..], [false, false, true]);
    }
}
