//! The Merkle tree of the entries that this node applied, and what it says of the checkpoints in the log.
//!
//! It grows beside the fold, not in it: whoever only folds (a replay) need not hash. In a snapshot its frontier stands
//! after the state:
//!
//! ```text
//! snapshot = state ‖ frontier ‖ length of the frontier u16 LE ‖ "MUSTTREE"
//! ```
//!
//! A snapshot that was made while the tree was unknown has no frontier. Until the tree is known again it is grown by
//! nobody, and this node neither signs nor judges checkpoints.

use events::batch::BatchError;
use events::ids::LogIndex;
use events::log::leaf::entry_leaf_hash;
use events::log::merkle::{Frontier, TreeHash};
use events::log::recent::RecentTree;
use events::log::record::EntryBody;
use parking_lot::Mutex;
use projector::view::CheckpointView;
use std::sync::Arc;
use tokio::sync::watch;

const TRAILER: &[u8; 8] = b"MUSTTREE";

/// A handle; clones share the tree. Grown by the state machine alone.
#[derive(Clone)]
pub struct AppliedTree(Arc<Inner>);

struct Inner {
    /// None: unknown.
    tree: Mutex<Option<RecentTree>>,
    compared: watch::Sender<Compared>,
}

/// A head of the log that may be signed: its entries are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub size: u64,
    pub root: TreeHash,
}

/// What the checkpoints in the log are to this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub last: Option<CheckpointView>,
    pub verdict: Verdict,
    /// The first one with another root than this node's.
    pub difference: Option<Difference>,
}

/// What the last checkpoint is to this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// There was none yet, or its size is not known here any more.
    #[default]
    Unknown,
    Equal,
    Differs,
}

/// Two roots of one size: somebody's entries are not those that were committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub checkpoint: CheckpointView,
    pub own: TreeHash,
}

impl Default for AppliedTree {
    fn default() -> Self {
        AppliedTree(Arc::new(Inner {
            tree: Mutex::new(Some(RecentTree::default())),
            compared: watch::Sender::default(),
        }))
    }
}

impl AppliedTree {
    /// The entry was applied.
    pub(crate) fn push<B: AsRef<[u8]>>(
        &self,
        term: u64,
        index: LogIndex,
        body: &EntryBody<B>,
    ) -> Result<(), BatchError> {
        // Hashed before the lock is taken.
        let leaf = entry_leaf_hash(term, body)?;
        let mut tree = self.0.tree.lock();
        match &mut *tree {
            Some(known) if known.size() == index => known.push(leaf),
            // Leaf `i` is entry `i`: what begins elsewhere is no tree of this log.
            Some(_) | None => *tree = None,
        }
        Ok(())
    }

    /// Another state was put in place, and this is its tree.
    pub(crate) fn stand_at(&self, frontier: Option<Frontier>) {
        *self.0.tree.lock() = frontier.map(RecentTree::from);
    }

    pub(crate) fn frontier(&self) -> Option<Frontier> {
        self.0.tree.lock().as_ref().map(RecentTree::frontier)
    }

    /// The head of all that was applied; none if the tree is unknown.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        let tree = self.0.tree.lock();
        let size = tree.as_ref()?.size();
        Some(Head { size, root: tree.as_ref()?.root_at(size)? })
    }

    /// Holds a committed checkpoint against this tree.
    pub(crate) fn compare(&self, checkpoint: CheckpointView) {
        let own = self.0.tree.lock().as_ref().and_then(|tree| tree.root_at(checkpoint.size));
        let verdict = match own {
            None => Verdict::Unknown,
            Some(own) if own == checkpoint.root => Verdict::Equal,
            Some(_) => Verdict::Differs,
        };
        self.0.compared.send_modify(|compared| {
            if let Some(own) = own.filter(|own| *own != checkpoint.root)
                && compared.difference.is_none()
            {
                tracing::error!(?checkpoint, "this node's log has another root than a committed checkpoint");
                compared.difference = Some(Difference { checkpoint: checkpoint.clone(), own });
            }
            compared.verdict = verdict;
            compared.last = Some(checkpoint);
        });
    }

    /// What the checkpoints in the log are to this node, and a way to wait for more of them.
    #[must_use]
    pub fn compared(&self) -> watch::Receiver<Compared> {
        self.0.compared.subscribe()
    }
}

/// The state's bytes with the frontier of its log after them.
#[must_use]
pub fn with_frontier(mut state: Vec<u8>, frontier: Option<&Frontier>) -> Vec<u8> {
    let Some(frontier) = frontier.map(Frontier::encode) else { return state };
    // A frontier has at most 64 hashes.
    let length = u16::try_from(frontier.len()).unwrap_or_default();
    state.extend_from_slice(&frontier);
    state.extend_from_slice(&length.to_le_bytes());
    state.extend_from_slice(TRAILER);
    state
}

/// Takes the frontier off a snapshot; `None` if it has none.
#[must_use]
pub fn split_frontier(snapshot: &[u8]) -> (&[u8], Option<Frontier>) {
    let split = || {
        let (rest, length) = snapshot.strip_suffix(TRAILER)?.split_last_chunk::<2>()?;
        let at = rest.len().checked_sub(usize::from(u16::from_le_bytes(*length)))?;
        let (state, frontier) = rest.split_at(at);
        Some((state, Frontier::decode(frontier).ok()?))
    };
    split().map_or((snapshot, None), |(state, frontier)| (state, Some(frontier)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::time::Timestamp;

    fn tree(entries: u64) -> AppliedTree {
        let tree = AppliedTree::default();
        (0..entries).for_each(|index| tree.push(1, index, &EntryBody::<Vec<u8>>::Blank).unwrap());
        tree
    }

    fn signed(head: Head) -> CheckpointView {
        CheckpointView {
            index: head.size + 2,
            at: Timestamp::ZERO,
            generation: 1,
            size: head.size,
            root: head.root,
            signature: vec![],
        }
    }

    #[test]
    fn a_frontier_survives_its_snapshot_and_one_without_stays_what_it_was() {
        let frontier = tree(37).frontier().unwrap();
        let bytes = with_frontier(b"state".to_vec(), Some(&frontier));
        assert_eq!(split_frontier(&bytes), (&b"state"[..], Some(frontier)));
        assert_eq!(split_frontier(b"state"), (&b"state"[..], None));
        assert_eq!(split_frontier(&with_frontier(b"state".to_vec(), None)), (&b"state"[..], None));
        for length in 0..bytes.len() {
            let (state, frontier) = split_frontier(&bytes[..length]);
            assert_eq!((state.len(), frontier), (length, None));
        }
    }

    #[test]
    fn an_equal_root_is_told_from_another_and_the_first_other_one_is_remembered() {
        let own = tree(9);
        let head = own.head().unwrap();
        assert_eq!(own.compared().borrow().verdict, Verdict::Unknown);
        own.compare(signed(head));
        assert_eq!(own.compared().borrow().verdict, Verdict::Equal);
        let other = signed(Head { root: [1; 32], ..head });
        own.compare(other.clone());
        own.compare(signed(head));
        let compared = own.compared().borrow().clone();
        assert_eq!(compared.verdict, Verdict::Equal);
        assert_eq!(compared.difference, Some(Difference { checkpoint: other, own: head.root }));
    }

    #[test]
    fn a_tree_that_misses_an_entry_is_unknown_and_signs_and_judges_nothing() {
        let own = tree(9);
        let head = own.head().unwrap();
        own.push(1, 10, &EntryBody::<Vec<u8>>::Blank).unwrap();
        assert_eq!(own.head(), None);
        own.compare(signed(Head { root: [1; 32], ..head }));
        assert_eq!(own.compared().borrow().difference, None);
    }
}
