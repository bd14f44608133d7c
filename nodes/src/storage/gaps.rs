//! What this node's log lacks of history: stretches that came to it in a snapshot.
//!
//! Invariant: a stretch is noted, durably, before the purge that leaves it out; so a crash may note one that never came
//! about, which costs a needless read from a peer, but none is ever forgotten. One that is filled is remembered: what
//! fills it may turn out to be damaged. All of this is history only: files of it that cannot be believed are set aside
//! and told, and the node starts.

use super::disk::Disk;
use super::error::StorageError;
use super::json_file::{self, set_aside};
use events::ids::LogIndex;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// The folder, within the data directory, of what was fetched to fill gaps.
pub const BACKFILL_FOLDER: &str = "backfill";

const FILE: &str = "gaps.json";
const FILLED_FILE: &str = "filled.json";

/// Entries that are missing; both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    pub from: LogIndex,
    pub through: LogIndex,
    /// Of the last entry: what fills the gap must end with it.
    pub term: u64,
}

/// The gaps of one log, lowest first: those that nobody has filled, and those that were.
pub struct GapBook {
    disk: Arc<dyn Disk>,
    /// The backfill folder.
    dir: PathBuf,
    gaps: Mutex<Gaps>,
    missing: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct Gaps {
    open: Vec<Gap>,
    filled: Vec<Gap>,
}

impl GapBook {
    /// Blocks on the disk.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> Result<Self, StorageError> {
        let open = read(&*disk, &dir.join(FILE))?;
        let filled = read(&*disk, &dir.join(FILLED_FILE))?;
        let missing = watch::Sender::new(count(&open));
        let gaps = Gaps { open, filled };
        Ok(GapBook { disk, dir, gaps: Mutex::new(gaps), missing })
    }

    /// Notes a gap; when this returns it is durable. Blocks on the disk.
    pub fn note(&self, gap: Gap) -> Result<(), StorageError> {
        self.change(|gaps| {
            // One that was noted before may never have come about, and now is part of this one.
            gaps.open.retain(|known| known.through < gap.from || gap.through < known.from);
            gaps.open.push(gap);
        })
    }

    /// A gap is filled. Blocks on the disk.
    pub fn close(&self, filled: Gap) -> Result<(), StorageError> {
        self.change(|gaps| {
            gaps.open.retain(|gap| *gap != filled);
            gaps.filled.push(filled);
        })
    }

    /// What filled the gaps is damaged: all of them are looked at again. Blocks on the disk.
    pub fn reopen(&self) -> Result<(), StorageError> {
        self.change(|gaps| gaps.open.append(&mut gaps.filled))
    }

    fn change(&self, change: impl FnOnce(&mut Gaps)) -> Result<(), StorageError> {
        let mut gaps = self.gaps.lock();
        let mut changed = gaps.clone();
        change(&mut changed);
        for list in [&mut changed.open, &mut changed.filled] {
            list.sort_by_key(|gap| gap.from);
            list.dedup();
        }
        coalesce(&mut changed.filled);
        self.disk.create_dir(&self.dir).map_err(StorageError::io("creating", &self.dir))?;
        if let Some(parent) = self.dir.parent() {
            self.disk.sync_dir(parent).map_err(StorageError::io("syncing", parent))?;
        }
        let persist = |file, list: &Vec<Gap>| json_file::persist(&*self.disk, &self.dir.join(file), list);
        // What is added to one list is written before it goes from the other: a crash leaves it in both, never in none.
        let are_reopened = changed.filled.is_empty();
        if are_reopened {
            persist(FILE, &changed.open)?;
        }
        if changed.filled != gaps.filled {
            persist(FILLED_FILE, &changed.filled)?;
        }
        if !are_reopened {
            persist(FILE, &changed.open)?;
        }
        *gaps = changed;
        self.missing.send_replace(count(&gaps.open));
        Ok(())
    }

    #[must_use]
    pub fn first(&self) -> Option<Gap> {
        self.gaps.lock().open.first().copied()
    }

    /// How many entries are missing, as it changes.
    #[must_use]
    pub fn missing(&self) -> watch::Receiver<u64> {
        self.missing.subscribe()
    }
}

/// What is noted there; nothing if it cannot be believed.
fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<Gap>, StorageError> {
    let is_malformed = |error: &StorageError| match error {
        StorageError::Corrupt(_) => true,
        StorageError::Io { source, .. } => source.kind() == ErrorKind::InvalidData,
        _ => false,
    };
    match json_file::read(disk, path) {
        Err(error) if is_malformed(&error) => {
            tracing::error!(
                %error,
                "which stretches of history this node lacks cannot be read: set aside. `muster log verify` names the gaps \
                 that are not filled"
            );
            set_aside(disk, path)?;
            Ok(Vec::new())
        }
        read => Ok(read?.unwrap_or_default()),
    }
}

/// Makes one stretch of those that overlap or touch; `gaps` are sorted.
fn coalesce(gaps: &mut Vec<Gap>) {
    gaps.dedup_by(|later, before| {
        let touches = later.from <= before.through.saturating_add(1);
        if touches && later.through >= before.through {
            (before.through, before.term) = (later.through, later.term);
        }
        touches
    });
}

fn count(gaps: &[Gap]) -> u64 {
    gaps.iter().map(|gap| gap.through - gap.from + 1).sum()
}
