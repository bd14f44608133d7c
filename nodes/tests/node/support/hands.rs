//! A clock whose hands a test can move.

use events::time::Timestamp;
use nodes::clock::{Clock, SystemClock};
use std::sync::atomic::{AtomicI64, Ordering};

#[derive(Default)]
pub struct OffsetClock {
    system: SystemClock,
    ahead_millis: AtomicI64,
}

impl OffsetClock {
    pub fn set_ahead(&self, millis: i64) {
        self.ahead_millis.store(millis, Ordering::Relaxed);
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead_millis.load(Ordering::Relaxed);
        Timestamp::from_millis(self.system.now().as_millis().saturating_add_signed(ahead))
    }

    fn monotonic_millis(&self) -> u64 {
        self.system.monotonic_millis()
    }
}
