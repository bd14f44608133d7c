//! The log in which a node keeps what it fetched to fill its gaps: in the format of its own, in a folder beside it, so that
//! whoever reads history reads both. Raft knows nothing of it.

use super::birth::Beginning;
use super::disk::Disk;
use super::error::StorageError;
use super::gaps::Gap;
use super::log::{DurableLog, LogOptions};
use super::view::LogEntry;
use super::writer::Done;
use crate::entropy::Entropy;
use events::ids::LogIndex;
use events::log::record::LogPosition;
use std::sync::Arc;
use std::sync::mpsc;

pub struct Backfill {
    log: DurableLog,
}

impl Backfill {
    /// `own` is the node's own log, `dir` the folder of this one. Blocks on the disk, as everything here.
    pub fn open(
        disk: Arc<dyn Disk>,
        entropy: Arc<dyn Entropy>,
        own: &LogOptions,
        dir: std::path::PathBuf,
    ) -> Result<Self, StorageError> {
        // No vote and no acknowledgement stands on it: it may begin with nothing, again and again.
        let options =
            LogOptions { dir, beginning: Beginning::DangerUnasked, cache_bytes_max: 0, ..own.clone() };
        Ok(Backfill { log: DurableLog::open(disk, entropy, options)? })
    }

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
        let (Some(first), Some(last)) = (within.first().map(|e| e.at), within.last().map(|e| e.at)) else {
            return Ok(());
        };
        if self.log.standing().last.map_or(0, |last| last.index + 1) < next {
            // What lies between two gaps is in the node's own log.
            self.wait(|done| self.log.purge(LogPosition { term: first.term, index: next - 1 }, done))?;
        }
        self.wait(|done| self.log.append(within, done))?;
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
