//! Whether a connection brings enough to be worth waiting for: a server that sends a byte now and then could else keep a
//! terminal busy with one download until its offer ends. Pure.

use std::time::Duration;

/// Bytes that must come within [`WITHIN`]; a connection that brings fewer new ones in all is barren.
pub(super) const LEAST_BYTES: u64 = 4 * 1024;
const WITHIN: Duration = Duration::from_secs(60);

/// What one connection brings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Since the last [`LEAST_BYTES`] were full.
    lately: u64,
    waited: Duration,
}

impl Pace {
    /// So many bytes came after a wait of so long. False if that is too slow.
    #[must_use]
    pub fn keeps_up(&mut self, bytes: u64, wait: Duration) -> bool {
        self.lately += bytes;
        self.waited += wait;
        if self.lately >= LEAST_BYTES {
            (self.lately, self.waited) = (0, Duration::ZERO);
        }
        self.waited <= WITHIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_now_and_then_is_too_slow_and_a_slow_line_is_not() {
        let mut drip = Pace::default();
        let kept_up = (0..10).take_while(|_| drip.keeps_up(1, Duration::from_secs(29))).count();
        assert_eq!(kept_up, 2);
        let mut line = Pace::default();
        assert!((0..1000).all(|_| line.keeps_up(200, Duration::from_secs(1))));
    }

    #[test]
    fn what_came_quickly_does_not_excuse_a_drip_after_it() {
        let mut pace = Pace::default();
        assert!(pace.keeps_up(1_000_000, Duration::from_secs(1)));
        assert!(!(0..10).all(|_| pace.keeps_up(1, Duration::from_secs(29))));
    }
}
