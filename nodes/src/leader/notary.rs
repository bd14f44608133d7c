//! Signs the head of the log and proposes it as an event: the leader at an interval, any node when it is asked.
//!
//! A node signs only what it applied, so only committed entries, and every member has the checkpoint key: who signs makes
//! no difference, and a signer that was deposed meanwhile does no harm. Every node compares the root with its own
//! (`raft::tree`).

use super::levels::MemberLevels;
use crate::proposer::{ProposeError, Proposer};
use crate::raft::tree::Head;
use crate::shared_projector::SharedProjector;
use events::identity::key::SigningKey;
use events::ids::{ClusterId, NodeId};
use events::log::checkpoint::Checkpoint;
use events::vocabulary::CheckpointSigned;
use projector::view::CheckpointView;
use projector::{Decline, Outcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Members of a lower level halt at a checkpoint.
const LEVEL_THAT_KNOWS_CHECKPOINTS: u16 = 5;

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotaryError {
    #[error(
        "this node does not know the Merkle tree of its log yet: it began with a snapshot of an older version"
    )]
    TreeUnknown,
    #[error(
        "this node's log differs from what was signed before; find out whose is altered: `muster log verify`"
    )]
    LogDiffers,
    #[error("node {0} has not said yet that it knows checkpoints: it runs an older version or was not heard")]
    OlderMember(NodeId),
    #[error(
        "this node does not serve now: it is behind the others or reaches no majority, and what it would sign lies far back \
         by the time it is committed"
    )]
    NotServing,
    #[error("the checkpoint was declined: {0}")]
    Declined(Decline),
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

pub struct Notary {
    pub cluster: ClusterId,
    pub key: SigningKey,
    pub projector: SharedProjector,
    pub proposer: Proposer,
    pub levels: Arc<MemberLevels>,
    /// Whether this node is near the others: a head is of use to whoever knows its size still.
    pub serving: watch::Receiver<bool>,
}

impl Notary {
    /// Signs all that was applied here, and gets it committed.
    pub async fn checkpoint(&self) -> Result<CheckpointView, NotaryError> {
        self.check_members()?;
        let tree = self.projector.tree();
        if tree.compared().borrow().difference.is_some() {
            return Err(NotaryError::LogDiffers);
        }
        if !*self.serving.borrow() {
            return Err(NotaryError::NotServing);
        }
        let mut signed = None;
        // Proposals before this one may wait for long: the head is taken after them.
        let outcomes = self.proposer.propose_in_turn(|| {
            let event = self.sign_head()?;
            Ok::<_, NotaryError>(vec![signed.insert(event).clone().into()])
        });
        let outcomes = outcomes.await?;
        match (outcomes.events.first(), signed) {
            (Some(Outcome::Declined(decline)), _) => Err(NotaryError::Declined(*decline)),
            (_, None) => Err(NotaryError::TreeUnknown),
            // One that another node signed a moment ago may be larger; this one is in the log all the same.
            (_, Some(CheckpointSigned { generation, size, root, signature })) => Ok(CheckpointView {
                index: outcomes.index,
                at: outcomes.stamp,
                generation,
                size,
                root,
                signature,
            }),
        }
    }

    fn sign_head(&self) -> Result<CheckpointSigned, NotaryError> {
        let Head { size, root } = self.projector.tree().head().ok_or(NotaryError::TreeUnknown)?;
        let generation = self.projector.read(|fold| fold.generation());
        let checkpoint = Checkpoint { cluster: self.cluster, generation: Some(generation), size, root };
        let signature = checkpoint.signature(&self.key);
        Ok(CheckpointSigned { generation, size, root, signature })
    }

    /// How long until the next checkpoint is due, in log time.
    #[must_use]
    pub fn due_within(&self, every: Duration) -> Duration {
        let since = self
            .projector
            .read(|fold| fold.checkpoints().next_back().map(|last| fold.stamp().millis_since(last.at)));
        every.saturating_sub(Duration::from_millis(since.unwrap_or(0)))
    }

    /// The first checkpoint waits until every member knows what it is: one that does not would halt.
    fn check_members(&self) -> Result<(), NotaryError> {
        if self.projector.read(|fold| fold.checkpoints().next().is_some()) {
            return Ok(());
        }
        match self.levels.below(LEVEL_THAT_KNOWS_CHECKPOINTS) {
            Some(peer) => Err(NotaryError::OlderMember(peer)),
            None => Ok(()),
        }
    }

    /// Whether every member knows the events that came with the level of checkpoints.
    #[must_use]
    pub fn members_know(&self) -> bool {
        self.check_members().is_ok()
    }
}
