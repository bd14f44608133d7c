//! When a snapshot is made: after so many entries, and not before the log grew by a part of what the last snapshot holds.
//!
//! A snapshot costs what the state is large, however little of it changed: with a million devices it has 750 MB, and 5,000
//! entries of a busy cluster come in seconds. So what is written for snapshots stays within a few times what is written for the
//! log, and what a start reads again within a part of the snapshot that it begins with.

use super::MusterRaft;
use events::ids::LogIndex;
use openraft::async_runtime::watch::WatchReceiver;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// One that was asked for and did not come is asked for again: another may have been under way.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// The log grew by the last snapshot's size divided by this.
const PART: u64 = 4;

/// How much the log grew since the last snapshot, and how large that is; in bytes. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Grown(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    applied: AtomicU64,
    /// Of these, what the last snapshot holds.
    held: AtomicU64,
    size: AtomicU64,
}

impl Grown {
    /// An entry of so many bytes was applied.
    pub(super) fn apply(&self, bytes: usize) {
        self.0.applied.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What a snapshot will hold that is begun now.
    pub(super) fn mark(&self) -> u64 {
        self.0.applied.load(Ordering::Relaxed)
    }

    /// There is a snapshot of `size` bytes that was begun at `mark`.
    pub(super) fn kept(&self, mark: u64, size: u64) {
        self.0.held.fetch_max(mark, Ordering::Relaxed);
        self.0.size.store(size, Ordering::Relaxed);
    }

    fn is_enough(&self) -> bool {
        self.mark() - self.0.held.load(Ordering::Relaxed) >= self.0.size.load(Ordering::Relaxed) / PART
    }
}

/// Asks raft for snapshots. Whoever else asks for one gets it at once.
pub struct Snapshotting {
    pub raft: MusterRaft,
    pub grown: Grown,
    /// Entries between two at least.
    pub entries: u64,
}

impl Snapshotting {
    /// Looks again and again, until raft ends.
    pub async fn run(self) {
        let metrics = self.raft.data_metrics();
        let mut asked: Option<(Option<LogIndex>, Instant)> = None;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let (applied, last) = {
                let now = metrics.borrow_watched();
                (now.last_applied.map_or(0, |at| at.index), now.snapshot.map(|at| at.index))
            };
            let is_asked = asked.is_some_and(|(then, at)| then == last && at.elapsed() < AGAIN_AFTER);
            if is_asked || applied.saturating_sub(last.unwrap_or(0)) < self.entries || !self.grown.is_enough()
            {
                continue;
            }
            if self.raft.trigger().snapshot().await.is_err() {
                return;
            }
            asked = Some((last, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_to_grow_by_a_quarter_of_the_last_snapshot() {
        let grown = Grown::default();
        assert!(grown.is_enough(), "before the first there is nothing to wait for");
        grown.apply(100);
        let mark = grown.mark();
        grown.apply(10);
        grown.kept(mark, 4_000);
        grown.apply(989);
        assert!(!grown.is_enough(), "what came while it was made counts, and is not enough");
        grown.apply(1);
        assert!(grown.is_enough());
    }

    #[test]
    fn a_snapshot_that_came_from_elsewhere_counts_from_its_own_size_on() {
        let grown = Grown::default();
        grown.apply(500);
        grown.kept(grown.mark(), 400);
        assert!(!grown.is_enough());
        grown.apply(100);
        assert!(grown.is_enough());
    }
}
