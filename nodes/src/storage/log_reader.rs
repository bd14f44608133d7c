//! Reads the committed history of a node's log from its files, read-only, also while the node runs.
//!
//! Truncations are resolved, purged entries are still there, and gaps (what came in a snapshot and was never here, or was
//! removed by retention) are named. Entries that are not known committed are counted, not given.
//!
//! An archive directory is read as a log is: its manifest says what of its last segment was committed. Each copy in it
//! must be the one that its line names, and hold the history that it says.

pub use super::history::{History, HistoryEntry, LogReport, TornTail};

use super::disk::Disk;
use super::error::{CorruptionKind, StorageError};
use super::newest::Newest;
use super::retention::{Manifest, Retired};
use super::segment_file::{Owner, SegmentFile, numbers_of_segments, segment_number_of, segment_path};
use super::stream::{SegmentStream, Streamed};
use super::view::LogEntry;
use bytes::Bytes;
use events::ids::{ClusterId, LogIndex};
use events::log::keys::SegmentKeys;
use events::log::record::{PurgeFloor, Record};
use events::log::segment::{HEADER_BYTES, SegmentHeader};
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An iterator over history. Ends after the first error.
pub struct LogReader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    owner: Owner,
    segment: u64,
    /// The first that is here.
    first_segment: u64,
    last_segment: u64,
    /// Where the next segment begins is taken from its header: those before it are not here, or not read.
    trusts_next: bool,
    /// The first entry that nobody has been told of yet, where what comes next need not follow what was given.
    gap_from: Option<LogIndex>,
    /// The last entry that was given.
    given: Option<LogIndex>,
    /// Of an archive: what lies where, and what of it was committed.
    manifest: Option<Manifest>,
    /// Of an archive that is read from its first file on: the first and the last entry that each file gave.
    archived: Option<BTreeMap<u64, (LogIndex, LogIndex)>>,
    /// Of an archive: what lies up to here was committed.
    sure: Option<LogIndex>,
    current: Option<SegmentStream>,
    /// Where the frames of the segment before end.
    before: u64,
    pending: VecDeque<HistoryEntry>,
    ready: VecDeque<History>,
    report: LogReport,
    ended: bool,
    past_damage: bool,
    /// What says which segment was begun last is still to be held against what was read.
    checks_end: bool,
    /// A hole was passed in this segment: where the log stands is not known again before the next header.
    lost: bool,
}

impl LogReader {
    /// Opens the log in `dir`, whosever it is. A missing segment is an error once the reader comes to it: what lies
    /// before it can be read.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf, keys: SegmentKeys) -> Result<LogReader, StorageError> {
        let owner = Owner { cluster: None, node: None, keys };
        let numbers = numbers_of_segments(&*disk, &dir)?;
        let manifest = Manifest::read(&*disk, &dir)?;
        let retired = Retired::read(&*disk, &dir, &owner)?;
        let (mut first_segment, mut sure) = (retired.as_ref().map_or(1, |retired| retired.through + 1), None);
        if let Some(manifest) = &manifest {
            first_segment = numbers.first().copied().unwrap_or(1);
            sure = manifest.last_of(&numbers);
        }
        let mut reader = LogReader {
            disk,
            dir,
            owner,
            segment: first_segment - 1,
            first_segment,
            last_segment: numbers.last().copied().unwrap_or(0).max(first_segment - 1),
            trusts_next: false,
            gap_from: None,
            given: None,
            archived: manifest.is_some().then(BTreeMap::new),
            manifest,
            sure,
            current: None,
            before: 0,
            pending: VecDeque::new(),
            ready: VecDeque::new(),
            report: LogReport::default(),
            ended: false,
            past_damage: false,
            checks_end: false,
            lost: false,
        };
        if first_segment > 1 {
            reader.leave_out(retired.as_ref());
        }
        Ok(reader)
    }

    /// As [`LogReader::open`], but damage is passed over: what is intact and surely committed is given, and nothing says
    /// what is missing but the indices.
    pub fn open_past_damage(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        keys: SegmentKeys,
    ) -> Result<LogReader, StorageError> {
        Ok(LogReader { past_damage: true, ..LogReader::open(disk, dir, keys)? })
    }

    /// At its end it is held against what its node says of it: the loss of the last file is seen by that alone.
    #[must_use]
    pub fn checking_end(self) -> LogReader {
        LogReader { checks_end: true, ..self }
    }

    /// What comes next does not follow what was given.
    fn leave_out(&mut self, retired: Option<&Retired>) {
        self.trusts_next = true;
        self.pending.clear();
        self.gap_from = Some(self.given.map_or(0, |given| given + 1));
        if let Some(retired) = retired {
            self.report.retired_through = retired.standing().last.map(|last| last.index);
        }
    }

    /// Begins at the newest segment before which `index` was not written, so that no time is spent on what lies before.
    #[must_use]
    pub fn starting_near(self, index: LogIndex) -> Self {
        for segment in (self.first_segment + 1..=self.last_segment).rev() {
            let path = segment_path(&self.dir, segment);
            let Ok(file) = self.disk.open_read(&path) else { continue };
            let Ok(Ok((_, header))) = SegmentFile::open(path, file, segment, &self.owner) else { continue };
            if header.standing.last.is_none_or(|last| last.index < index) {
                return self.beginning_with(segment);
            }
        }
        self
    }

    /// Begins with `segment`, whatever lies before it.
    #[must_use]
    pub(super) fn beginning_with(self, segment: u64) -> Self {
        LogReader { segment: segment - 1, trusts_next: true, gap_from: None, archived: None, ..self }
    }

    /// Refuses another cluster's log by name.
    #[must_use]
    pub fn of_cluster(mut self, cluster: ClusterId) -> Self {
        self.owner.cluster = Some(cluster);
        self
    }

    #[must_use]
    pub fn report(&self) -> LogReport {
        LogReport { uncommitted: self.pending.len() as u64, ..self.report.clone() }
    }

    /// The last committed entry that anything intact names from the damage on at which this reader ended: so far the log
    /// went on. Reads the rest of the files.
    #[must_use]
    pub fn goes_on_to(&self) -> Option<LogIndex> {
        let (disk, dir, keys) = (Arc::clone(&self.disk), self.dir.clone(), self.owner.keys.clone());
        let mut rest = LogReader::open_past_damage(disk, dir, keys).ok()?.beginning_with(self.segment.max(1));
        let entries = rest.by_ref().map_while(Result::ok).filter_map(|history| match history {
            History::Entry(entry) => Some(entry.entry.at.index),
            History::Gap { .. } => None,
        });
        let given = entries.max();
        given.max(rest.report.standing.committed.map(|at| at.index))
    }

    /// Bytes of all segments that were there when the reader was opened: for a progress bar.
    pub fn bytes_total(&self) -> Result<u64, StorageError> {
        let length = |segment| {
            let path = segment_path(&self.dir, segment);
            match self.disk.open_read(&path) {
                Ok(file) => file.length().map_err(StorageError::io("reading the length of", &path)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
                Err(error) => Err(StorageError::io("opening", &path)(error)),
            }
        };
        (1..=self.last_segment).map(length).sum()
    }

    /// Reads on where the log ended when it was read last: for whoever follows a running node. Call it once the iterator
    /// ended without an error.
    pub fn read_further(&mut self) -> Result<(), StorageError> {
        let last = numbers_of_segments(&*self.disk, &self.dir)?.last().copied().unwrap_or(0);
        self.last_segment = last.max(self.last_segment);
        self.report.torn_tail = None;
        if let Some(current) = &mut self.current {
            self.report.bytes -= u64::from(current.offset);
            current.refresh()?;
        }
        self.ended = false;
        Ok(())
    }

    fn check_end(&mut self) -> Result<(), StorageError> {
        if !std::mem::take(&mut self.checks_end) || self.owner.cluster.is_none() {
            return Ok(());
        }
        let mut newest = Newest::examine(&*self.disk, &self.dir, &self.owner)?;
        loop {
            let Some(begun) = newest.map(|newest| newest.segment).filter(|begun| *begun > self.segment)
            else {
                return Ok(());
            };
            // Its node began it while this one was read; there may be nothing in it yet but its header.
            let path = segment_path(&self.dir, begun);
            if let Ok(file) = self.disk.open_read(&path)
                && SegmentFile::open(path.clone(), file, begun, &self.owner)
                    .is_ok_and(|opened| opened.is_ok())
            {
                return Ok(());
            }
            // Or its node takes it away just now, and begins another in its place: then it says so before.
            let said = std::mem::replace(&mut newest, Newest::examine(&*self.disk, &self.dir, &self.owner)?);
            if newest == said {
                return Err(StorageError::corrupt(&path, 0, CorruptionKind::Missing));
            }
        }
    }

    /// Takes one step; `false` at the end of the log.
    fn read_on(&mut self) -> Result<bool, StorageError> {
        let Some(mut current) = self.current.take() else {
            return match self.open_next() {
                Err(StorageError::Corrupt(_)) if self.past_damage => {
                    self.lose_track();
                    Ok(self.segment < self.last_segment)
                }
                opened => opened,
            };
        };
        let stepped = match current.step() {
            Err(StorageError::Corrupt(_)) | Ok(Streamed::TornTail(_)) if self.past_damage => {
                self.lose_track();
                let more = current.pass_hole()?;
                self.current = more.then_some(current);
                return Ok(more || self.segment < self.last_segment);
            }
            stepped => stepped?,
        };
        match stepped {
            Streamed::Record(record, offset) => {
                self.report.frames += 1;
                self.take(&current, record, offset)?;
                self.current = Some(current);
                Ok(true)
            }
            Streamed::End if self.segment < self.last_segment => {
                self.finish(&current);
                Ok(true)
            }
            Streamed::End => {
                self.pause(current)?;
                Ok(false)
            }
            Streamed::TornTail(_) if self.segment == self.last_segment => {
                self.report.torn_tail = Some(tail(&current));
                self.pause(current)?;
                Ok(false)
            }
            Streamed::TornTail(damage) => Err(current.file.corrupt(current.offset, damage)),
        }
    }

    /// What was read but not known committed may have been replaced in the hole.
    fn lose_track(&mut self) {
        self.pending.clear();
        self.lost = true;
    }

    fn finish(&mut self, current: &SegmentStream) {
        self.before = u64::from(current.offset);
        self.report.bytes += self.before;
    }

    /// The end of the last segment, as far as it is written: a node may go on there.
    fn pause(&mut self, current: SegmentStream) -> Result<(), StorageError> {
        self.report.bytes += u64::from(current.offset);
        self.current = Some(current);
        let Some(sure) = self.sure else { return Ok(()) };
        // The frames have the last word: a line that says more is not of this file.
        let pending = self.pending.iter().rev().map(|entry| entry.entry.at.index);
        let reached = pending.into_iter().find(|index| *index <= sure).max(self.given);
        if reached < Some(sure) && !self.past_damage {
            return Err(self.other_than_the_manifest(self.segment, Some(sure), reached));
        }
        self.release(sure);
        self.check_against_the_manifest()
    }

    /// No file gives history that its line does not name. It may give less: what a later repair wrote anew is in a later file.
    fn check_against_the_manifest(&self) -> Result<(), StorageError> {
        let (Some(manifest), Some(archived)) = (&self.manifest, &self.archived) else { return Ok(()) };
        if self.past_damage {
            return Ok(());
        }
        for (segment, (first, last)) in archived {
            let Some(line) = manifest.find(*segment) else { continue };
            let is_named = line.first.is_some_and(|named| named <= *first) && line.last >= Some(*last);
            if !is_named {
                return Err(self.other_than_the_manifest(*segment, line.last, Some(*last)));
            }
        }
        Ok(())
    }

    fn other_than_the_manifest(
        &self,
        segment: u64,
        said: Option<LogIndex>,
        found: Option<LogIndex>,
    ) -> StorageError {
        let what = CorruptionKind::NotAsTheManifest { said, found };
        StorageError::corrupt(&segment_path(&self.dir, segment), 0, what)
    }

    fn open_next(&mut self) -> Result<bool, StorageError> {
        if self.segment == self.last_segment {
            return Ok(false);
        }
        self.segment += 1;
        let is_last = self.segment == self.last_segment;
        let path = segment_path(&self.dir, self.segment);
        let file = match self.disk.open_read(&path) {
            Ok(file) => file,
            // A node that opens its log removes a last segment without frames.
            Err(error) if is_last && error.kind() == ErrorKind::NotFound => {
                self.segment -= 1;
                return Ok(false);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Retention may have removed it since this reader was opened.
                let retired = Retired::read(&*self.disk, &self.dir, &self.owner)?;
                let Some(retired) = retired.filter(|retired| retired.through >= self.segment) else {
                    return Err(StorageError::corrupt(&path, 0, CorruptionKind::Missing));
                };
                (self.segment, self.first_segment) = (retired.through, retired.through + 1);
                self.leave_out(Some(&retired));
                return Ok(true);
            }
            Err(error) => return Err(StorageError::io("opening", &path)(error)),
        };
        let length = file.length().map_err(StorageError::io("reading the length of", &path))?;
        let (file, header) = match SegmentFile::open(path.clone(), file, self.segment, &self.owner)? {
            Ok(opened) => opened,
            // A node that creates a segment has not written its header yet; there are frames only after one.
            Err(_) if is_last && length <= HEADER_BYTES as u64 => {
                self.segment -= 1;
                return Ok(false);
            }
            Err(damage) => return Err(StorageError::corrupt(&path, 0, damage)),
        };
        if let Some(manifest) = self.manifest.as_ref().filter(|_| !self.past_damage) {
            manifest.check_copy(&*self.disk, &self.dir, self.segment)?;
        }
        self.check_follows(&path, &header)?;
        self.current = Some(SegmentStream::open(file)?);
        self.report.segments += 1;
        Ok(true)
    }

    fn check_follows(&mut self, path: &Path, header: &SegmentHeader) -> Result<(), StorageError> {
        if std::mem::take(&mut self.trusts_next) {
            self.before = header.previous_length;
            self.report.standing = header.standing;
        }
        let found = self.before;
        if self.lost {
            self.lost = false;
            self.report.standing = header.standing;
            if let Some(committed) = header.standing.committed {
                self.release(committed.index);
            }
        }
        if found != header.previous_length && !self.past_damage {
            let before = segment_path(&self.dir, self.segment - 1);
            let what = CorruptionKind::Length { expected: header.previous_length, found };
            return Err(StorageError::corrupt(&before, found.min(header.previous_length), what));
        }
        if header.standing != self.report.standing {
            // The file before was another one than this header knew: nothing of it is sure.
            self.lose_track();
            return Err(StorageError::corrupt(path, 0, CorruptionKind::Standpoint));
        }
        let identity = header.identity;
        (self.owner.cluster, self.owner.node) = (Some(identity.cluster), Some(identity.node));
        (self.report.cluster, self.report.node) = (Some(identity.cluster), Some(identity.node));
        Ok(())
    }

    fn take(
        &mut self,
        current: &SegmentStream,
        record: Record<Bytes>,
        offset: u32,
    ) -> Result<(), StorageError> {
        if !self.lost {
            self.report.standing.follow(&record).map_err(|error| current.file.corrupt(offset, error))?;
        }
        match record {
            Record::Entry { at, body } => self.pending.push_back(HistoryEntry {
                entry: LogEntry { at, body },
                file: Arc::clone(&current.path),
                offset: u64::from(offset),
            }),
            Record::Truncation { keep } => {
                let kept = |entry: &HistoryEntry| keep.is_some_and(|keep| entry.entry.at.index <= keep.index);
                while self.pending.pop_back_if(|entry| !kept(entry)).is_some() {}
            }
            Record::Committed(position) => self.release(position.index),
            Record::PurgeFloor(purge) => self.take_floor(purge),
            Record::Vote(_) | Record::Closed => {}
        }
        Ok(())
    }

    fn take_floor(&mut self, PurgeFloor { floor, history_through }: PurgeFloor) {
        if let Some(through) = history_through {
            self.release(through);
        }
        while self.pending.pop_front_if(|entry| entry.entry.at.index <= floor.index).is_some() {}
        let from = history_through.map_or(0, |through| through + 1);
        if from <= floor.index {
            let from = self.gap_from.take().map_or(from, |gap| gap.min(from));
            self.ready.push_back(History::Gap { from, through: floor.index });
            self.given = Some(floor.index);
        }
    }

    /// Everything up to `through` is history.
    fn release(&mut self, through: LogIndex) {
        while let Some(entry) = self.pending.pop_front_if(|entry| entry.entry.at.index <= through) {
            self.report.entries += 1;
            let index = entry.entry.at.index;
            if let Some(from) = self.gap_from.take().filter(|from| *from < index) {
                self.ready.push_back(History::Gap { from, through: index - 1 });
            }
            self.given = Some(index);
            if let Some((archived, segment)) = self.archived.as_mut().zip(segment_number_of(&entry.file)) {
                archived.entry(segment).or_insert((index, index)).1 = index;
            }
            self.ready.push_back(History::Entry(entry));
        }
    }
}

fn tail(current: &SegmentStream) -> TornTail {
    let (file, offset) = (current.path.to_path_buf(), u64::from(current.offset));
    TornTail { file, offset, bytes: current.bytes_left() }
}

impl Iterator for LogReader {
    type Item = Result<History, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && !self.ended {
            match self.read_on() {
                Ok(true) => {}
                Ok(false) => {
                    self.ended = true;
                    if let Err(error) = self.check_end() {
                        return Some(Err(error));
                    }
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }
}
