//! The log in which a node keeps what it fetched to fill its gaps: in the format of its own, in a folder beside it, so that
//! whoever reads history reads both. Raft knows nothing of it.
//!
//! Nothing was acknowledged on it, so what is damaged of it and all after that is set aside, beside the log, and fetched
//! again: from peers, or from what is intact of that. So is what a signed checkpoint says is not what was committed, of
//! which nothing is used again.

use super::birth::Beginning;
use super::disk::Disk;
use super::error::{Corruption, CorruptionKind, StorageError};
use super::gaps::{Gap, GapBook};
use super::log::{DurableLog, LogOptions};
use super::log_reader::{History, LogReader};
use super::repair::{self, salvage_set_aside};
use super::view::LogEntry;
use super::writer::Done;
use crate::entropy::Entropy;
use events::ids::LogIndex;
use events::log::record::LogPosition;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

pub struct Backfill {
    log: DurableLog,
}

/// Where it lies, and what may be in it.
#[derive(Clone)]
pub struct BackfillPlace {
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    options: LogOptions,
}

impl BackfillPlace {
    /// `own` is the node's own log, `dir` the folder of this one.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, entropy: Arc<dyn Entropy>, own: &LogOptions, dir: PathBuf) -> Self {
        // No vote and no acknowledgement stands on it: it may begin with nothing, again and again.
        let options = LogOptions {
            dir,
            beginning: Beginning::DangerUnasked,
            cache_bytes_max: 0,
            needs_history: true,
            ..own.clone()
        };
        BackfillPlace { disk, entropy, options }
    }

    /// Opens the log. If it is damaged, its gaps are open again, and what is damaged of it lies aside. Blocks on the disk,
    /// as everything here.
    pub fn open(&self, gaps: &GapBook) -> Result<Backfill, StorageError> {
        let open = || DurableLog::open(self.disk.clone(), self.entropy.clone(), self.options.clone());
        let log = match open() {
            Err(StorageError::Corrupt(damage)) if damage.is_repairable() => {
                tracing::warn!(%damage, "fetched history is damaged: it is set aside and fetched again");
                // First, so that whatever happens to the rest it is known to be missing.
                gaps.reopen()?;
                self.set_aside(&damage)?;
                open()?
            }
            Err(StorageError::NeedsRepair { .. }) => {
                gaps.reopen()?;
                self.cut()?;
                open()?
            }
            opened => opened?,
        };
        let backfill = Backfill { log };
        backfill.settle()?;
        Ok(backfill)
    }

    /// Entries from `from` on that lie intact in what was set aside.
    pub fn salvage(&self, from: LogIndex) -> Result<Vec<LogEntry>, StorageError> {
        salvage_set_aside(&*self.disk, &self.options, from)
    }

    /// A peer gave something else than what was committed: the gaps are open again, and all that nobody vouched for lies
    /// aside, in the place of what did so before.
    pub fn disbelieve(&self, gaps: &GapBook) -> Result<(), StorageError> {
        let proven_before = gaps.proven_before();
        gaps.reopen()?;
        let Some(path) = self.first_file_from(proven_before)? else { return Ok(()) };
        let before = self.names()?;
        let damage = Corruption { path, offset: 0, what: CorruptionKind::Disbelieved };
        self.set_aside(&damage)?;
        for name in self.names()?.difference(&before).filter(|name| name.contains(".damaged")) {
            // Kept to be looked at. Under this name no salvage reads it, and one is kept of each: who lies fills no disk.
            let Some((segment, _)) = name.split_once(".damaged") else { continue };
            let aside = self.options.dir.join(format!("{segment}.disbelieved"));
            self.disk
                .rename(&self.options.dir.join(name), &aside)
                .map_err(StorageError::io("renaming to", &aside))?;
        }
        self.disk.sync_dir(&self.options.dir).map_err(StorageError::io("syncing", &self.options.dir))
    }

    /// The first segment that holds an entry from `index` on.
    fn first_file_from(&self, index: LogIndex) -> Result<Option<PathBuf>, StorageError> {
        let LogOptions { dir, keys, .. } = &self.options;
        for item in LogReader::open(self.disk.clone(), dir.clone(), keys.clone())?.starting_near(index) {
            match item? {
                History::Entry(held) if held.entry.at.index >= index => {
                    return Ok(Some(held.file.to_path_buf()));
                }
                History::Entry(_) | History::Gap { .. } => {}
            }
        }
        Ok(None)
    }

    fn names(&self) -> Result<BTreeSet<String>, StorageError> {
        let dir = &self.options.dir;
        let names = self.disk.list(dir).map_err(StorageError::io("listing", dir))?;
        Ok(names.into_iter().collect())
    }

    fn set_aside(&self, damage: &Corruption) -> Result<(), StorageError> {
        match repair::note_damage(&*self.disk, &self.options, damage) {
            Ok(_) => self.cut(),
            // Nothing here says any more whose log it is.
            Err(StorageError::Corrupt(_)) => repair::set_all_aside(&*self.disk, &self.options),
            Err(other) => Err(other),
        }
    }

    /// Lets the log end before the damage that was noted.
    fn cut(&self) -> Result<(), StorageError> {
        let Some(need) = repair::noted(&*self.disk, &self.options)? else { return Ok(()) };
        // Nothing of it was ever acknowledged to anybody.
        let need = repair::Need { acknowledged: None, ..need };
        let (disk, entropy) = (self.disk.clone(), self.entropy.clone());
        repair::Rebuild::begin_of_committed(disk, entropy, self.options.clone(), need)?.finish()
    }
}

impl Backfill {
    /// The first entry of `gap` that is still missing; `None` once all are here.
    #[must_use]
    pub fn missing_from(&self, gap: Gap) -> Option<LogIndex> {
        let next = self.log.standing().last.map_or(0, |last| last.index + 1).max(gap.from);
        (next <= gap.through).then_some(next)
    }

    /// Takes a peer's committed entries, the first of which is the one that is missing; what lies beyond the gap is left
    /// out. When this returns they are durable.
    pub fn take(&self, gap: Gap, entries: Vec<LogEntry>) -> Result<(), StorageError> {
        let Some(next) = self.missing_from(gap) else { return Ok(()) };
        let mut last: Option<LogPosition> = None;
        for entry in &entries {
            let expected = last.map_or(next, |last| last.index + 1);
            let refused = |why| StorageError::PeersEntry { index: entry.at.index, why };
            if entry.at.index != expected || last.is_some_and(|last| entry.at.term < last.term) {
                return Err(refused("it does not follow the entry before it"));
            }
            if entry.at.term > gap.term || (entry.at.index == gap.through && entry.at.term != gap.term) {
                return Err(refused("it is of another term than this node's log says"));
            }
            last = Some(entry.at);
        }
        let within: Vec<LogEntry> =
            entries.into_iter().take_while(|entry| entry.at.index <= gap.through).collect();
        let Some(first) = within.first().map(|entry| entry.at) else {
            return Ok(());
        };
        if self.log.standing().last.map_or(0, |last| last.index + 1) < next {
            // What lies between two gaps is in the node's own log.
            self.wait(|done| self.log.purge(LogPosition { term: first.term, index: next - 1 }, done))?;
        }
        self.wait(|done| self.log.append(within, done))?;
        self.settle()
    }

    /// Says of all that is here that it is committed. A crash may have come before that; what is not said to be committed
    /// is lost for history once a later gap is filled.
    fn settle(&self) -> Result<(), StorageError> {
        let standing = self.log.standing();
        let Some(last) = standing.last.filter(|last| standing.committed < Some(*last)) else { return Ok(()) };
        self.log.save_committed(last)?;
        // Nobody asks this log for entries: nothing of them is kept in memory.
        self.wait(|done| self.log.purge(last, done))
    }

    /// Waits until a change is durable.
    fn wait(&self, change: impl FnOnce(Done) -> Result<(), StorageError>) -> Result<(), StorageError> {
        let (sender, durable) = mpsc::channel();
        change(Box::new(move |result| {
            // Whoever waits is below.
            let _ = sender.send(result);
        }))?;
        durable.recv().map_err(|_| StorageError::Closed)?.map_err(StorageError::from)
    }
}
