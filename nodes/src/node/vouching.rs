//! Holds the history that peers gave against a signed checkpoint of the log: index and term alone say nothing of what an
//! entry holds.
//!
//! The tree of all entries up to a checkpoint that covers what was fetched is grown from the files, a range at a time
//! and from what was proven before, and its root must be the one that was signed. Where this node's own log is not what
//! was signed either (automation stopped), a checkpoint proves nothing about what was fetched, and nothing is judged.

use crate::shared_projector::SharedProjector;
use crate::storage::archive::Archive;
use crate::storage::error::StorageError;
use crate::storage::gaps::{GapBook, Unproven};
use crate::storage::view::LogEntry;
use events::identity::key::PublicKey;
use events::ids::{ClusterId, LogIndex};
use events::log::merkle::Frontier;
use projector::view::CheckpointView;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For each second of reading, so that ingest does not notice.
const REST_RATIO: u32 = 9;
/// So much of what is here is read at once.
const HELD_BYTES: usize = 1024 * 1024;
/// What is not on the disk yet, or not read, is looked for again after this long.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Vouching {
    pub gaps: Arc<GapBook>,
    pub history: Arc<Archive>,
    pub projector: SharedProjector,
    pub cluster: ClusterId,
    pub checkpoint_key: PublicKey,
}

/// What a checkpoint says of what was fetched.
#[derive(Debug)]
pub(super) enum Verdict {
    True { size: u64 },
    False { signed: Box<CheckpointView> },
}

impl Vouching {
    /// Waits for something to judge and a checkpoint to judge it by. May be dropped at any time; call it again once gaps
    /// were opened or closed.
    pub async fn verdict(&self) -> Verdict {
        let Some(unproven) = self.gaps.to_prove() else { return std::future::pending().await };
        let signed = self.checkpoint_over(unproven.through).await;
        let tree = self.tree_of(&signed, unproven).await;
        if tree.root() != signed.root {
            return Verdict::False { signed: Box::new(signed) };
        }
        let size = tree.size();
        loop {
            let (gaps, tree) = (self.gaps.clone(), tree.clone());
            match blocking(move || gaps.prove(tree)).await {
                Ok(true) => return Verdict::True { size },
                // There is a gap again: whoever waits for that calls anew.
                Ok(false) => return std::future::pending().await,
                Err(why) => {
                    tracing::warn!(why, "that this node's history is true cannot be noted");
                    tokio::time::sleep(LOOK_AGAIN_AFTER).await;
                }
            }
        }
    }

    /// What this node holds of history from `from` on, without a gap.
    pub async fn held(&self, from: LogIndex) -> Vec<LogEntry> {
        let history = self.history.again();
        blocking(move || history.range(from, HELD_BYTES)).await.unwrap_or_default()
    }

    /// Whether `history`, of which these entries (both included) are in doubt, is what a checkpoint was signed over; `None` if
    /// that cannot be told: none covers them, or the history is not whole.
    pub async fn judge(&self, history: Archive, (first, last): (LogIndex, LogIndex)) -> Option<bool> {
        let is_disputed = self.projector.tree().compared().borrow().difference.is_some();
        let signed = self.signed_over(last).filter(|_| !is_disputed)?;
        let (history, proven) = (Arc::new(history), self.gaps.proven());
        let mut tree = if proven.size() <= first { proven } else { Frontier::default() };
        while tree.size() < signed.size {
            let (began, history, mut grown) = (Instant::now(), history.clone(), tree);
            let grow = move || history.grow(&mut grown, signed.size - 1).map(|grew| grew.then_some(grown));
            tree = blocking(grow).await.ok().flatten()?;
            tokio::time::sleep(began.elapsed() * REST_RATIO).await;
        }
        Some(tree.root() == signed.root)
    }

    /// The smallest checkpoint that is the cluster's and covers entry `through`.
    async fn checkpoint_over(&self, through: LogIndex) -> CheckpointView {
        let mut compared = self.projector.tree().compared();
        loop {
            let is_disputed = compared.borrow_and_update().difference.is_some();
            if let Some(signed) = self.signed_over(through).filter(|_| !is_disputed) {
                return signed;
            }
            // Its sender lives in the projector.
            let _ = compared.changed().await;
        }
    }

    fn signed_over(&self, through: LogIndex) -> Option<CheckpointView> {
        let covers = |signed: &&CheckpointView| signed.size > through && self.is_signed(signed);
        self.projector.read(|fold| fold.checkpoints().find(covers).cloned())
    }

    fn is_signed(&self, signed: &CheckpointView) -> bool {
        signed.checkpoint(self.cluster).verify(&signed.signature, &self.checkpoint_key).is_ok()
    }

    async fn tree_of(&self, signed: &CheckpointView, unproven: Unproven) -> Frontier {
        // Of its own, so that nobody moves its place, and it knows no file that was replaced.
        let (archive, mut tree) = (Arc::new(self.history.again()), unproven.proven);
        let last = signed.size.saturating_sub(1);
        let (mut lacked, mut is_told) = (None, false);
        while tree.size() < signed.size {
            let (began, archive, mut grown) = (Instant::now(), archive.clone(), tree.clone());
            let grow = move || archive.grow(&mut grown, last).map(|grew| (grew, grown));
            match blocking(grow).await {
                Ok((true, grown)) => {
                    tree = grown;
                    tokio::time::sleep(began.elapsed() * REST_RATIO).await;
                    continue;
                }
                Ok((false, _)) if lacked.replace(tree.size()) != Some(tree.size()) => {
                    tracing::debug!(entry = tree.size(), "not in this node's files yet");
                }
                Ok((false, _)) if !std::mem::replace(&mut is_told, true) => tracing::warn!(
                    entry = tree.size(),
                    "this node's files do not hold that entry of history: nothing that was fetched can be proven before"
                ),
                Ok((false, _)) => {}
                Err(why) => tracing::warn!(why, "this node's history cannot be read to prove it"),
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
        tree
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}
