//! The last signed heads of the log. Bounded: the smallest gives way.

use crate::view::CheckpointView;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Checkpoints remembered; older ones are in the log.
pub(crate) const CHECKPOINTS_KEPT: usize = 16;

/// Ascending by size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoints(VecDeque<CheckpointView>);

impl Checkpoints {
    #[must_use]
    pub(crate) fn last(&self) -> Option<&CheckpointView> {
        self.0.back()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &CheckpointView> + '_ {
        self.0.iter()
    }

    /// Keeps one that is larger than all before it.
    pub(crate) fn keep(&mut self, checkpoint: CheckpointView) {
        self.0.push_back(checkpoint);
        if self.0.len() > CHECKPOINTS_KEPT {
            self.0.pop_front();
        }
    }

    /// Bounded, and in order.
    #[must_use]
    pub(crate) fn is_sound(&self) -> bool {
        self.0.len() <= CHECKPOINTS_KEPT
            && self.0.iter().all(|checkpoint| checkpoint.size <= checkpoint.index)
            && self.0.iter().zip(self.0.iter().skip(1)).all(|(one, next)| one.size < next.size)
    }
}
