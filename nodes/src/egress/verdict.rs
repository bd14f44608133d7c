//! Verdicts: what the fold made of a heartbeat, in the words of the wire.

use events::envelope::{Directive, HeartbeatStatus, VerdictBody};
use events::ids::LogIndex;
use events::time::Timestamp;
use projector::outcome::{DirectiveView, HeartbeatOutcome, HeartbeatStatus as Judged};

/// The verdict of an outcome at (`index`, `stamp`) of the log; none for what is not answered by a verdict: a replay
/// (charged to its source) and a row that must be proposed again.
#[must_use]
pub fn verdict(index: LogIndex, stamp: Timestamp, outcome: &HeartbeatOutcome) -> Option<VerdictBody> {
    let status = match outcome.status {
        Judged::Committed => HeartbeatStatus::Committed,
        Judged::Retried => HeartbeatStatus::Retried,
        // Two hold this epoch's key; whoever is honest gets rid of it by a resume.
        Judged::EpochStale | Judged::CloneEvidence => HeartbeatStatus::EpochStale,
        Judged::Replayed | Judged::Again => return None,
    };
    Some(VerdictBody {
        index,
        stamp,
        status,
        legitimacy: outcome.legitimacy,
        interval_millis: outcome.interval_millis,
        lease: outcome.license.as_ref().map_or(0, |license| license.lease),
        directive: outcome.directive.map(directive),
    })
}

/// A directive in the words of the wire.
#[must_use]
pub fn directive(view: DirectiveView) -> Directive {
    Directive { id: view.id, kind: view.kind, expires: view.expires }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_and_a_row_to_propose_again_get_no_verdict() {
        let at = Timestamp::from_millis(5);
        for status in [Judged::Replayed, Judged::Again] {
            let outcome = HeartbeatOutcome { status, ..HeartbeatOutcome::usual(1_000) };
            assert_eq!(verdict(9, at, &outcome), None);
        }
        let usual = verdict(9, at, &HeartbeatOutcome::usual(1_000)).unwrap();
        assert_eq!((usual.index, usual.stamp, usual.status), (9, at, HeartbeatStatus::Committed));
    }
}
