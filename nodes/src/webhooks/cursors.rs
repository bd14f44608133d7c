//! How far each webhook's deliveries came, as a log index. Kept on this node's disk and told to the peers, so that neither
//! a restart nor another leader sends much of it again.
//!
//! Losing the last moves costs repeated deliveries under the same ids, and nothing else: so a disk that cannot keep them
//! is said, and delivery goes on.

use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::json_file;
use events::ids::LogIndex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The file of the cursors within the data directory.
pub const CURSORS_FILE: &str = "webhooks.json";
/// The file is written at most this often.
const KEEP_EVERY: Duration = Duration::from_secs(2);
/// Names that peers tell of; a cluster has a handful.
const NAMES_MAX: usize = 256;

pub struct Cursors {
    at: watch::Sender<BTreeMap<String, LogIndex>>,
    disk: Arc<dyn Disk>,
    file: PathBuf,
}

impl Cursors {
    /// Reads what an earlier life kept. A file that cannot be read is refused: it would be overwritten.
    pub fn open(disk: Arc<dyn Disk>, file: PathBuf) -> Result<Self, StorageError> {
        let kept: Option<BTreeMap<String, LogIndex>> = json_file::read(&*disk, &file)?;
        Ok(Cursors { at: watch::Sender::new(kept.unwrap_or_default()), disk, file })
    }

    #[must_use]
    pub fn all(&self) -> BTreeMap<String, LogIndex> {
        self.at.borrow().clone()
    }

    /// Told whenever one moved.
    pub(super) fn moved(&self) -> watch::Receiver<BTreeMap<String, LogIndex>> {
        self.at.subscribe()
    }

    /// Where deliveries of this webhook go on: a new one begins with what is applied from now on. A cursor beyond the log
    /// is of a log that was lost.
    pub(super) fn begin(&self, webhook: &str, applied: LogIndex) -> LogIndex {
        let known = self.at.borrow().get(webhook).copied();
        let cursor = known.map_or(applied, |cursor| cursor.min(applied));
        if known != Some(cursor) {
            self.delivered(webhook, cursor);
        }
        cursor
    }

    pub(super) fn delivered(&self, webhook: &str, up_to: LogIndex) {
        self.at.send_modify(|at| {
            at.insert(webhook.to_owned(), up_to);
        });
    }

    /// What a peer knows; the higher index counts.
    pub fn learn(&self, theirs: &BTreeMap<String, LogIndex>) {
        self.at.send_if_modified(|at| {
            let mut moved = false;
            for (name, &index) in theirs {
                if at.get(name).is_none_or(|&own| own < index)
                    && (at.len() < NAMES_MAX || at.contains_key(name))
                {
                    at.insert(name.clone(), index);
                    moved = true;
                }
            }
            moved
        });
    }

    /// Keeps the file up to date; for ever.
    pub async fn keep(self: Arc<Self>) {
        let mut moved = self.moved();
        while moved.changed().await.is_ok() {
            let now = moved.borrow_and_update().clone();
            let own = self.clone();
            let written =
                tokio::task::spawn_blocking(move || json_file::persist(&*own.disk, &own.file, &now)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "cannot keep how far webhooks were delivered");
            }
            tokio::time::sleep(KEEP_EVERY).await;
        }
    }
}
