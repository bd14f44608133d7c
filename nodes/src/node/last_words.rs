//! Tells that a task ended that never should.

use tokio::sync::watch;

/// Says that a task is gone, however it went.
pub(super) struct LastWords {
    pub name: &'static str,
    pub ended: watch::Sender<Option<&'static str>>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        self.ended.send_replace(Some(self.name));
    }
}
