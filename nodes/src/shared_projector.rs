//! The fold of this node, shared: one writer (the state machine), many readers, and those who wait for it.

use crate::feed::ChangeFeed;
use crate::raft::tree::AppliedTree;
use crate::telemetry::measures::Measures;
use crate::telemetry::traced::Traced;
use events::ids::LogIndex;
use parking_lot::{Mutex, RwLock};
pub use projector::StateDigest;
use projector::{ApplyError, Effect, Outcomes, Projector};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};

/// Digests kept for comparison with peers that lag or lead.
const DIGESTS_KEPT: usize = 64;
/// Effects that a slow reader may be behind; what it misses is made up for by the next verdict.
const EFFECTS_KEPT: usize = 1024;

/// An effect, and the entry that caused it.
#[derive(Clone, Debug)]
pub struct Caused {
    pub index: LogIndex,
    pub effect: Effect,
}

/// A state digest and what it can be compared with: another member's of the same level at the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelDigest {
    /// `Projector::level` of the program that made it.
    pub level: u16,
    pub index: LogIndex,
    pub digest: StateDigest,
}

/// A handle to the fold; clones share it.
#[derive(Clone)]
pub struct SharedProjector(Arc<Inner>);

struct Inner {
    fold: RwLock<Projector>,
    applied: watch::Sender<LogIndex>,
    effects: broadcast::Sender<Caused>,
    feed: ChangeFeed,
    traced: Traced,
    measures: Arc<Measures>,
    tree: AppliedTree,
    /// Ascending by index.
    digests: Mutex<VecDeque<LevelDigest>>,
}

impl SharedProjector {
    #[must_use]
    pub fn new(fold: Projector) -> Self {
        SharedProjector::measured(fold, Arc::default())
    }

    /// As [`SharedProjector::new`]; how long apply takes is told to `measures`.
    #[must_use]
    pub fn measured(fold: Projector, measures: Arc<Measures>) -> Self {
        let applied = watch::Sender::new(fold.applied());
        let effects = broadcast::Sender::new(EFFECTS_KEPT);
        SharedProjector(Arc::new(Inner {
            fold: RwLock::new(fold),
            applied,
            effects,
            feed: ChangeFeed::default(),
            traced: Traced::default(),
            measures,
            tree: AppliedTree::default(),
            digests: Mutex::default(),
        }))
    }

    /// Reads a consistent state. Apply waits meanwhile: be quick, and never wait for anything inside.
    pub fn read<T>(&self, reader: impl FnOnce(&Projector) -> T) -> T {
        reader(&self.0.fold.read())
    }

    /// The applied index, and a way to wait for it to move.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<LogIndex> {
        self.0.applied.subscribe()
    }

    /// Effects of what is applied from now on. Subscribe after the log was recovered, so that old ones are not
    /// carried out again.
    #[must_use]
    pub fn effects(&self) -> broadcast::Receiver<Caused> {
        self.0.effects.subscribe()
    }

    /// What changes, for those who watch live.
    /// What is measured around it.
    #[must_use]
    pub fn measures(&self) -> &Arc<Measures> {
        &self.0.measures
    }

    #[must_use]
    pub fn feed(&self) -> &ChangeFeed {
        &self.0.feed
    }

    /// Batches that came with a trace.
    #[must_use]
    pub fn traced(&self) -> &Traced {
        &self.0.traced
    }

    /// The Merkle tree of what was applied.
    #[must_use]
    pub fn tree(&self) -> &AppliedTree {
        &self.0.tree
    }

    /// State digests at the last fixed indices, ascending.
    #[must_use]
    pub fn digests(&self) -> Vec<LevelDigest> {
        self.0.digests.lock().iter().copied().collect()
    }

    /// Applies one committed entry. Only the state machine calls this.
    pub(crate) fn apply(&self, index: LogIndex, payload: &[u8]) -> Result<Outcomes, ApplyError> {
        let span = self.0.traced.apply(index, payload);
        let _entered = span.enter();
        let began = std::time::Instant::now();
        let mut fold = self.0.fold.write();
        let applied = fold.apply(index, payload)?;
        self.note_digest(index, &mut fold);
        drop(fold);
        for effect in applied.effects {
            // Here and not in a task of its own, so that none is missed and the roots of recent sizes are still known.
            if let Effect::Compare(checkpoint) = &effect {
                self.0.tree.compare(checkpoint.clone());
            }
            // Nobody listens on a node without egress.
            let _ = self.0.effects.send(Caused { index, effect });
        }
        let measures = &self.0.measures;
        measures.entries.inc();
        measures.events.inc_by(applied.outcomes.events.len() as u64);
        measures.heartbeats.inc_by(applied.outcomes.heartbeats.len() as u64);
        measures.note_operations(&applied.changes);
        measures.apply_seconds.observe(began.elapsed().as_secs_f64());
        self.0.feed.tell(index, applied.outcomes.stamp, applied.changes);
        Ok(applied.outcomes)
    }

    /// Passes over an entry that carries no batch (a new term, a membership).
    pub(crate) fn skip(&self, index: LogIndex) -> Result<(), ApplyError> {
        let mut fold = self.0.fold.write();
        fold.skip(index)?;
        self.note_digest(index, &mut fold);
        Ok(())
    }

    /// Tells the waiters how far apply came.
    pub(crate) fn publish_applied(&self) {
        let applied = self.0.fold.read().applied();
        self.0.applied.send_if_modified(|published| {
            let moved = *published != applied;
            *published = applied;
            moved
        });
    }

    /// Puts another state in place: an installed snapshot.
    pub(crate) fn replace(&self, fold: Projector) {
        let mut own = self.0.fold.write();
        self.0.digests.lock().clear();
        self.0.feed.stand_at(fold.applied());
        let before = std::mem::replace(&mut *own, fold);
        drop(own);
        self.publish_applied();
        // Freeing a million devices takes its time: readers do not wait for it.
        drop(before);
    }

    fn note_digest(&self, index: LogIndex, fold: &mut Projector) {
        if !fold.digest_is_due() {
            return;
        }
        let mut digests = self.0.digests.lock();
        if digests.len() == DIGESTS_KEPT {
            digests.pop_front();
        }
        digests.push_back(LevelDigest { level: fold.level(), index, digest: fold.digest() });
    }
}
