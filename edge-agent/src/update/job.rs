//! One update on its way: how far it has come, and what a start finds of it. Pure.

use events::update::{Offer, SignedOffer, UpdateFailure};
use serde::{Deserialize, Serialize};

/// Starts of the hook that a power cut, or the hook itself, may end.
const HOOK_TRIES_MAX: u8 = 3;

/// How far it has come. Each is on flash before what it names begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    Downloading,
    /// The file's size and digest hold.
    Verified,
    /// The hook may have begun, so many times: it must bear to be run twice.
    Installing {
        tries: u8,
    },
    /// The hook said 0 in this start of the kernel.
    Installed {
        kernel_boot: String,
    },
}

/// Where an offer came from, and so who can take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// It is asked once more before anything is installed.
    Cluster,
    Url,
    /// Somebody stands beside the terminal.
    Hand,
}

/// An offer that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// As it was signed, after it was verified.
    pub(super) signed: Vec<u8>,
    pub step: Step,
    pub source: Source,
    /// The cluster did not offer it any more, or not then, when it was asked last.
    pub withheld: bool,
}

/// What a start of the agent finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The version that was offered runs; the floor rises to this.
    Installed {
        floor: u32,
    },
    Failed(UpdateFailure),
    /// Go on from the step that it is at; `Installed` awaits a reboot.
    GoesOn,
}

impl Job {
    #[must_use]
    pub fn new(signed: &[u8], source: Source) -> Self {
        Job { signed: signed.to_vec(), step: Step::Downloading, source, withheld: false }
    }

    /// None only if the flash gave other bytes than it was given.
    #[must_use]
    pub fn offer(&self) -> Option<Offer> {
        SignedOffer::parse(&self.signed).ok().map(|signed| signed.unverified().clone())
    }

    /// Judges the job by what runs now. Not by the time: at a start nobody sealed what it is.
    #[must_use]
    pub fn settle(&self, running: u32, kernel_boot: &str) -> Settled {
        let Some(offer) = self.offer() else { return Settled::Failed(UpdateFailure::Storage) };
        if running >= offer.firmware {
            return Settled::Installed { floor: offer.floor };
        }
        match &self.step {
            Step::Installed { kernel_boot: before } if before != kernel_boot => {
                Settled::Failed(UpdateFailure::NotBooted)
            }
            Step::Installed { .. } => Settled::GoesOn,
            // The hook starts the terminal anew by itself, and the old version comes back each time.
            Step::Installing { tries: HOOK_TRIES_MAX.. } => Settled::Failed(UpdateFailure::NotBooted),
            Step::Downloading | Step::Verified | Step::Installing { .. } => Settled::GoesOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::identity::key::SigningKey;
    use events::ids::{LotId, RolloutId};
    use events::time::Timestamp;
    use events::update::UpdateScope;

    fn job(step: Step) -> Job {
        let offer = Offer {
            rollout: RolloutId::from_bytes([9; 16]),
            scope: UpdateScope::Lots(vec![LotId::from_bytes([1; 4])]),
            firmware: 8,
            floor: 6,
            not_after: Timestamp::from_millis(5_000),
            size: 1,
            digest: [0; 48],
            kind: "rauc".into(),
            urls: vec!["http://a/b".into()],
        };
        let key = SigningKey::from_bytes(&[1; 48]).unwrap();
        Job { step, ..Job::new(&offer.sign(&key).unwrap().encode(), Source::Cluster) }
    }

    fn installed() -> Step {
        Step::Installed { kernel_boot: "one".into() }
    }

    #[test]
    fn the_new_version_running_settles_every_step_even_if_the_power_failed_inside_the_hook() {
        for step in [Step::Verified, Step::Installing { tries: 1 }, installed()] {
            assert_eq!(job(step).settle(8, "two"), Settled::Installed { floor: 6 });
        }
    }

    #[test]
    fn an_old_version_after_a_reboot_means_that_the_new_one_did_not_boot() {
        assert_eq!(job(installed()).settle(7, "two"), Settled::Failed(UpdateFailure::NotBooted));
        let agent_restarted = job(installed()).settle(7, "one");
        assert_eq!(
            agent_restarted,
            Settled::GoesOn,
            "only the agent started again: the reboot is still to come"
        );
    }

    #[test]
    fn a_hook_that_starts_the_terminal_anew_without_a_new_version_is_not_run_for_ever() {
        assert_eq!(job(Step::Installing { tries: 2 }).settle(7, "two"), Settled::GoesOn);
        let third = job(Step::Installing { tries: 3 }).settle(7, "three");
        assert_eq!(third, Settled::Failed(UpdateFailure::NotBooted));
    }
}
