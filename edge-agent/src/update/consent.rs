//! Whether what lies on flash may be installed: the cluster is asked once more, since a rollout may have been aborted,
//! paused or replaced while its artifact came. Pure.
//!
//! ```text
//!   Unasked ──▶ Awaited ── this rollout is offered, or nobody answers ──▶ Given
//!                  │
//!                  └───── nothing is offered ──▶ Withheld ── this rollout is offered again ──▶ Given
//! ```
//!
//! Nobody has to answer: an offer is signed and counts by itself, and a terminal that reaches no cluster must be updated all
//! the same.

use std::time::Duration;
use tokio::time::Instant;

/// So long an answer is waited for ...
const PATIENCE: Duration = Duration::from_secs(10);
/// ... before it is asked once more, so many times in all.
const ASKS: u8 = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Consent {
    #[default]
    Unasked,
    Awaited {
        asks: u8,
        until: Instant,
    },
    Given,
    Withheld,
}

impl Consent {
    /// The question leaves now.
    #[must_use]
    pub fn asked(self, now: Instant) -> Self {
        match self {
            Consent::Unasked => Consent::Awaited { asks: 1, until: now + PATIENCE },
            Consent::Awaited { asks, .. } if asks < ASKS => {
                Consent::Awaited { asks: asks + 1, until: now + PATIENCE }
            }
            Consent::Awaited { .. } => Consent::Given,
            Consent::Given | Consent::Withheld => self,
        }
    }

    /// An answer came; `offered` says whether it offers this rollout.
    #[must_use]
    pub fn answered(self, offered: bool) -> Self {
        match (self, offered) {
            (Consent::Awaited { .. } | Consent::Withheld, true) => Consent::Given,
            (Consent::Awaited { .. } | Consent::Withheld, false) => Consent::Withheld,
            (Consent::Unasked | Consent::Given, _) => self,
        }
    }

    /// When the question is due.
    #[must_use]
    pub fn due(self, now: Instant) -> Option<Instant> {
        match self {
            Consent::Unasked => Some(now),
            Consent::Awaited { until, .. } => Some(until),
            Consent::Given | Consent::Withheld => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_consents_after_some_questions_and_nothing_on_offer_does_not() {
        let now = Instant::now();
        let mut silent = Consent::default();
        for _ask in 0..ASKS {
            assert!(silent.due(now).is_some());
            silent = silent.asked(now);
            assert!(matches!(silent, Consent::Awaited { .. }));
        }
        assert_eq!(silent.asked(now), Consent::Given);
        let withheld = silent.answered(false);
        assert_eq!((withheld, withheld.due(now)), (Consent::Withheld, None));
        assert_eq!(withheld.answered(true), Consent::Given);
        assert_eq!(Consent::Given.answered(false), Consent::Given, "the hook may run already");
    }
}
