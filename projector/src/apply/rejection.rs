//! What nodes refused, and what terminals report of themselves without a key of their own.

use super::step::Step;
use crate::detect::{code_bruteforce, replay, tamper};
use crate::outcome::{Decline, Outcome};
use events::limits::REJECTION_ENTRIES_MAX;
use events::vocabulary::rejection::{RejectionCount, RejectionReason};
use events::vocabulary::{RejectionSummary, TamperReported};

impl Step<'_> {
    pub(crate) fn rejection_summary(&mut self, event: &RejectionSummary) -> Outcome {
        if event.entries.len() > REJECTION_ENTRIES_MAX {
            return Outcome::Declined(Decline::Malformed);
        }
        for entry in &event.entries {
            self.refused(entry);
        }
        Outcome::Accepted
    }

    /// Counted for the source in any case; held against anybody only while it is not quiet after a restore.
    fn refused(&mut self, entry: &RejectionCount) {
        let at = self.source(&entry.source);
        if let Some(source) = self.state.sources.get_mut(at) {
            *source.refused.entry(entry.reason).or_default() += u64::from(entry.count);
        }
        if self.now < self.state.quiet_until || entry.count == 0 {
            return;
        }
        match entry.reason {
            RejectionReason::Replayed => replay::refused(self, entry),
            RejectionReason::CodeRefused => code_bruteforce::refused(self, entry),
            RejectionReason::Malformed
            | RejectionReason::NotAuthentic
            | RejectionReason::TicketRefused
            | RejectionReason::RateExceeded
            | RejectionReason::Downgrade
            | RejectionReason::ReplySubject
            | RejectionReason::Oversized
            | RejectionReason::Unavailable
            | RejectionReason::EpochStale
            | RejectionReason::NotLicensed => {}
        }
    }

    pub(crate) fn tamper_reported(&mut self, event: &TamperReported) -> Outcome {
        if !self.state.lots.contains_key(&event.lot) {
            return Outcome::Declined(Decline::UnknownLot);
        }
        self.source(&event.source);
        tamper::reported(self, event);
        Outcome::Accepted
    }
}
