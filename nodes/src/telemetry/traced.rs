//! Batches that came with a trace, while they are on their way through raft: the fold applies entries in another task,
//! and finds here whose child its span is. Costs one atomic read an entry where nothing is traced.

use events::batch::{BatchId, access, split_stamp};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing::Span;

/// Batches followed at one time; more go without a span of their apply.
const FOLLOWED_MAX: usize = 64;

/// Clones share what is followed.
#[derive(Clone, Default)]
pub struct Traced(Arc<Inner>);

#[derive(Default)]
struct Inner {
    count: AtomicUsize,
    followed: Mutex<Vec<(BatchId, Span)>>,
}

/// Follows a batch until it is dropped.
#[must_use = "dropping it ends the following"]
pub struct Following {
    traced: Traced,
    id: BatchId,
}

impl Traced {
    /// The apply of this batch becomes a child of `commit`.
    pub fn follow(&self, id: BatchId, commit: Span) -> Following {
        let mut followed = self.0.followed.lock();
        if followed.len() < FOLLOWED_MAX {
            followed.push((id, commit));
            self.0.count.store(followed.len(), Ordering::Release);
        }
        Following { traced: self.clone(), id }
    }

    /// The span of one entry's apply; none if nobody follows it.
    #[must_use]
    pub fn apply(&self, index: u64, payload: &[u8]) -> Span {
        if self.0.count.load(Ordering::Acquire) == 0 {
            return Span::none();
        }
        let id =
            split_stamp(payload).ok().and_then(|(_, bytes)| access(bytes).ok()).map(|batch| batch.batch_id());
        let followed = self.0.followed.lock();
        let commit = followed.iter().find(|(known, _)| Some(*known) == id).map(|(_, commit)| commit);
        commit.map_or_else(Span::none, |commit| tracing::info_span!(parent: commit, "apply", index))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut followed = self.traced.0.followed.lock();
        if let Some(at) = followed.iter().position(|(known, _)| *known == self.id) {
            followed.swap_remove(at);
        }
        self.traced.0.count.store(followed.len(), Ordering::Release);
    }
}
