//! A log that a thread of its own reads: files, checksums and keys on one core, while the fold has another.

use anyhow::{Context as _, Result};
use events::ids::LogIndex;
use nodes::storage::error::StorageError;
use nodes::storage::log_reader::{History, LogReader, LogReport};
use std::io;
use std::path::PathBuf;
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
    /// The last part was taken.
    ended: bool,
}

struct Part {
    history: Vec<Result<History, StorageError>>,
    /// Nothing comes after it. Only this says so: a thread that is gone without it read no end.
    is_last: bool,
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
        Ok(Ahead { parts, part: Vec::new().into_iter(), report, goes_on_to: None, ended: false })
    }

    pub(super) fn next(&mut self) -> Option<Result<History, StorageError>> {
        if self.part.len() == 0 && !self.ended {
            let Ok(Part { history, is_last, report, goes_on_to }) = self.parts.recv() else {
                self.ended = true;
                return Some(Err(gone()));
            };
            (self.part, self.ended) = (history.into_iter(), is_last);
            (self.report, self.goes_on_to) = (report, goes_on_to);
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

fn gone() -> StorageError {
    let why = "the thread that reads the log ahead ended before the log did: a fault of this program, said above; please \
               report it";
    StorageError::Io { doing: "reading", path: PathBuf::from("the log"), source: io::Error::other(why) }
}

fn read(mut reader: LogReader, sender: &SyncSender<Part>) {
    loop {
        let history: Vec<_> = reader.by_ref().take(PART).collect();
        let is_last = history.len() < PART;
        // Whoever stopped before the end listens no more.
        let failed = history.last().is_some_and(Result::is_err);
        let goes_on_to = failed.then(|| reader.goes_on_to()).flatten();
        if sender.send(Part { history, is_last, report: reader.report(), goes_on_to }).is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_gone_without_the_end_of_the_log_is_an_error_and_no_end() {
        let (sender, parts) = sync_channel(PARTS_AHEAD);
        let report = LogReport::default();
        let mut ahead = Ahead { parts, part: Vec::new().into_iter(), report, goes_on_to: None, ended: false };
        let gap = |from| Ok(History::Gap { from, through: from });
        let part =
            |history, is_last| Part { history, is_last, report: LogReport::default(), goes_on_to: None };
        let reads = std::thread::spawn(move || {
            sender.send(part(vec![gap(1), gap(2)], false)).is_ok().then(|| panic!("planted"))
        });
        assert!(reads.join().is_err());
        assert!(matches!([ahead.next(), ahead.next()], [Some(Ok(_)), Some(Ok(_))]));
        assert!(matches!(ahead.next(), Some(Err(StorageError::Io { .. }))));
        assert!(ahead.next().is_none(), "it is said once");
    }
}
