//! What a start finds: an update that the version running now settles, or a version that the boot loader left again.

use super::{Worker, kernel_boot};
use crate::update::event::UpdateEvent;
use crate::update::job::Settled;
use crate::update::journal::{Installed, JournalError};
use events::update::UpdateFailure;

impl Worker {
    /// What the last start left.
    pub(super) fn settle_start(&mut self) -> Result<(), JournalError> {
        let running = self.identity.firmware;
        if let Some(unsettled) = self.journal.kept().unsettled.filter(|found| found.firmware <= running) {
            self.journal.settle_unsettled(unsettled)?;
            if self.journal.failure().is_none() {
                self.shown.clear();
                self.show();
            }
            self.tell_running();
        }
        if let Some(from) = self.journal.kept().installed.filter(|installed| installed.firmware > running) {
            self.fall_back(from)?;
        }
        let Some(job) = self.journal.kept().job.clone() else { return Ok(()) };
        match job.settle(running, &kernel_boot()) {
            Settled::GoesOn => {
                if let (true, Some(offer)) = (job.withheld, job.offer()) {
                    self.tell(UpdateEvent::Held { rollout: offer.rollout });
                }
                Ok(())
            }
            Settled::Installed { floor } => {
                self.journal.close_installed(floor)?;
                self.remove_artifact();
                self.shown.clear();
                self.show();
                self.tell_running();
                Ok(())
            }
            Settled::Failed(failure) => self.fail(failure),
        }
    }

    /// The boot loader left a version that had run. Offered again it would be installed again, for ever.
    fn fall_back(&mut self, from: Installed) -> Result<(), JournalError> {
        self.journal.fell_back(from)?;
        let (rollout, reason) = (from.rollout, UpdateFailure::NotBooted);
        if self.journal.kept().job.is_none() {
            self.shown.fail(rollout, reason);
            self.show();
        }
        self.tell(UpdateEvent::Failed { rollout, reason });
        Ok(())
    }
}
