//! The sequence window of one epoch (after RFC 6479), with the content of the last eight sequences.
//!
//! Invariants: bit 0 of `seen` is `highest`, bit *n* is `highest - n`; an empty window has `highest` 0 and no bits;
//! the digest of a seen sequence among the last eight stands at `sequence % 8`; `acked < highest` unless both are 0.

use events::ids::Sequence;
use events::limits::{CONTENT_DIGESTS_MAX, WINDOW_WIDTH};
use serde::{Deserialize, Serialize};

const _: () = assert!(WINDOW_WIDTH == u64::BITS, "the window is one word");

/// Which sequences were heard, up to which they were answered, and what the last ones said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    seen: u64,
    highest: Sequence,
    acked: Sequence,
    digests: [u32; CONTENT_DIGESTS_MAX],
}

/// What the window knows of a sequence and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not heard yet.
    New,
    /// Heard with the same content, not known to be answered: a retry.
    Repeated,
    /// Heard with the same content, and answered: a replay.
    Answered,
    /// Heard with other content.
    Contradicted,
    /// Below the window, or heard so long ago that its content was forgotten; sequence 0 is never sent.
    TooOld,
}

impl Window {
    /// Judges without changing anything.
    #[must_use]
    pub(crate) fn place(&self, sequence: Sequence, digest: u32) -> Place {
        if sequence > self.highest {
            return Place::New;
        }
        let age = self.highest - sequence;
        if sequence == 0 || age >= WINDOW_WIDTH {
            return Place::TooOld;
        }
        if self.seen >> age & 1 == 0 {
            return Place::New;
        }
        if age as usize >= CONTENT_DIGESTS_MAX {
            return Place::TooOld;
        }
        match (self.digests[Self::home(sequence)] == digest, sequence > self.acked) {
            (true, true) => Place::Repeated,
            (true, false) => Place::Answered,
            (false, _) => Place::Contradicted,
        }
    }

    /// Takes a sequence in if it is [`Place::New`]; its tag has verified. `acked` counts only below the sequence.
    pub(crate) fn accept(&mut self, sequence: Sequence, digest: u32, acked: Sequence) -> Place {
        if self.advance(sequence, digest, acked) {
            return Place::New;
        }
        let place = self.place(sequence, digest);
        if place == Place::New {
            self.seen |= 1 << (self.highest - sequence);
            if ((self.highest - sequence) as usize) < CONTENT_DIGESTS_MAX {
                self.digests[Self::home(sequence)] = digest;
            }
            self.acked = self.acked.max(acked.min(sequence - 1));
        }
        place
    }

    /// Takes in a sequence above all that were heard, as nearly all are; false, and nothing changed, if it is not. `acked`
    /// counts only below the sequence.
    #[inline]
    pub(crate) fn advance(&mut self, sequence: Sequence, digest: u32, acked: Sequence) -> bool {
        if sequence <= self.highest {
            return false;
        }
        self.seen = self.seen.checked_shl(sequence - self.highest).unwrap_or(0) | 1;
        self.highest = sequence;
        self.digests[Self::home(sequence)] = digest;
        self.acked = self.acked.max(acked.min(sequence - 1));
        true
    }

    /// The highest sequence heard; 0 before the first.
    pub(crate) fn highest(&self) -> Sequence {
        self.highest
    }

    /// Reads a byte of what a heartbeat will write, so that it is at hand then.
    #[inline]
    pub(crate) fn touch(&self) -> u8 {
        self.digests[0] as u8
    }

    /// Whether the invariants at the top of this file hold.
    pub(crate) fn is_sound(&self) -> bool {
        let never_heard = self.highest == 0;
        let counts = if never_heard { self.seen == 0 } else { self.seen & 1 == 1 };
        let below_one = self.highest < WINDOW_WIDTH && !never_heard && self.seen >> self.highest != 0;
        counts && !below_one && (self.acked < self.highest || self.acked == 0)
    }

    fn home(sequence: Sequence) -> usize {
        sequence as usize % CONTENT_DIGESTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The window as one would explain it: everything that was ever heard.
    #[derive(Default)]
    struct Everything {
        heard: BTreeMap<Sequence, u32>,
        acked: Sequence,
    }

    impl Everything {
        fn accept(&mut self, sequence: Sequence, digest: u32, acked: Sequence) -> Place {
            let highest = self.heard.last_key_value().map_or(0, |(&sequence, _)| sequence);
            if sequence == 0 || u64::from(sequence) + 64 <= u64::from(highest) {
                return Place::TooOld;
            }
            let Some(&before) = self.heard.get(&sequence) else {
                self.heard.insert(sequence, digest);
                self.acked = self.acked.max(acked.min(sequence - 1));
                return Place::New;
            };
            match u64::from(sequence) + 8 <= u64::from(highest) {
                true => Place::TooOld,
                false if before != digest => Place::Contradicted,
                false if sequence > self.acked => Place::Repeated,
                false => Place::Answered,
            }
        }
    }

    proptest! {
        #[test]
        fn the_window_judges_like_one_that_forgets_nothing(
            start in prop_oneof![Just(0u32), Just(u32::MAX - 200)],
            heard in prop::collection::vec((0u32..200, 0u32..3, 0u32..200), 0..300),
        ) {
            let (mut window, mut everything) = (Window::default(), Everything::default());
            for (offset, digest, acked) in heard {
                let (sequence, acked) = (start + offset, start + acked);
                prop_assert_eq!(window.place(sequence, digest), { window }.accept(sequence, digest, acked));
                prop_assert_eq!(
                    window.accept(sequence, digest, acked),
                    everything.accept(sequence, digest, acked)
                );
                prop_assert_eq!(window.acked, everything.acked);
                prop_assert!(window.is_sound());
            }
        }
    }

    #[test]
    fn a_jump_beyond_the_window_forgets_all_that_was_below() {
        let mut window = Window::default();
        assert_eq!(window.accept(1, 7, 0), Place::New);
        assert_eq!(window.accept(u32::MAX, 7, 0), Place::New);
        assert_eq!(window.place(1, 7), Place::TooOld);
        assert_eq!(window.place(u32::MAX - 63, 7), Place::New);
    }
}
