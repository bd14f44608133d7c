//! A batch that came before: nothing changes, and what was kept is answered once more. The node that proposes it
//! again has lost the outcomes; its devices still wait.

use super::activation::transcript_digest;
use super::step::Step;
use crate::outcome::Outcome;
use events::vocabulary::Event;
use events::vocabulary::rejection::RejectionReason;

impl Step<'_> {
    pub(crate) fn event_again(&self, event: Event) -> Outcome {
        match event {
            Event::DeviceActivated(event) => match self.state.slot_of(&event.device) {
                Some(slot) => {
                    let refused = Outcome::Refused(self.refusal_of(slot, event.code.as_ref()));
                    self.activated_before(slot, &transcript_digest(&event)).unwrap_or(refused)
                }
                None => Outcome::Refused(RejectionReason::NotAuthentic),
            },
            Event::SessionResumed(event) => {
                let slot = self.state.slot_of(&event.device);
                let kept = slot.and_then(|slot| self.resumed_before(slot, &event));
                kept.map_or(Outcome::Refused(RejectionReason::EpochStale), Outcome::Resumed)
            }
            Event::HeartbeatObserved(event) => self.observed_again(&event),
            Event::SpoolDrained(event) => self.observed_again(&event.heartbeat),
            Event::ClusterCreated(_)
            | Event::Tick(_)
            | Event::CheckpointSigned(_)
            | Event::LotCreated(_)
            | Event::StationCertified(_)
            | Event::StationRevoked(_)
            | Event::DeviceProvisioned(_)
            | Event::SecretsRewrapped(_)
            | Event::CodesIssued(_)
            | Event::CodeVoided(_)
            | Event::LicenseTransferred(_)
            | Event::LicenseRenewed(_)
            | Event::LicenseSuspended(_)
            | Event::LicenseResumed(_)
            | Event::LicenseReissued(_)
            | Event::UpdateCreated(_)
            | Event::UpdatePaused(_)
            | Event::UpdateResumed(_)
            | Event::UpdateAborted(_)
            | Event::RequestKeyed(_)
            | Event::RejectionSummary(_)
            | Event::TamperReported(_)
            | Event::FlagCleared(_)
            | Event::OperationOrdered(_)
            | Event::OperationSettled(_)
            | Event::BreakerReset(_) => Outcome::Duplicate,
        }
    }

    /// Why an activation that left no trace was refused, as far as the state still tells.
    fn refusal_of(&self, slot: events::ids::Slot, code: Option<&events::ids::CodeDigest>) -> RejectionReason {
        self.state.judge_root(slot, code).err().unwrap_or(RejectionReason::EpochStale)
    }
}
