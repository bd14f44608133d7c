//! The blast-radius breaker: automation that restricts too many devices within an hour is itself the incident.

use events::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Restrictions are counted over this long, in milliseconds of log time.
pub(crate) const WINDOW_MILLIS: u64 = 3_600_000;
/// Below this many nothing is out of proportion, however small the fleet.
const ALWAYS_ALLOWED: u32 = 10;

/// Open means stopped, as in a fuse box. It closes an hour after the last restriction that it counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Breaker {
    /// When automation restricted a device, within the window; never more than the limit.
    restricted: VecDeque<Timestamp>,
    open: bool,
}

impl Breaker {
    /// What automation may restrict within an hour: ten devices, or one in a hundred.
    #[must_use]
    pub(crate) fn limit(fleet: u32) -> u32 {
        ALWAYS_ALLOWED.max(fleet / 100)
    }

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

    /// Forgets what left the window; true if that closes the breaker.
    pub(crate) fn pass_time(&mut self, now: Timestamp) -> bool {
        while self.restricted.front().is_some_and(|then| now.millis_since(*then) >= WINDOW_MILLIS) {
            self.restricted.pop_front();
        }
        self.restricted.is_empty() && std::mem::take(&mut self.open)
    }
}
