//! How deliveries go, for the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of one webhook, since the process started.
#[derive(Debug)]
pub struct WebhookCounters {
    name: String,
    pub(super) delivered: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) gaps: AtomicU64,
}

/// What one scrape tells of one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookReading {
    pub name: String,
    /// Events that were taken.
    pub delivered: u64,
    /// Events that the receiver refused for good.
    pub refused: u64,
    /// Attempts that failed and were made again.
    pub failed: u64,
    /// Stretches of the log that were pushed out before they were delivered.
    pub gaps: u64,
    /// Entries whose changes wait; on the leader.
    pub waiting: u64,
}

/// Reads all of a node.
pub type WebhookReadings = Arc<dyn Fn() -> Vec<WebhookReading> + Send + Sync>;

impl WebhookCounters {
    pub(super) fn new(name: &str) -> Self {
        let [delivered, refused, failed, gaps] = [const { AtomicU64::new(0) }; 4];
        WebhookCounters { name: name.to_owned(), delivered, refused, failed, gaps }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn read(&self, waiting: u64) -> WebhookReading {
        WebhookReading {
            name: self.name.clone(),
            delivered: self.delivered.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            gaps: self.gaps.load(Ordering::Relaxed),
            waiting,
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
