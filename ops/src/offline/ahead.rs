//! A log that a thread of its own reads: files, checksums and keys on one core, while the fold has another.

use anyhow::{Context as _, Result};
use events::ids::LogIndex;
use nodes::storage::error::StorageError;
use nodes::storage::log_reader::{History, LogReader, LogReport};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Stretches that are handed over at once: often enough that nobody waits, seldom enough that the handing costs nothing.
const PART: usize = 64;
/// Parts that may wait to be folded.
const PARTS_AHEAD: usize = 16;

pub(super) struct Ahead {
    parts: Receiver<Part>,
    part: std::vec::IntoIter<Result<History, StorageError>>,
    report: LogReport,
    goes_on_to: Option<LogIndex>,
}

struct Part {
    history: Vec<Result<History, StorageError>>,
    /// What was read up to the end of this part.
    report: LogReport,
    /// See [`LogReader::goes_on_to`], where the log failed.
    goes_on_to: Option<LogIndex>,
}

impl Ahead {
    /// The thread ends with the log, or soon after this is dropped.
    pub(super) fn of(reader: LogReader) -> Result<Self> {
        let report = reader.report();
        let (sender, parts) = sync_channel(PARTS_AHEAD);
        std::thread::Builder::new()
            .name("muster-reader".to_owned())
            .spawn(move || read(reader, &sender))
            .context("starting a thread that reads ahead")?;
        Ok(Ahead { parts, part: Vec::new().into_iter(), report, goes_on_to: None })
    }

    pub(super) fn next(&mut self) -> Option<Result<History, StorageError>> {
        if self.part.len() == 0 {
            let Part { history, report, goes_on_to } = self.parts.recv().ok()?;
            (self.part, self.report, self.goes_on_to) = (history.into_iter(), report, goes_on_to);
        }
        self.part.next()
    }

    /// See [`LogReader::goes_on_to`].
    pub(super) fn goes_on_to(&self) -> Option<LogIndex> {
        self.goes_on_to
    }

    /// What was read so far: at the end of the log all of it, before that somewhat more than was taken.
    pub(super) fn report(&self) -> LogReport {
        self.report.clone()
    }
}

fn read(mut reader: LogReader, sender: &SyncSender<Part>) {
    loop {
        let history: Vec<_> = reader.by_ref().take(PART).collect();
        let ended = history.len() < PART;
        // Whoever stopped before the end listens no more.
        let failed = history.last().is_some_and(Result::is_err);
        let goes_on_to = failed.then(|| reader.goes_on_to()).flatten();
        if sender.send(Part { history, report: reader.report(), goes_on_to }).is_err() || ended {
            return;
        }
    }
}
