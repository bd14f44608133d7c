//! The fold: one committed entry after the other, the same on every node.

use crate::effects::{Applied, WantOperation};
use crate::settings::Settings;
use crate::state::State;
use events::batch::BatchError;
use events::ids::{ClusterId, Generation, LogIndex};
use events::time::Timestamp;

/// What the log means, up to the last entry that was applied.
///
/// Invariant: every entry reaches it once, in order. The next index is the last one plus one; a snapshot restores the
/// last one. An entry left out would be a state that no other node has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projector {
    pub(crate) state: State,
}

/// Why an entry was not applied. The state is as it was; a node that cannot go on must halt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("entry {got} comes after entry {applied}, which is applied already")]
    OutOfOrder { applied: LogIndex, got: LogIndex },
    #[error(
        "entry {got} does not follow entry {applied}: what lies between is missing. Fold the whole log, or begin with \
         a snapshot of entry {before}",
        before = got - 1
    )]
    Gap { applied: LogIndex, got: LogIndex },
    #[error("entry {index}: {source}")]
    Entry { index: LogIndex, source: BatchError },
}

impl Projector {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A fold that goes by other numbers than live nodes do: for replays that ask what would have been.
    #[must_use]
    pub fn with_settings(settings: Settings) -> Self {
        Projector { state: State { settings, ..State::default() } }
    }

    /// Orders what policy wants after the last entry, although the log has no such order. Only a replay under other
    /// settings may: there is nobody else to order what the live cluster did not want. `ordinal` names it.
    pub fn danger_order(&mut self, want: WantOperation, ordinal: u16) -> Applied {
        crate::apply::order_unlogged(&mut self.state, want, ordinal)
    }

    /// Applies one committed entry: stamp ‖ batch (see `events::batch`).
    pub fn apply(&mut self, index: LogIndex, payload: &[u8]) -> Result<Applied, ApplyError> {
        crate::apply::entry(&mut self.state, index, payload)
    }

    /// Passes an entry that carries no batch: blank, or a change of membership. A log may begin with entry 0.
    pub fn skip(&mut self, index: LogIndex) -> Result<(), ApplyError> {
        if index > 0 || self.state.applied > 0 {
            crate::apply::check_next(&self.state, index)?;
        }
        self.state.applied = index;
        Ok(())
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
