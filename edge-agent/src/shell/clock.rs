//! The only place of the agent that reads a clock.

use crate::machine::Now;
use events::time::Timestamp;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time since this process started, and wall time as the terminal believes it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        Clock { started: Instant::now() }
    }

    #[must_use]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now {
            monotonic_millis: self.started.elapsed().as_millis() as u64,
            wall: Timestamp::from_millis(wall.as_millis() as u64),
        }
    }

    /// The instant at which [`Now::monotonic_millis`] will be `millis`.
    #[must_use]
    pub fn instant_at(&self, millis: u64) -> Instant {
        self.started + Duration::from_millis(millis)
    }
}
