//! What strangers cause is logged once a second at most: who floods a port must not flood the log.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct RareLog(Mutex<State>);

#[derive(Default)]
struct State {
    spoke: Option<Instant>,
    silent: u64,
}

impl RareLog {
    /// Whether to speak now; if so, how many times it was kept silent since it last spoke.
    pub(crate) fn may_speak(&self) -> Option<u64> {
        self.may_speak_at(Instant::now())
    }

    fn may_speak_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state.spoke.is_some_and(|spoke| now.duration_since(spoke) < EVERY) {
            state.silent += 1;
            return None;
        }
        state.spoke = Some(now);
        Some(std::mem::take(&mut state.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_said_once_a_second_with_its_count() {
        let log = RareLog::default();
        let now = Instant::now();
        assert_eq!(log.may_speak_at(now), Some(0));
        assert!((0..999).all(|_| log.may_speak_at(now).is_none()));
        assert_eq!(log.may_speak_at(now + EVERY), Some(999));
    }
}
