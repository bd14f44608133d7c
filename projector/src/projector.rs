//! The fold: one committed entry after the other, the same on every node.

use crate::effects::{Applied, WantOperation};
use crate::state::State;
use events::batch::BatchError;
use events::ids::{ClusterId, Generation, LogIndex};
use events::time::Timestamp;

/// What the log means, up to the last entry that was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projector {
    pub(crate) state: State,
}

/// Why an entry was not applied. The state is as it was; a node that cannot go on must halt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("entry {got} comes after entry {applied}, which is applied already")]
    OutOfOrder { applied: LogIndex, got: LogIndex },
    #[error("entry {index}: {source}")]
    Entry { index: LogIndex, source: BatchError },
}

impl Projector {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one committed entry: stamp ‖ batch (see `events::batch`).
    pub fn apply(&mut self, index: LogIndex, payload: &[u8]) -> Result<Applied, ApplyError> {
        crate::apply::entry(&mut self.state, index, payload)
    }

    /// Passes an entry that carries no batch: blank, or a change of membership.
    pub fn skip(&mut self, index: LogIndex) {
        self.state.applied = self.state.applied.max(index);
    }

    /// The index of the last entry.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.state.applied
    }

    /// Log time: the highest stamp so far.
    #[must_use]
    pub fn stamp(&self) -> Timestamp {
        self.state.stamp
    }

    #[must_use]
    pub fn generation(&self) -> Generation {
        self.state.generation
    }

    /// None before `ClusterCreated` was applied.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.state.cluster
    }

    /// What policy asks for now and nobody ordered yet. A new leader proposes these.
    #[must_use]
    pub fn wanted_operations(&self) -> Vec<WantOperation> {
        crate::decide::wanted(&self.state)
    }
}
