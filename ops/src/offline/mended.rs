//! A node's own log with what it fetched to fill its gaps, as one stretch of history after the other: for whoever shows a
//! log rather than folds it, and so goes on past what is missing.

use super::{Passed, open_folders};
use anyhow::Result;
use events::ids::LogIndex;
use events::keyring::Keyring;
use nodes::storage::error::StorageError;
use nodes::storage::log_reader::{History, LogReader, LogReport};
use std::path::Path;

pub(crate) struct Mended {
    own: LogReader,
    fetched: Option<Fetched>,
    /// What is left of a gap of the own log; both ends are included.
    gap: Option<(LogIndex, LogIndex)>,
    /// Of the own log and of what was fetched.
    passed: [Passed; 2],
    bytes_total: u64,
    /// Entries given.
    entries: u64,
}

/// What was fetched, and what comes next of it.
struct Fetched {
    reader: LogReader,
    head: Option<Result<History, StorageError>>,
}

impl Fetched {
    fn peek(&mut self) -> Option<&Result<History, StorageError>> {
        if self.head.is_none() {
            self.head = self.reader.next();
        }
        self.head.as_ref()
    }

    fn next(&mut self) -> Option<Result<History, StorageError>> {
        self.head.take().or_else(|| self.reader.next())
    }
}

impl Mended {
    pub(crate) fn open(data: &Path, keyring: &Keyring) -> Result<Self> {
        let mut folders = open_folders(data, keyring)?.into_iter();
        // The own log stands first.
        let own = folders.next().ok_or_else(|| anyhow::anyhow!("{} holds no log", data.display()))?;
        let fetched = folders.next();
        let bytes_total = own.bytes_total()? + fetched.as_ref().map_or(Ok(0), LogReader::bytes_total)?;
        let fetched = fetched.map(|reader| Fetched { reader, head: None });
        Ok(Mended { own, fetched, gap: None, passed: Default::default(), bytes_total, entries: 0 })
    }

    /// Of both, once this ended. What is not known committed stands at the end of the node's own log.
    pub(crate) fn report(&self) -> LogReport {
        let own = LogReport { entries: self.entries, ..self.own.report() };
        let Some(fetched) = &self.fetched else { return own };
        let fetched = fetched.reader.report();
        LogReport {
            segments: own.segments + fetched.segments,
            frames: own.frames + fetched.frames,
            bytes: own.bytes + fetched.bytes,
            ..own
        }
    }

    /// Bytes of all files: for a progress bar.
    pub(crate) fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// Bytes of them that were passed so far.
    pub(crate) fn bytes_passed(&self) -> u64 {
        self.passed.iter().map(Passed::bytes).sum()
    }

    /// The next stretch of what was fetched for a gap, or of what is still missing.
    fn fill(&mut self, from: LogIndex, through: LogIndex) -> Result<History, StorageError> {
        let missing = |through| Ok(History::Gap { from, through });
        let Some(fetched) = &mut self.fetched else { return missing(through) };
        loop {
            let index = match fetched.peek() {
                None => return missing(through),
                Some(Ok(History::Entry(held))) => held.entry.at.index,
                // The own log says what is missing, and a fault is told below.
                Some(Ok(History::Gap { .. }) | Err(_)) => from.saturating_sub(1),
            };
            if index > through {
                return missing(through);
            }
            if index > from {
                self.gap = Some((index, through));
                return missing(index - 1);
            }
            match fetched.next() {
                Some(Ok(entry @ History::Entry(_))) if index == from => {
                    self.passed[1].note(&entry);
                    self.gap = (from < through).then_some((from + 1, through));
                    return Ok(entry);
                }
                Some(Err(error)) => return Err(error),
                Some(Ok(_)) | None => {}
            }
        }
    }

    fn read(&mut self) -> Option<Result<History, StorageError>> {
        loop {
            if let Some((from, through)) = self.gap.take() {
                return Some(self.fill(from, through));
            }
            match self.own.next() {
                Some(Ok(History::Gap { from, through })) => self.gap = Some((from, through)),
                Some(other) => {
                    other.iter().for_each(|history| self.passed[0].note(history));
                    return Some(other);
                }
                None => {
                    // What is left of it fills no gap, and is counted all the same.
                    while self.fetched.as_mut().is_some_and(|fetched| fetched.next().is_some()) {}
                    return None;
                }
            }
        }
    }
}

impl Iterator for Mended {
    type Item = Result<History, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let history = self.read();
        self.entries += u64::from(matches!(history, Some(Ok(History::Entry(_)))));
        history
    }
}
