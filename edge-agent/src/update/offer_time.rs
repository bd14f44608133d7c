//! The time by which offers are judged (PROTOCOL.md 5.11), and how well it is known.

use events::time::Timestamp;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferTime {
    pub at: Timestamp,
    /// A sealed stamp of this boot says so. Otherwise it may be a clock without a battery: an offer that it calls ended is
    /// not taken, but nothing that was taken is given up for it.
    pub is_sealed: bool,
}

impl OfferTime {
    /// The same, so much later.
    #[must_use]
    pub fn after(self, passed: Duration) -> Self {
        OfferTime { at: self.at.plus_millis(passed.as_millis() as u64), ..self }
    }

    #[must_use]
    pub fn is_past(self, end: Timestamp) -> bool {
        end < self.at
    }
}
