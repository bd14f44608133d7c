//! Checks a node's whole log in the background, after each start and then daily: an open reads only what raft needs.
//!
//! Damage of what raft may still read ends the node, whose next start repairs it. Damage of older history is noted and
//! said; the node goes on, since neither its votes nor its acknowledgements stand on it, and repairs it at its next start.

use crate::storage::error::{Corruption, StorageError};
use crate::storage::log::DurableLog;
use crate::storage::scrub::{Checked, Scrub};
use crate::storage::suspect::Suspect;
use crate::telemetry::measures::Measures;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two checks.
const AGAIN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// For each second of checking, so that ingest does not notice.
const REST_RATIO: u32 = 9;

pub(super) struct Scrubbing {
    /// What was fetched to fill gaps, then the node's own log.
    pub fetched: Arc<Scrub>,
    pub own: Arc<Scrub>,
    pub log: Arc<DurableLog>,
    pub measures: Arc<Measures>,
}

/// Stops a check between two files once its task is gone.
struct StopWhenDropped(Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Scrubbing {
    pub async fn run(self) {
        loop {
            let began = Instant::now();
            match self.check(&self.own).await {
                Ok(Checked::Sound { segments, bytes }) => {
                    let seconds = began.elapsed().as_secs();
                    self.measures.damaged_segments.set(0);
                    tracing::info!(segments, bytes, seconds, "the whole log was checked and is sound");
                }
                Ok(Checked::Damaged(damage)) => self.note(damage).await,
                Ok(Checked::Stopped) => return,
                Err(error) => tracing::warn!(%error, "the log could not be checked"),
            }
            if let Ok(Checked::Damaged(damage)) = self.check(&self.fetched).await {
                self.measures.damaged_segments.set(1);
                tracing::error!(%damage, "what was fetched of older history is damaged; see OPERATING.md");
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn check(&self, scrub: &Arc<Scrub>) -> Result<Checked, StorageError> {
        let stopped = Arc::new(AtomicBool::new(false));
        let _stop = StopWhenDropped(stopped.clone());
        let scrub = scrub.clone();
        let check = move || {
            let mut since = Instant::now();
            scrub.run(|| {
                std::thread::sleep(since.elapsed() * REST_RATIO);
                since = Instant::now();
                !stopped.load(Ordering::Relaxed)
            })
        };
        // A check that panicked says so by itself; what it would have found the next one finds.
        tokio::task::spawn_blocking(check).await.unwrap_or(Ok(Checked::Stopped))
    }

    async fn note(&self, damage: Corruption) {
        self.measures.damaged_segments.set(1);
        let (own, found) = (self.own.clone(), damage.clone());
        let noted = tokio::task::spawn_blocking(move || Suspect::note(&*own.disk, &own.dir, &found)).await;
        match noted {
            Ok(Ok(Some(suspect))) if self.log.reads(suspect.segment) => {
                self.log.condemn(&format!("a check found damage: {damage}"));
            }
            Ok(Ok(_)) => tracing::error!(
                %damage,
                "older history of this node is damaged: noted, and repaired from its peers when it is started next"
            ),
            Ok(Err(error)) => {
                tracing::error!(%damage, %error, "the log is damaged, and that cannot be noted")
            }
            Err(_) => {}
        }
    }
}
