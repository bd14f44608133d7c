//! Ranges of committed history, for a peer that repairs its log: read from the files, also while the node writes them,
//! and past damage.

use super::disk::Disk;
use super::error::StorageError;
use super::log_reader::{History, LogReader};
use super::view::LogEntry;
use events::ids::LogIndex;
use events::log::keys::SegmentKeys;
use events::log::leaf::entry_leaf_hash;
use events::log::merkle::Frontier;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So much is read at once where all is read, in bytes.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// The committed history of one node: its own log, what it fetched to fill that one's gaps, and what it archived.
pub struct Archive {
    disk: Arc<dyn Disk>,
    /// Folders of segments; any of them may not be there.
    dirs: Vec<PathBuf>,
    keys: SegmentKeys,
    /// Where the last range ended: ranges are asked for in order.
    reading: Mutex<Option<Reading>>,
}

struct Reading {
    next: LogIndex,
    reader: LogReader,
}

/// What was read, and what is left to read, if the end was not reached.
type Read = (Vec<LogEntry>, Option<Reading>);

impl Archive {
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, dirs: Vec<PathBuf>, keys: SegmentKeys) -> Self {
        Archive { disk, dirs, keys, reading: Mutex::new(None) }
    }

    /// Entries from `from` on, without a gap, until their bodies exceed `bytes_max`; none if `from` is not held or not
    /// known committed. What cannot be read in one folder may be held by another. Blocks on the disk.
    pub fn range(&self, from: LogIndex, bytes_max: usize) -> Result<Vec<LogEntry>, StorageError> {
        let mut reading = self.reading.lock();
        if let Some(kept) = reading.take_if(|kept| kept.next == from)
            && let Ok((entries, left)) = kept.read_on(bytes_max)
            && !entries.is_empty()
        {
            *reading = left;
            return Ok(entries);
        }
        // What the reader knew of a growing log may be old.
        *reading = None;
        let mut failed = None;
        for dir in self.dirs.iter().filter(|dir| self.disk.list(dir).is_ok()) {
            match self.read_in(dir, from, bytes_max) {
                Ok((entries, left)) if !entries.is_empty() => {
                    *reading = left;
                    return Ok(entries);
                }
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(Vec::new()), Err)
    }

    fn read_in(&self, dir: &Path, from: LogIndex, bytes_max: usize) -> Result<Read, StorageError> {
        let reader = LogReader::open_past_damage(Arc::clone(&self.disk), dir.to_owned(), self.keys.clone())?;
        Reading { next: from, reader: reader.starting_near(from) }.read_on(bytes_max)
    }
}

impl Archive {
    /// The same history, for another reader.
    #[must_use]
    pub fn again(&self) -> Archive {
        Archive::new(Arc::clone(&self.disk), self.dirs.clone(), self.keys.clone())
    }

    /// The same folders on another disk.
    pub(super) fn on(&self, disk: Arc<dyn Disk>) -> Archive {
        Archive { disk, ..self.again() }
    }

    /// The frontier of the tree of all entries up to `through`; none if one of them is not held. Reads the whole log.
    pub fn frontier(&self, through: LogIndex) -> Result<Option<Frontier>, StorageError> {
        let mut frontier = Frontier::default();
        while frontier.size() <= through {
            if !self.grow(&mut frontier, through)? {
                return Ok(None);
            }
        }
        Ok(Some(frontier))
    }

    /// Grows a tree of this history by the next entries, none of them after `through`; false if the next is not held.
    pub fn grow(&self, frontier: &mut Frontier, through: LogIndex) -> Result<bool, StorageError> {
        let entries = self.range(frontier.size(), READ_BYTES)?;
        let before = frontier.size();
        for entry in entries.iter().take_while(|entry| entry.at.index <= through) {
            let Ok(leaf) = entry_leaf_hash(entry.at.term, &entry.body) else { break };
            frontier.push(leaf);
        }
        Ok(frontier.size() > before)
    }
}

impl Reading {
    fn read_on(mut self, bytes_max: usize) -> Result<Read, StorageError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while bytes <= bytes_max {
            let read = match self.reader.next().transpose() {
                Err(error) if entries.is_empty() => return Err(error),
                // What lies before it is good.
                Err(_) => None,
                Ok(read) => read,
            };
            match read {
                None => return Ok((entries, None)),
                Some(History::Entry(held)) if held.entry.at.index < self.next => {}
                Some(History::Entry(held)) if held.entry.at.index == self.next => {
                    self.next += 1;
                    bytes += held.entry.body.bytes().len();
                    entries.push(held.entry);
                }
                Some(History::Gap { through, .. }) if through < self.next => {}
                // It goes on after a gap: nothing more is held in order.
                Some(History::Entry(_) | History::Gap { .. }) => return Ok((entries, None)),
            }
        }
        Ok((entries, Some(self)))
    }
}
