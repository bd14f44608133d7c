//! How much room is left to the log. A disk that is full ends the node; so before that it takes nothing in, and says so.

use crate::storage::disk::Disk;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is left, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub free_bytes: u64,
    pub reserve_bytes: u64,
}

impl Room {
    /// Before anybody looked.
    #[must_use]
    pub fn unknown(reserve_bytes: u64) -> Self {
        Room { free_bytes: u64::MAX, reserve_bytes }
    }

    /// Whether the node may take in what its log must keep.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.free_bytes >= self.reserve_bytes
    }
}

pub(super) struct RoomWatch {
    pub disk: Arc<dyn Disk>,
    /// The data directory.
    pub dir: PathBuf,
    pub room: watch::Sender<Room>,
}

impl RoomWatch {
    pub async fn run(self) {
        let mut due = tokio::time::interval(LOOK_EVERY);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let (disk, dir) = (self.disk.clone(), self.dir.clone());
            // What cannot be asked is no reason to refuse: a write tells it.
            let Ok(Ok(free_bytes)) = tokio::task::spawn_blocking(move || disk.free_bytes(&dir)).await else {
                continue;
            };
            let before = *self.room.borrow();
            let room = Room { free_bytes, ..before };
            if before.is_enough() && !room.is_enough() {
                let Room { free_bytes, reserve_bytes } = room;
                tracing::error!(
                    free_bytes,
                    reserve_bytes,
                    "the disk is nearly full: this node takes nothing in until there is room again"
                );
            } else if !before.is_enough() && room.is_enough() {
                tracing::info!(free_bytes, "the disk has room again");
            }
            self.room.send_if_modified(|known| std::mem::replace(known, room) != room);
        }
    }
}
