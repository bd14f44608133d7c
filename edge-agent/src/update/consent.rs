//! Whether what lies on flash may be installed: the cluster is asked once more, since a rollout may have been aborted,
//! paused or replaced while its artifact came. Pure.
//!
//! ```text
//!   Unasked ──▶ Awaited ── this rollout is offered, or nobody answers ──▶ Given
//!                  │
//!                  └───── nothing is offered ──▶ Withheld ── this rollout is offered again ──▶ Given
//! ```
//!
//! Nobody has to answer: an offer is signed and counts by itself. But only a question that left can be met by silence: one
//! that found no connection was asked of nobody. What was withheld is on flash with the job, so that no power-on forgets it.

use std::time::Duration;
use tokio::time::Instant;

/// So long an answer is waited for at most ...
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// ... before it is asked once more, so many times in all.
const ASKS: u8 = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Consent {
    #[default]
    Unasked,
    Awaited {
        /// Questions that left and found no answer.
        asks: u8,
        /// Whether the last one left.
        left: bool,
        until: Instant,
    },
    Given,
    Withheld,
}

impl Consent {
    /// The question is to leave now, and its answer within `patience`.
    #[must_use]
    pub fn asked(self, now: Instant, patience: Duration) -> Self {
        let asks = match self {
            Consent::Unasked => 0,
            Consent::Awaited { asks, left, .. } => asks + u8::from(left),
            Consent::Given | Consent::Withheld => return self,
        };
        if asks < ASKS {
            Consent::Awaited { asks, left: false, until: now + patience }
        } else {
            Consent::Given
        }
    }

    /// A question left on a connection that lives.
    #[must_use]
    pub fn question_left(self) -> Self {
        match self {
            Consent::Awaited { asks, until, .. } => Consent::Awaited { asks, left: true, until },
            Consent::Unasked | Consent::Given | Consent::Withheld => self,
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
            silent = silent.asked(now, PATIENCE).question_left();
            assert!(matches!(silent, Consent::Awaited { .. }));
        }
        assert_eq!(silent.asked(now, PATIENCE), Consent::Given);
        let withheld = silent.answered(false);
        assert_eq!((withheld, withheld.due(now)), (Consent::Withheld, None));
        assert_eq!(withheld.answered(true), Consent::Given);
        assert_eq!(Consent::Given.answered(false), Consent::Given, "the hook may run already");
    }

    #[test]
    fn silence_after_questions_that_found_no_connection_says_nothing() {
        let now = Instant::now();
        let mut unheard = Consent::default();
        for _ask in 0..10 * ASKS {
            unheard = unheard.asked(now, PATIENCE);
            assert!(matches!(unheard, Consent::Awaited { .. }));
        }
        // Once there is a connection it counts from the first question.
        for _ask in 0..ASKS {
            assert!(matches!(unheard, Consent::Awaited { .. }));
            unheard = unheard.question_left().question_left().asked(now, PATIENCE);
        }
        assert_eq!(unheard, Consent::Given);
    }
}
