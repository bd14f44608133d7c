//! A log's history, folded entry by entry.

use super::logs::Logs;
use super::moment::Moment;
use super::unknown::without_unknown;
use crate::exit::{NOT_HELD, coded};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use events::batch::{BatchError, split_stamp};
use events::ids::LogIndex;
use events::log::record::{EntryBody, LogPosition};
use events::time::Timestamp;
use events::vocabulary::EventError;
use nodes::storage::log_reader::{HistoryEntry, LogReport};
use projector::settings::Settings;
use projector::{Applied, ApplyError, Change, Effect, Outcomes, Projector};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The fold over one or several nodes' logs.
pub struct Fold {
    logs: Logs,
    /// Read, but past the moment that was asked for.
    held: Option<HistoryEntry>,
    projector: Projector,
    skip_unknown: bool,
    skipped: BTreeMap<u16, u64>,
    /// An entry was folded.
    begun: bool,
    /// The logs were read to their end.
    ended: bool,
    entries: u64,
    events: u64,
}

/// One entry that was folded.
pub struct Folded {
    pub index: LogIndex,
    pub term: u64,
    /// The batch's bytes and what became of it; none for an entry without a batch.
    pub batch: Option<(Bytes, Outcomes)>,
    pub changes: Vec<Change>,
    pub effects: Vec<Effect>,
    pub file: Arc<Path>,
    /// Of its frame, in bytes.
    pub offset: u64,
}

impl Fold {
    #[must_use]
    pub fn new(logs: impl Into<Logs>) -> Self {
        Fold {
            logs: logs.into(),
            held: None,
            projector: Projector::new(),
            skip_unknown: false,
            skipped: BTreeMap::new(),
            begun: false,
            ended: false,
            entries: 0,
            events: 0,
        }
    }

    /// Goes by other numbers than live nodes do.
    #[must_use]
    pub fn under(mut self, settings: Settings) -> Self {
        self.projector = Projector::with_settings(settings);
        self
    }

    /// Passes over events of kinds that this version does not know, and counts them. A live node halts there: only
    /// somebody who reads may go on, and the state is then another than the cluster's.
    #[must_use]
    pub fn skipping_unknown(mut self, skip: bool) -> Self {
        self.skip_unknown = skip;
        self
    }

    /// Folds the next entry; none at the end of the history, or if the next entry's index is above `until`.
    pub fn next_within(&mut self, until: LogIndex) -> Result<Option<Folded>> {
        self.next_up_to(Moment::Index(until))
    }

    /// Folds the next entry; none at the end of the history, or if the next entry lies behind `until`.
    pub fn next_up_to(&mut self, until: Moment) -> Result<Option<Folded>> {
        match self.read_up_to(until)? {
            Some(entry) => self.apply(&entry).map(Some),
            None => Ok(None),
        }
    }

    /// The entry that comes next, not folded yet; hand it to [`Fold::apply`].
    pub fn read_up_to(&mut self, until: Moment) -> Result<Option<HistoryEntry>> {
        // What lies behind the last index asked for is not even looked at: it may be damaged.
        if let Moment::Index(until) = until
            && self.begun
            && self.projector.applied() >= until
        {
            return Ok(None);
        }
        let entry = match self.held.take() {
            Some(entry) => entry,
            None => match self.logs.next_entry()? {
                Some(entry) => entry,
                None => {
                    self.ended = true;
                    return Ok(None);
                }
            },
        };
        if !until.includes(&entry, self.projector.stamp()) {
            self.held = Some(entry);
            return Ok(None);
        }
        Ok(Some(entry))
    }

    /// Folds everything up to `until`. An index that the log does not reach is an error: the state there is unknown.
    pub fn run_to(&mut self, until: Moment) -> Result<()> {
        while self.next_up_to(until)?.is_some() {}
        self.check_reached(until)
    }

    /// Refuses if the log ends before the index that was asked for.
    pub fn check_reached(&self, until: Moment) -> Result<()> {
        let applied = self.projector.applied();
        match until {
            Moment::Index(asked) if asked != LogIndex::MAX && applied < asked => Err(coded(
                NOT_HELD,
                format!(
                    "the log ends at entry {applied}, as far as it is known committed; there is no entry {asked}"
                ),
            )),
            Moment::Index(_) | Moment::Time(_) => Ok(()),
        }
    }

    /// The state so far.
    pub fn projector(&mut self) -> &mut Projector {
        &mut self.projector
    }

    /// The state so far, to look at.
    #[must_use]
    pub fn state(&self) -> &Projector {
        &self.projector
    }

    /// Log time so far.
    #[must_use]
    pub fn stamp(&self) -> Timestamp {
        self.projector.stamp()
    }

    /// Events passed over, by kind.
    #[must_use]
    pub fn skipped(&self) -> &BTreeMap<u16, u64> {
        &self.skipped
    }

    /// Entries folded so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Events folded so far, heartbeats included.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Bytes of all logs' files that were passed so far, of [`Logs::bytes_total`].
    #[must_use]
    pub fn bytes_passed(&self) -> u64 {
        self.logs.bytes_passed()
    }

    /// What was read so far, in all logs together; what of it is not known committed says [`Fold::uncommitted`].
    #[must_use]
    pub fn report(&self) -> LogReport {
        let mut reports = self.logs.reports();
        let first = reports.next().unwrap_or_default();
        reports.fold(first, |sum, report| LogReport {
            node: None,
            segments: sum.segments + report.segments,
            frames: sum.frames + report.frames,
            bytes: sum.bytes + report.bytes,
            entries: sum.entries.max(report.entries),
            ..sum
        })
    }

    /// Entries behind the last one that some log holds and none knows committed; none if they were not read to their end.
    #[must_use]
    pub fn uncommitted(&self) -> Option<u64> {
        let applied = self.projector.applied();
        let last = self.logs.reports().filter_map(|report| report.standing.last).map(|last| last.index);
        let above = |last: LogIndex| last.saturating_sub(applied);
        self.ended.then(|| last.map(above).max().unwrap_or(0))
    }

    /// What is wrong with logs that the others made up for.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        self.logs.troubles()
    }

    /// Folds the entry that [`Fold::read_up_to`] gave.
    pub fn apply(&mut self, entry: &HistoryEntry) -> Result<Folded> {
        let LogPosition { term, index } = entry.entry.at;
        let at = || format!("{} at offset {}", entry.file.display(), entry.offset);
        self.begun = true;
        let folded = |batch, changes, effects| Folded {
            index,
            term,
            batch,
            changes,
            effects,
            file: Arc::clone(&entry.file),
            offset: entry.offset,
        };
        let payload = match &entry.entry.body {
            EntryBody::Blank | EntryBody::Membership(_) => {
                self.projector.skip(index).with_context(at)?;
                self.entries += 1;
                return Ok(folded(None, Vec::new(), Vec::new()));
            }
            EntryBody::Batch(payload) => payload,
        };
        let (applied, payload) =
            self.apply_batch(index, payload).map_err(|error| unreadable(&error, at()))?;
        let (stamp, _) = split_stamp(&payload).with_context(at)?;
        self.entries += 1;
        self.events += (applied.outcomes.events.len() + applied.outcomes.heartbeats.len()) as u64;
        Ok(folded(
            Some((payload.slice(size_of_val(&stamp)..), applied.outcomes)),
            applied.changes,
            applied.effects,
        ))
    }

    fn apply_batch(&mut self, index: LogIndex, payload: &Bytes) -> Result<(Applied, Bytes), ApplyError> {
        match self.projector.apply(index, payload) {
            Err(ApplyError::Entry { source: BatchError::Event(EventError::UnknownKind(_)), .. })
                if self.skip_unknown =>
            {
                let known = without_unknown(payload, &mut self.skipped);
                let known = known.map_err(|source| ApplyError::Entry { index, source })?;
                Ok((self.projector.apply(index, &known)?, known))
            }
            other => Ok((other?, payload.clone())),
        }
    }
}

fn unreadable(error: &ApplyError, at: String) -> anyhow::Error {
    let readable = match error {
        ApplyError::OutOfOrder { applied, .. } | ApplyError::Gap { applied, .. } => *applied,
        ApplyError::Entry { index, .. } => index.saturating_sub(1),
    };
    coded(NOT_HELD, format!("{at}: {error}. What lies before it can be read with --until {readable}"))
}
