//! What heartbeats tell of the last failure. The cluster counts a failure when it sees one where there was none; so
//! between the failures of two rollouts it must have seen none.

use events::ids::RolloutId;
use events::update::UpdateFailure;

/// The first verdict may answer a heartbeat that was sealed before the change; the second does not.
const VERDICTS_BETWEEN: u8 = 2;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    failure: Option<(RolloutId, UpdateFailure)>,
    /// Verdicts to wait for before `failure` is told.
    silent_for: u8,
}

impl Shown {
    /// After a start: the failure that was told before it is told on.
    pub fn told_before(failure: Option<(RolloutId, UpdateFailure)>) -> Self {
        Shown { failure: failure.filter(|(_, failure)| is_told(*failure)), silent_for: 0 }
    }

    /// Another rollout was taken, or one was installed.
    pub fn clear(&mut self) {
        if self.failure.take().is_some() {
            self.silent_for = VERDICTS_BETWEEN;
        }
    }

    pub fn fail(&mut self, rollout: RolloutId, failure: UpdateFailure) {
        if !is_told(failure) {
            return;
        }
        if self.failure.is_some_and(|(before, _)| before != rollout) {
            self.silent_for = VERDICTS_BETWEEN;
        }
        self.failure = Some((rollout, failure));
    }

    /// A verdict verified.
    pub fn acknowledged(&mut self) {
        self.silent_for = self.silent_for.saturating_sub(1);
    }

    pub fn now(&self) -> Option<UpdateFailure> {
        self.failure.filter(|_| self.silent_for == 0).map(|(_, failure)| failure)
    }
}

/// That an offer ended says nothing about its image: as a failure it would count against the rollout.
fn is_told(failure: UpdateFailure) -> bool {
    failure != UpdateFailure::Expired
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_the_failures_of_two_rollouts_a_heartbeat_tells_none() {
        let rollout = |n| RolloutId::from_bytes([n; 16]);
        let mut shown = Shown::told_before(None);
        shown.fail(rollout(1), UpdateFailure::Digest);
        assert_eq!(shown.now(), Some(UpdateFailure::Digest));
        shown.clear();
        shown.fail(rollout(2), UpdateFailure::Digest);
        assert_eq!(shown.now(), None);
        shown.acknowledged();
        assert_eq!(shown.now(), None);
        shown.acknowledged();
        assert_eq!(shown.now(), Some(UpdateFailure::Digest));
    }
}
