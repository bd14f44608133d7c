//! A node's log read from its files: read-only, beside a running node or without one.

use crate::exit::{NOT_HELD, coded};
use crate::files::read_text;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use events::batch::split_stamp;
use events::ids::LogIndex;
use events::keyring::Keyring;
use events::log::record::{EntryBody, LogPosition};
use nodes::storage::disk::OsDisk;
use nodes::storage::log_reader::{History, HistoryEntry, LogReader, LogReport};
use projector::{Outcomes, Projector};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Reads a cluster's keyring from its file.
pub fn read_keyring(path: &Path) -> Result<Keyring> {
    let text = Zeroizing::new(read_text(path)?);
    Keyring::from_json(&text).with_context(|| format!("{} is no keyring", path.display()))
}

/// Opens the log of the node whose data directory is `data`; refuses another cluster's by name.
pub fn open_log(data: &Path, keyring: &Keyring) -> Result<LogReader> {
    let log = log_folder(data)?;
    let keys = keyring.segment_keys().context("the keyring's keys for segments")?;
    let reader = LogReader::open(Arc::new(OsDisk), log, keys)
        .with_context(|| format!("opening the log in {}", data.display()))?;
    Ok(reader.of_cluster(keyring.cluster))
}

/// The folder of segments: `data` itself or the `log` in it.
fn log_folder(data: &Path) -> Result<PathBuf> {
    let within = data.join(nodes::node::core::LOG_FOLDER);
    match (within.is_dir(), data.is_dir()) {
        (true, _) => Ok(within),
        (false, true) => Ok(data.to_owned()),
        (false, false) => bail!("{} is no directory; expected a node's data directory", data.display()),
    }
}

/// A node's history, folded entry by entry.
pub struct Fold {
    reader: LogReader,
    /// Read, but past the index that was asked for.
    held: Option<HistoryEntry>,
    projector: Projector,
}

/// One entry that was folded.
pub struct Folded {
    pub index: LogIndex,
    pub term: u64,
    /// The batch's bytes and what became of it; none for an entry without a batch.
    pub batch: Option<(Bytes, Outcomes)>,
}

impl Fold {
    #[must_use]
    pub fn new(reader: LogReader) -> Self {
        Fold { reader, held: None, projector: Projector::new() }
    }

    /// Folds the next entry; none at the end of the history, or if the next entry's index is above `until`.
    pub fn next_within(&mut self, until: LogIndex) -> Result<Option<Folded>> {
        let entry = match self.held.take() {
            Some(entry) => entry,
            None => match self.read()? {
                Some(entry) => entry,
                None => return Ok(None),
            },
        };
        if entry.entry.at.index > until {
            self.held = Some(entry);
            return Ok(None);
        }
        self.apply(&entry).map(Some)
    }

    /// The state so far.
    pub fn projector(&mut self) -> &mut Projector {
        &mut self.projector
    }

    /// What was read so far.
    #[must_use]
    pub fn report(&self) -> LogReport {
        self.reader.report()
    }

    fn read(&mut self) -> Result<Option<HistoryEntry>> {
        match self.reader.next().transpose().map_err(|error| coded(NOT_HELD, error.to_string()))? {
            None => Ok(None),
            Some(History::Entry(entry)) => Ok(Some(entry)),
            Some(History::Gap { from, through }) => Err(coded(
                NOT_HELD,
                format!(
                    "entries {from} to {through} came to this node in a snapshot and are not in its log; replay the \
                     log of another node"
                ),
            )),
        }
    }

    fn apply(&mut self, entry: &HistoryEntry) -> Result<Folded> {
        let LogPosition { term, index } = entry.entry.at;
        let at = || format!("{} at byte {}", entry.file.display(), entry.offset);
        let payload = match &entry.entry.body {
            EntryBody::Blank | EntryBody::Membership(_) => {
                self.projector.skip(index).with_context(at)?;
                return Ok(Folded { index, term, batch: None });
            }
            EntryBody::Batch(payload) => payload,
        };
        let applied = self.projector.apply(index, payload).with_context(at)?;
        let (stamp, _) = split_stamp(payload).with_context(at)?;
        Ok(Folded { index, term, batch: Some((payload.slice(size_of_val(&stamp)..), applied.outcomes)) })
    }
}
