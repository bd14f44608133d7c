//! What becomes of a snapshot that the disk refuses. openraft ends when a builder fails, so not every refusal is told to it.
//!
//! - No room: nothing of the log is touched, and without a snapshot it is purged of nothing. It is skipped, counted, and made
//!   later; the rest grows, since raft is asked again every two seconds, and the log needs what room is left.
//! - Anything else that the disk says: what it holds is not known any more. The log ends with it, and the process as after
//!   any failure of the disk, before raft ends for a reason that names none.

use crate::storage::error::StorageError;
use crate::storage::log::DurableLog;
use crate::telemetry::measures::Measures;
use parking_lot::Mutex;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// After the first that was skipped; twice as long each time after that.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(5 * 60);

/// Clones share what they remember.
#[derive(Clone)]
pub struct RefusedSnapshots {
    log: Arc<DurableLog>,
    measures: Arc<Measures>,
    rest: Arc<Mutex<Rest>>,
}

#[derive(Default)]
struct Rest {
    until: Option<Instant>,
    skipped_in_a_row: u32,
}

impl RefusedSnapshots {
    #[must_use]
    pub fn new(log: Arc<DurableLog>, measures: Arc<Measures>) -> Self {
        RefusedSnapshots { log, measures, rest: Arc::default() }
    }

    /// Whether it is too soon after the last refusal.
    pub(super) fn is_resting(&self) -> bool {
        self.rest.lock().until.is_some_and(|until| Instant::now() < until)
    }

    /// One was made.
    pub(super) fn made(&self) {
        *self.rest.lock() = Rest::default();
    }

    /// One is not made now.
    pub(super) fn skip(&self, why: &Error) {
        let mut rest = self.rest.lock();
        let again_after = rest_after(rest.skipped_in_a_row);
        rest.until = Some(Instant::now() + again_after);
        rest.skipped_in_a_row += 1;
        self.measures.snapshots_skipped.inc();
        tracing::warn!(%why, ?again_after, "no snapshot is made; the log is purged of nothing until one is");
    }

    /// The disk failed while a snapshot was written or read: the log ends first, so that the process ends for that.
    pub(super) fn end_log(&self, error: Error) -> Error {
        if is_of_the_disk(&error) {
            self.log.fail(&format!("a snapshot: {error}"));
        }
        error
    }
}

/// Whether there is no room, as opposed to a disk that fails.
pub(super) fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn is_of_the_disk(error: &Error) -> bool {
    let storage = error.get_ref().and_then(|inner| inner.downcast_ref::<StorageError>());
    matches!(
        storage,
        Some(StorageError::Io { .. } | StorageError::Write { .. } | StorageError::NoRoom { .. })
    )
}

fn rest_after(skipped: u32) -> Duration {
    REST_MIN.saturating_mul(1 << skipped.min(16)).min(REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_after_a_refusal_grows_to_five_minutes() {
        let rests: Vec<_> = (0..12).map(|skipped| rest_after(skipped).as_secs()).collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(rest_after(u32::MAX), REST_MAX);
    }
}
