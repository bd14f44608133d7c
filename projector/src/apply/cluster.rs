//! The cluster itself: its creation, and its restores.

use super::step::Step;
use crate::outcome::{Decline, Outcome};
use events::vocabulary::ClusterCreated;

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
}
