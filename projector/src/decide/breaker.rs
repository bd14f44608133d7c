//! The blast-radius breaker: automation that restricts too many devices within an hour is itself the incident.

use events::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Open means stopped, as in a fuse box. It closes once the last restriction that it counted left the window, or a person
/// says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Breaker {
    /// When automation restricted a device, within the window; never more than the limit.
    restricted: VecDeque<Timestamp>,
    open: bool,
}

impl Breaker {
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    #[must_use]
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.restricted.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn restricted(&mut self, now: Timestamp) {
        self.restricted.push_back(now);
    }

    /// True if it was closed.
    pub(crate) fn open(&mut self) -> bool {
        !std::mem::replace(&mut self.open, true)
    }

    /// Forgets everything; true if that closes the breaker.
    pub(crate) fn reset(&mut self) -> bool {
        self.restricted.clear();
        std::mem::take(&mut self.open)
    }

    /// Forgets what left the window; true if that closes the breaker.
    pub(crate) fn pass_time(&mut self, now: Timestamp, window_millis: u64) -> bool {
        while self.restricted.front().is_some_and(|then| now.millis_since(*then) >= window_millis) {
            self.restricted.pop_front();
        }
        self.restricted.is_empty() && std::mem::take(&mut self.open)
    }
}
