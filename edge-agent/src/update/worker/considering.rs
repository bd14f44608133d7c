//! Whether an offer that came from anywhere becomes the worker's job.

use super::Worker;
use crate::update::consent::Consent;
use crate::update::event::UpdateEvent;
use crate::update::job::{Job, Source, Step};
use crate::update::journal::JournalError;
use crate::update::judge::{Target, judge};
use events::update::{Offer, UpdateFailure, UpdateRefusal};

impl Worker {
    /// Takes an offer, or refuses it and stays as it was.
    pub(super) fn consider(&mut self, bytes: &[u8], source: Source) -> Result<(), JournalError> {
        let offer = match judge(bytes, &self.target()) {
            Ok(offer) => offer,
            Err(reason) => {
                self.refuse(reason);
                return Ok(());
            }
        };
        if source == Source::Hand && self.is_under_way(bytes) {
            // Who stands beside the terminal does not wait for the cluster's word; what was fetched counts.
            self.journal.hand_over()?;
            self.tell(UpdateEvent::Taken { rollout: offer.rollout, firmware: offer.firmware });
            return Ok(());
        }
        if let Some(reason) = self.knows_already(&offer) {
            // The cluster names an offer until it knows the result; only who stands beside the terminal must be told.
            if source == Source::Hand {
                self.refuse(reason);
            }
            return Ok(());
        }
        self.remove_artifact();
        self.journal.take(Job::new(bytes, source))?;
        self.consent = Consent::default();
        self.shown.clear();
        self.show();
        self.tell(UpdateEvent::Taken { rollout: offer.rollout, firmware: offer.firmware });
        Ok(())
    }

    /// Why a good offer changes nothing; none if it is to be taken.
    fn knows_already(&self, offer: &Offer) -> Option<UpdateRefusal> {
        let kept = self.journal.kept();
        let failed_before = self.journal.failure().is_some_and(|(rollout, failure)| {
            // That it had ended was the word of a clock, and by what is known now it has not.
            rollout == offer.rollout && failure != UpdateFailure::Expired
        });
        if failed_before {
            return Some(UpdateRefusal::AlreadyFailed);
        }
        let job = kept.job.as_ref()?;
        let awaited = job.offer()?;
        // Nobody waits for what has ended, nor for what the cluster does not offer any more once it offers another.
        let is_stale = awaited.rollout != offer.rollout
            && !matches!(job.step, Step::Installed { .. })
            && (self.is_over(job) || self.consent == Consent::Withheld);
        let is_taken = awaited.firmware >= offer.firmware && !is_stale;
        is_taken.then_some(UpdateRefusal::AlreadyTaken)
    }

    /// Whether this very offer was taken and is not installed yet.
    fn is_under_way(&self, signed: &[u8]) -> bool {
        let job = self.journal.kept().job.as_ref();
        job.is_some_and(|job| job.signed == signed && !matches!(job.step, Step::Installed { .. }))
    }

    fn refuse(&self, reason: UpdateRefusal) {
        tracing::warn!(%reason, "an update offer is refused");
        self.tell(UpdateEvent::Refused { reason });
    }

    fn target(&self) -> Target<'_> {
        Target {
            keys: &self.config.keys,
            lot: self.identity.lot,
            sku: &self.identity.sku,
            running: self.identity.firmware,
            floor: self.journal.kept().floor,
            time: self.now().at,
            kinds: self.config.install.keys().map(String::as_str).collect(),
        }
    }
}
