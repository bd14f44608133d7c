//! Timers run on stamped log time. A timer that fires only says "look now": what it finds is judged from state, so
//! a timer that outlived its cause does nothing.

use super::sorted::Sorted;
use events::ids::Slot;
use events::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Timer {
    SuspicionEnds,
    DirectiveExpires,
    LicenseExpires,
    HandsOffEnds,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timers {
    due: Sorted<(Timestamp, Timer, Slot)>,
}

impl Timers {
    /// A `when` of zero is without end and sets nothing.
    pub(crate) fn set(&mut self, when: Timestamp, timer: Timer, slot: Slot) {
        if when > Timestamp::ZERO {
            self.due.insert((when, timer, slot));
        }
    }

    /// Takes the earliest timer that is due.
    pub(crate) fn next_due(&mut self, now: Timestamp) -> Option<(Timer, Slot)> {
        let (_, timer, slot) = self.due.pop_first_if(|(when, _, _)| *when <= now)?;
        Some((timer, slot))
    }
}
