//! What changed, for those who watch live. The fold tells and never waits; what was told last is kept, so that a
//! watcher whose connection broke goes on where it was.

use events::ids::{LogIndex, NodeId};
use events::time::Timestamp;
use parking_lot::Mutex;
use projector::Change;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::broadcast;

/// What a live watcher may be behind.
pub const LIVE_KEPT: usize = 1024;
/// What a watcher that comes again may have missed.
const RECENT_KEPT: usize = 8 * LIVE_KEPT;

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The entry that changed it; of a change of leadership, what was applied last.
    pub index: LogIndex,
    pub told: Told,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Changes {
        stamp: Timestamp,
        changes: Vec<Change>,
    },
    Leadership {
        leader: Option<NodeId>,
        term: u64,
    },
    /// An installed snapshot took the place of the state: what was changed up to `index` is not told.
    Replaced,
}

/// One writer, many watchers.
pub struct ChangeFeed {
    inner: Mutex<Inner>,
    live: broadcast::Sender<Arc<Changed>>,
}

struct Inner {
    /// Ascending by index.
    recent: VecDeque<Arc<Changed>>,
    /// Changes of entries above this are all kept.
    complete_above: LogIndex,
    applied: LogIndex,
}

/// Where a watcher begins.
pub struct Subscribed {
    pub kept: VecDeque<Arc<Changed>>,
    pub live: broadcast::Receiver<Arc<Changed>>,
    /// Some of what was asked for is not kept: complete from this index on.
    pub gap: Option<LogIndex>,
    /// How far this node's state came.
    pub applied: LogIndex,
}

impl Default for ChangeFeed {
    fn default() -> Self {
        let inner = Inner { recent: VecDeque::new(), complete_above: 0, applied: 0 };
        ChangeFeed { inner: Mutex::new(inner), live: broadcast::Sender::new(LIVE_KEPT) }
    }
}

impl ChangeFeed {
    /// What an entry changed.
    pub fn tell(&self, index: LogIndex, stamp: Timestamp, changes: Vec<Change>) {
        let mut inner = self.inner.lock();
        inner.applied = index;
        if changes.is_empty() {
            return;
        }
        let changed = Arc::new(Changed { index, told: Told::Changes { stamp, changes } });
        if inner.recent.len() == RECENT_KEPT
            && let Some(oldest) = inner.recent.pop_front()
        {
            inner.complete_above = oldest.index;
        }
        inner.recent.push_back(changed.clone());
        // Under the lock, so that a watcher that comes now gets it once.
        let _ = self.live.send(changed);
    }

    /// Who leads now; told to those who watch, and not kept.
    pub fn tell_leadership(&self, leader: Option<NodeId>, term: u64) {
        let inner = self.inner.lock();
        let changed = Changed { index: inner.applied, told: Told::Leadership { leader, term } };
        let _ = self.live.send(Arc::new(changed));
    }

    /// Another state took the place of the one before: what it went through is not known here, and who watches hears that.
    pub fn stand_at(&self, applied: LogIndex) {
        let mut inner = self.inner.lock();
        inner.recent.clear();
        (inner.complete_above, inner.applied) = (applied, applied);
        let _ = self.live.send(Arc::new(Changed { index: applied, told: Told::Replaced }));
    }

    /// How many entries above `after` that changed something are kept.
    #[must_use]
    pub fn kept_after(&self, after: LogIndex) -> u64 {
        let inner = self.inner.lock();
        let passed = inner.recent.partition_point(|changed| changed.index <= after);
        (inner.recent.len() - passed) as u64
    }

    /// Live from now on, and what is kept after `after` first.
    #[must_use]
    pub fn subscribe(&self, after: Option<LogIndex>) -> Subscribed {
        let inner = self.inner.lock();
        let live = self.live.subscribe();
        let applied = inner.applied;
        let Some(after) = after else {
            return Subscribed { kept: VecDeque::new(), live, gap: None, applied };
        };
        let gap = (after < inner.complete_above).then_some(inner.complete_above + 1);
        let kept = inner.recent.iter().filter(|changed| changed.index > after).cloned().collect();
        Subscribed { kept, live, gap, applied }
    }
}
