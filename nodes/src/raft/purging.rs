//! How far raft's log is purged: what a snapshot holds, but for entries that are kept for members that lag, and for those
//! that a member needs after the snapshot that it is sent.
//!
//! ```text
//!   a snapshot at 900 goes to node 3 ──▶ nothing above 900 is purged ──▶ node 3 has it, and asks for 901
//!                                          └─ while it moves on: until it is as near as a member that lags may be
//! ```
//!
//! Else a snapshot that takes longer to travel, to be checked and to be read than the log takes to grow by what is kept
//! would be sent again and again, for ever.

use super::MusterRaft;
use events::ids::{LogIndex, NodeId};
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A member that took nothing for so long is waited for no longer.
const STILL_MAX: Duration = Duration::from_secs(120);
/// Nor is one that is further behind: an open of the log reads all that is not purged.
const HELD_ENTRIES_MAX: u64 = 2_000_000;
/// A member that got a snapshot is near once it is so close to the end, or as close as `keep_entries`.
const NEAR_ENTRIES: u64 = 1024;

/// The members that are sent a snapshot. Clones share it.
#[derive(Clone, Default)]
pub struct Transfers(Arc<Mutex<BTreeMap<NodeId, Transfer>>>);

struct Transfer {
    /// The member has all up to here, or will.
    through: LogIndex,
    moved_at: Instant,
}

impl Transfers {
    /// The snapshot that stands at `index` moved on to `to`, or begins to.
    pub fn moved(&self, to: NodeId, index: LogIndex) {
        self.0.lock().insert(to, Transfer { through: index, moved_at: Instant::now() });
    }

    /// Nothing after this may be purged, if anything is held. `has` tells up to where a member has the log, which ends at
    /// `last`; `near` is how far from that a member may be that nobody waits for.
    fn held(&self, has: impl Fn(NodeId) -> Option<LogIndex>, last: LogIndex, near: u64) -> Option<LogIndex> {
        let mut transfers = self.0.lock();
        transfers.retain(|node, transfer| {
            if let Some(has) = has(*node).filter(|has| *has > transfer.through) {
                *transfer = Transfer { through: has, moved_at: Instant::now() };
            }
            let behind = last.saturating_sub(transfer.through);
            let is_there = has(*node) >= Some(transfer.through) && behind <= near;
            !is_there && behind <= HELD_ENTRIES_MAX && transfer.moved_at.elapsed() < STILL_MAX
        });
        transfers.values().map(|transfer| transfer.through).min()
    }
}

pub struct Purging {
    pub raft: MusterRaft,
    pub transfers: Transfers,
    /// So many entries that a snapshot holds stay.
    pub keep_entries: u64,
}

impl Purging {
    /// Looks again and again, until raft ends.
    pub async fn run(self) {
        let (metrics, mut asked) = (self.raft.data_metrics(), None);
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let through = {
                let now = metrics.borrow_watched();
                let has = |node| now.replication.as_ref()?.get(&node)?.as_ref().map(|at| at.index);
                let last = now.last_log.map_or(0, |last| last.index);
                let held = self.transfers.held(has, last, self.keep_entries.max(NEAR_ENTRIES));
                let through = purge_through(now.snapshot.map(|at| at.index), self.keep_entries, held);
                through.filter(|through| Some(*through) > now.purged.map(|at| at.index).max(asked))
            };
            let Some(through) = through else { continue };
            if self.raft.trigger().purge_log(through).await.is_err() {
                return;
            }
            asked = Some(through);
        }
    }
}

fn purge_through(snapshot: Option<LogIndex>, keep: u64, held: Option<LogIndex>) -> Option<LogIndex> {
    let through = snapshot?.checked_sub(keep)?;
    Some(held.map_or(through, |held| through.min(held)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_snapshot_holds_is_purged_but_for_what_is_kept_and_what_is_held() {
        assert_eq!(purge_through(None, 0, None), None);
        assert_eq!(purge_through(Some(900), 0, None), Some(900));
        assert_eq!(purge_through(Some(900), 100, None), Some(800));
        assert_eq!(purge_through(Some(90), 100, None), None);
        assert_eq!(purge_through(Some(900), 100, Some(850)), Some(800));
        assert_eq!(purge_through(Some(900), 100, Some(300)), Some(300));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_member_needs_is_held_from_its_snapshot_on_until_it_is_near_or_does_not_move() {
        let transfers = Transfers::default();
        let held = |has: Option<LogIndex>, last| transfers.held(|_| has, last, 1000);
        assert_eq!(held(None, 5_000), None);
        transfers.moved(3, 900);
        assert_eq!(held(None, 950), Some(900), "its snapshot is on its way, however near its end is");
        assert_eq!(held(Some(20), 50_000), Some(900));
        tokio::time::advance(STILL_MAX - Duration::from_secs(1)).await;
        transfers.moved(3, 900);
        tokio::time::advance(STILL_MAX - Duration::from_secs(1)).await;
        assert_eq!(held(Some(900), 90_000), Some(900), "it has it");
        assert_eq!(held(Some(40_000), 95_000), Some(40_000), "it catches up");
        assert_eq!(held(Some(94_500), 95_000), None, "it is near");
        assert_eq!(held(Some(94_500), 99_000), None, "and is as everybody else from then on");
        transfers.moved(3, 99_000);
        tokio::time::advance(STILL_MAX).await;
        assert_eq!(held(Some(94_500), 110_000), None, "it is gone");
        transfers.moved(3, 99_000);
        assert_eq!(held(None, 99_000 + HELD_ENTRIES_MAX + 1), None, "it would never get there");
    }
}
