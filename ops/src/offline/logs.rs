//! One history out of one or several nodes' logs: what one of them lacks is taken from another, and where two hold the
//! same entry it must be the same.

use super::ahead::Ahead;
use super::passed::Passed;
use super::trouble::{advice, refusal};
use crate::exit::{NOT_HELD, coded};
use anyhow::Result;
use events::ids::LogIndex;
use nodes::storage::error::StorageError;
use nodes::storage::log_reader::{History, HistoryEntry, LogReader, LogReport};

/// The logs, read in step.
///
/// Invariant: every head lies at or behind `next`.
pub struct Logs {
    sources: Vec<Source>,
    /// The index of the next entry; none before the first.
    next: Option<LogIndex>,
}

struct Source {
    reader: Reader,
    head: Head,
    /// The last entry that it gave.
    last: Option<LogIndex>,
    passed: Passed,
}

/// Who reads a log.
enum Reader {
    Here(Box<LogReader>),
    /// A thread of its own; with the bytes of all segments.
    Ahead(Box<Ahead>, u64),
}

/// What a source gives next.
enum Head {
    Unread,
    Entry(HistoryEntry),
    Gap { from: LogIndex, through: LogIndex },
    End,
    Failed(Option<StorageError>, String),
}

impl From<LogReader> for Logs {
    fn from(reader: LogReader) -> Self {
        Logs::new(vec![reader])
    }
}

impl Logs {
    #[must_use]
    pub fn new(readers: Vec<LogReader>) -> Self {
        let source = |reader| Source {
            reader: Reader::Here(Box::new(reader)),
            head: Head::Unread,
            last: None,
            passed: Passed::default(),
        };
        Logs { sources: readers.into_iter().map(source).collect(), next: None }
    }

    /// From now on each log is read by a thread of its own.
    pub fn reading_ahead(self) -> Result<Self> {
        let mut sources = Vec::new();
        for source in self.sources {
            let reader = match source.reader {
                Reader::Here(reader) => {
                    let bytes = reader.bytes_total()?;
                    Reader::Ahead(Box::new(Ahead::of(*reader)?), bytes)
                }
                ahead @ Reader::Ahead(..) => ahead,
            };
            sources.push(Source { reader, ..source });
        }
        Ok(Logs { sources, next: self.next })
    }

    /// The next committed entry, from whichever log has it; none at the end of all.
    pub fn next_entry(&mut self) -> Result<Option<HistoryEntry>> {
        self.sources.iter_mut().for_each(|source| source.read_to(self.next));
        let Some(next) = self.next.or_else(|| self.sources.iter().filter_map(Source::begins).min()) else {
            return self.end();
        };
        let mut found: Option<HistoryEntry> = None;
        for source in &mut self.sources {
            let Some(entry) = source.take(next) else { continue };
            match &found {
                Some(first) if first.entry != entry.entry => return Err(differ(first, &entry)),
                Some(_) => {}
                None => found = Some(entry),
            }
        }
        match found {
            Some(entry) => {
                self.next = Some(next + 1);
                Ok(Some(entry))
            }
            None => self.end(),
        }
    }

    /// What was read so far, by log.
    pub fn reports(&self) -> impl Iterator<Item = LogReport> + '_ {
        self.sources.iter().map(|source| source.reader.report())
    }

    /// Bytes of all logs: for a progress bar.
    pub fn bytes_total(&self) -> Result<u64> {
        self.sources.iter().map(|source| source.reader.bytes_total()).sum()
    }

    /// Bytes of all logs that were passed so far.
    #[must_use]
    pub fn bytes_passed(&self) -> u64 {
        self.sources.iter().map(|source| source.passed.bytes()).sum()
    }

    /// What is wrong with logs that the others made up for.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let failed = |source: &Source| match &source.head {
            Head::Failed(_, why) => Some(why.clone()),
            Head::Unread | Head::Entry(_) | Head::Gap { .. } | Head::End => None,
        };
        self.sources.iter().filter_map(failed).collect()
    }

    /// No log has the next entry: all ended, or what is missing is missing everywhere. Where one log ended in good order
    /// with the last entry, damage of another before it is made up for, unless that one went on: then the first is an
    /// older copy, and the history ends early.
    fn end(&mut self) -> Result<Option<HistoryEntry>> {
        let readable = self.next.and_then(|next| next.checked_sub(1));
        let whole = |source: &Source| matches!(source.head, Head::End) && source.last == readable;
        let in_order = readable.is_some() && self.sources.iter().any(whole) && self.missing().is_none();
        for source in &mut self.sources {
            if let Head::Failed(error, why) = &mut source.head {
                if in_order && source.reader.goes_on_to() <= readable {
                    continue;
                }
                return Err(match error.take() {
                    Some(error) => refusal(error, readable),
                    None => coded(NOT_HELD, why.clone()),
                });
            }
        }
        match self.missing() {
            None => Ok(None),
            Some((from, through)) => Err(coded(
                NOT_HELD,
                format!(
                    "entries {from} to {through} are not in this log: they came to this node in a snapshot, or retention \
                     removed them and its archive holds them (name it as one more --data). {}",
                    advice(readable)
                ),
            )),
        }
    }

    /// Entries that no log has although one knows of them.
    fn missing(&self) -> Option<(LogIndex, LogIndex)> {
        self.sources.iter().find_map(|source| match &source.head {
            Head::Gap { from, through } => Some((*from, *through)),
            Head::Entry(entry) => Some((self.next.unwrap_or(0), entry.entry.at.index.saturating_sub(1))),
            Head::Unread | Head::End | Head::Failed(..) => None,
        })
    }
}

impl Reader {
    fn next(&mut self) -> Option<Result<History, StorageError>> {
        match self {
            Reader::Here(reader) => reader.next(),
            Reader::Ahead(ahead, _) => ahead.next(),
        }
    }

    fn report(&self) -> LogReport {
        match self {
            Reader::Here(reader) => reader.report(),
            Reader::Ahead(ahead, _) => ahead.report(),
        }
    }

    /// See [`LogReader::goes_on_to`]; for one that failed.
    fn goes_on_to(&self) -> Option<LogIndex> {
        match self {
            Reader::Here(reader) => reader.goes_on_to(),
            Reader::Ahead(ahead, _) => ahead.goes_on_to(),
        }
    }

    fn bytes_total(&self) -> Result<u64> {
        match self {
            Reader::Here(reader) => Ok(reader.bytes_total()?),
            Reader::Ahead(_, bytes) => Ok(*bytes),
        }
    }
}

impl Source {
    /// Passes what lies before `next`.
    fn read_to(&mut self, next: Option<LogIndex>) {
        loop {
            let passed = match &self.head {
                Head::Unread => true,
                Head::Entry(entry) => next.is_some_and(|next| entry.entry.at.index < next),
                Head::Gap { through, .. } => next.is_some_and(|next| *through < next),
                Head::End | Head::Failed(..) => false,
            };
            if !passed {
                return;
            }
            self.head = match self.reader.next() {
                Some(Ok(History::Entry(entry))) => {
                    self.last = Some(entry.entry.at.index);
                    self.passed.note_entry(&entry);
                    Head::Entry(entry)
                }
                Some(Ok(History::Gap { from, through })) => Head::Gap { from, through },
                Some(Err(error)) => {
                    let why = error.to_string();
                    Head::Failed(Some(error), why)
                }
                None => Head::End,
            };
        }
    }

    fn begins(&self) -> Option<LogIndex> {
        match &self.head {
            Head::Entry(entry) => Some(entry.entry.at.index),
            Head::Gap { from, .. } => Some(*from),
            Head::Unread | Head::End | Head::Failed(..) => None,
        }
    }

    fn take(&mut self, index: LogIndex) -> Option<HistoryEntry> {
        match std::mem::replace(&mut self.head, Head::Unread) {
            Head::Entry(entry) if entry.entry.at.index == index => Some(entry),
            other => {
                self.head = other;
                None
            }
        }
    }
}

fn differ(first: &HistoryEntry, second: &HistoryEntry) -> anyhow::Error {
    coded(
        NOT_HELD,
        format!(
            "entry {} differs: {} at offset {} (term {}) and {} at offset {} (term {}). Two nodes of one cluster never \
             commit different entries: one of these folders is of another life or was altered. `muster replay diff` \
             compares two folders",
            first.entry.at.index,
            first.file.display(),
            first.offset,
            first.entry.at.term,
            second.file.display(),
            second.offset,
            second.entry.at.term,
        ),
    )
}
