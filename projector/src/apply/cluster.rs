//! The cluster itself: its creation, its restores, and the signed heads of its log.

use super::step::Step;
use crate::effects::Effect;
use crate::outcome::{Decline, Outcome};
use crate::view::CheckpointView;
use events::log::checkpoint::CHECKPOINT_SIGNATURE_BYTES_MAX;
use events::vocabulary::{CheckpointSigned, ClusterCreated};

/// For so long after a restore no refusal counts against anybody (protocol.md rule 7), in milliseconds.
const QUIET_AFTER_RESTORE_MILLIS: u64 = 600_000;

impl Step<'_> {
    /// The first event of a log; later, with a higher generation, the mark of a restore from a backup.
    pub(crate) fn cluster_created(&mut self, event: &ClusterCreated) -> Outcome {
        if event.heartbeat_millis == 0 {
            return Outcome::Declined(Decline::Malformed);
        }
        match self.state.cluster {
            None => self.state.cluster = Some(event.cluster),
            Some(known) if known == event.cluster && self.state.generation < event.generation => {
                self.state.quiet_until = self.now.plus_millis(QUIET_AFTER_RESTORE_MILLIS);
                self.state.buckets.empty_all();
            }
            Some(known) if known == event.cluster && self.state.generation == event.generation => {
                return Outcome::Duplicate;
            }
            Some(_) => return Outcome::Declined(Decline::WrongCluster),
        }
        self.state.generation = event.generation;
        self.state.heartbeat_millis = event.heartbeat_millis;
        Outcome::Accepted
    }

    /// The fold has neither the tree nor the key: the shell compares the root with its own, whoever signed it and whatever
    /// came before. Two of one size must be equal, so the second is looked at too.
    pub(crate) fn checkpoint_signed(&mut self, event: CheckpointSigned) -> Outcome {
        let CheckpointSigned { generation, size, root, signature } = event;
        if generation != self.state.generation {
            return Outcome::Declined(Decline::WrongCluster);
        }
        if size == 0 || size > self.index || signature.len() > CHECKPOINT_SIGNATURE_BYTES_MAX {
            return Outcome::Declined(Decline::Malformed);
        }
        let checkpoint =
            CheckpointView { index: self.index, at: self.now, generation, size, root, signature };
        self.effects.push(Effect::Compare(checkpoint.clone()));
        if self.state.checkpoints.last().is_some_and(|last| last.size >= size) {
            return Outcome::Duplicate;
        }
        self.state.checkpoints.keep(checkpoint);
        Outcome::Accepted
    }
}
