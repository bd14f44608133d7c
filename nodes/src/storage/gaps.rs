//! What this node's log lacks of history: stretches that came to it in a snapshot.
//!
//! Invariant: a stretch is noted, durably, before the purge that leaves it out; so a crash may note one that never came
//! about, which costs a needless read from a peer, but none is ever forgotten. One that is filled is remembered: what
//! fills it may turn out to be damaged, or false: it is proven once a signed checkpoint vouches for it (proven.rs). All of
//! this is history only: files of it that cannot be believed are set aside and told, and the node starts. What they said a
//! check of the whole log says again (scrub.rs).

use super::disk::Disk;
use super::error::StorageError;
use super::json_file::{self, is_malformed, set_aside};
use super::proven;
use events::ids::LogIndex;
use events::log::merkle::Frontier;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
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
    unproven: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct Gaps {
    open: Vec<Gap>,
    filled: Vec<Gap>,
    /// The tree of the entries that a signed checkpoint vouched for.
    proven: Frontier,
}

/// History without a gap, the last of which nobody vouched for yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproven {
    /// The last entry that was fetched.
    pub through: LogIndex,
    /// The tree of what is proven.
    pub proven: Frontier,
}

impl GapBook {
    /// Blocks on the disk.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> Result<Self, StorageError> {
        let open = read(&*disk, &dir.join(FILE))?;
        let filled = read(&*disk, &dir.join(FILLED_FILE))?;
        let proven = proven::read(&*disk, &dir)?;
        let gaps = Gaps { open, filled, proven };
        let (missing, unproven) =
            (watch::Sender::new(count(&gaps.open)), watch::Sender::new(gaps.unproven()));
        Ok(GapBook { disk, dir, gaps: Mutex::new(gaps), missing, unproven })
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

    /// The log says that it never held these. What of them the book does not know it had forgotten: it is noted again, and
    /// given back. What was fetched of it is not fetched again, but is to be proven anew. Blocks on the disk.
    pub fn recall(&self, absent: &[Gap]) -> Result<Vec<Gap>, StorageError> {
        let forgotten = {
            let gaps = self.gaps.lock();
            let known: Vec<Gap> = gaps.open.iter().chain(&gaps.filled).copied().collect();
            let known = coalesced(known);
            let is_known =
                |gap: &Gap| known.iter().any(|it| it.from <= gap.from && gap.through <= it.through);
            absent.iter().filter(|gap| !is_known(gap)).copied().collect::<Vec<_>>()
        };
        if !forgotten.is_empty() {
            self.change(|gaps| {
                gaps.open.extend(&forgotten);
                gaps.open = coalesced(std::mem::take(&mut gaps.open));
            })?;
        }
        Ok(forgotten)
    }

    /// What filled the gaps is damaged, or false: all of them are looked at again, and nothing of it is proven any more.
    /// Blocks on the disk.
    pub fn reopen(&self) -> Result<(), StorageError> {
        // First: what is fetched now must not pass for what was proven before.
        self.keep_proven(&mut self.gaps.lock(), Frontier::default())?;
        self.change(|gaps| gaps.open.append(&mut gaps.filled))
    }

    /// A signed checkpoint vouched for this tree, of history that had no gap; false if it has one by now. Blocks on the
    /// disk.
    pub fn prove(&self, tree: Frontier) -> Result<bool, StorageError> {
        let mut gaps = self.gaps.lock();
        if !gaps.open.is_empty() {
            return Ok(false);
        }
        self.keep_proven(&mut gaps, tree)?;
        Ok(true)
    }

    fn keep_proven(&self, gaps: &mut Gaps, tree: Frontier) -> Result<(), StorageError> {
        if gaps.proven != tree {
            proven::persist(&*self.disk, &self.dir, &tree)?;
            gaps.proven = tree;
            self.unproven.send_replace(gaps.unproven());
        }
        Ok(())
    }

    /// What is to be proven; `None` while there is a gap, and once all is.
    #[must_use]
    pub fn to_prove(&self) -> Option<Unproven> {
        let gaps = self.gaps.lock();
        let through = gaps.filled.last().map(|last| last.through)?;
        let is_due = gaps.open.is_empty() && through >= gaps.proven.size();
        is_due.then(|| Unproven { through, proven: gaps.proven.clone() })
    }

    /// The tree of what is proven.
    #[must_use]
    pub fn proven(&self) -> Frontier {
        self.gaps.lock().proven.clone()
    }

    /// The first entry for which nobody vouched.
    #[must_use]
    pub fn proven_before(&self) -> LogIndex {
        self.gaps.lock().proven.size()
    }

    fn change(&self, change: impl FnOnce(&mut Gaps)) -> Result<(), StorageError> {
        let mut gaps = self.gaps.lock();
        let mut changed = gaps.clone();
        change(&mut changed);
        for list in [&mut changed.open, &mut changed.filled] {
            list.sort_by_key(|gap| gap.from);
            list.dedup();
        }
        changed.filled = coalesced(std::mem::take(&mut changed.filled));
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
        self.unproven.send_replace(gaps.unproven());
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

    /// How many entries are missing, or were fetched and are not proven, as it changes.
    #[must_use]
    pub fn unproven(&self) -> watch::Receiver<u64> {
        self.unproven.subscribe()
    }
}

impl Gaps {
    fn unproven(&self) -> u64 {
        let filled = self.filled.iter().filter(|gap| gap.through >= self.proven.size());
        let fetched: u64 = filled.map(|gap| gap.through + 1 - gap.from.max(self.proven.size())).sum();
        count(&self.open) + fetched
    }
}

/// What is noted there; nothing if it cannot be believed.
fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<Gap>, StorageError> {
    match json_file::read(disk, path) {
        Err(error) if is_malformed(&error) => {
            tracing::error!(
                %error,
                "which stretches of history this node lacks cannot be read: set aside. The next check of the whole log finds \
                 them again, and `muster log verify` names those that are not filled"
            );
            set_aside(disk, path)?;
            Ok(Vec::new())
        }
        read => Ok(read?.unwrap_or_default()),
    }
}

/// Makes one stretch of those that overlap or touch, and sorts them.
fn coalesced(mut gaps: Vec<Gap>) -> Vec<Gap> {
    gaps.sort_by_key(|gap| gap.from);
    gaps.dedup_by(|later, before| {
        let touches = later.from <= before.through.saturating_add(1);
        if touches && later.through >= before.through {
            (before.through, before.term) = (later.through, later.term);
        }
        touches
    });
    gaps
}

fn count(gaps: &[Gap]) -> u64 {
    gaps.iter().map(|gap| gap.through - gap.from + 1).sum()
}
