//! Retention: sealed segments are copied to an archive directory, and only then, and only where an operator said so,
//! removed from the node.
//!
//! ```text
//!   log/segment-k ─ copied, synced ─▶ archive/segment-k ─▶ a line in archive/manifest.jsonl, synced
//!        │                                                        │ only after that
//!        └── removed ◀── log/retired.json, synced ◀── older or more than the node is to keep
//! ```
//!
//! - What an open of the log would read is never touched: everything from the newest segment on that begins at or below
//!   the purge floor. So what goes was committed, applied, and lies below the snapshot.
//! - A segment goes only as the first of those that are left, so that what is here is one stretch.
//! - Every remaining segment carries the mark of the log's birth, and at least one always remains: a log whose beginning
//!   was removed is no empty log.
//! - Whenever the power goes, a segment is in the log, or in the archive with its line, or in both.
//! - A copy is read back, frame by frame, before its line is written; and read again before the original goes.
//! - Damage ends it there: what lies before is archived and removed all the same, and what is damaged is told each time.
//! - Where the archive shares the log's disk, no copy is made of what the log needs (disk_reserve_bytes).

mod headers;
mod manifest;
mod retired;

pub use manifest::{ArchivedSegment, MANIFEST_FILE, Manifest};
pub(super) use retired::Retired;

use super::disk::Disk;
use super::error::{Corruption, StorageError};
use super::json_file::remove_if_there;
use super::log_reader::{History, HistoryEntry, LogReader};
use super::segment_file::{
    Owner, SegmentFile, numbers_of_segments, read_range, segment_number_of, segment_path,
};
use super::stream::{SegmentStream, Streamed};
use events::batch::split_stamp;
use events::ids::{ClusterId, LogIndex, NodeId};
use events::log::keys::SegmentKeys;
use events::log::record::EntryBody;
use events::log::segment::SegmentIdentity;
use events::time::Timestamp;
use headers::Headers;
use manifest::digest_of;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes copied at a time.
const COPIED_BYTES: usize = 1024 * 1024;

/// One log and its archive. Blocks on the disk, as everything here.
pub struct Retention {
    disk: Arc<dyn Disk>,
    log: PathBuf,
    archive: PathBuf,
    owner: Owner,
    /// Bytes that a copy must leave free on the disk of the log.
    reserve_bytes: u64,
}

/// A segment that is archived and still in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelved {
    pub segment: u64,
    pub bytes: u64,
    /// When the last of its entries was stamped; none if nothing in it has a stamp.
    pub last_stamp: Option<Timestamp>,
}

/// What lies where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Bytes of all segments in the log.
    pub log_bytes: u64,
    pub archived_segments: u64,
    pub archived_bytes: u64,
    /// The last entry that is archived.
    pub archived_through: Option<LogIndex>,
    /// Those that may be removed, oldest first.
    pub shelved: Vec<Shelved>,
    /// Why nothing after them is archived, where that is damage.
    pub damage: Option<String>,
}

/// What of the history one file holds.
#[derive(Clone, Copy, Default)]
struct Held {
    entries: Option<(LogIndex, LogIndex)>,
    stamps: Option<(Timestamp, Timestamp)>,
}

/// What was read of the history, and what ended that.
#[derive(Default)]
struct LookedThrough {
    held: BTreeMap<u64, Held>,
    /// The last entry that is told of.
    given: Option<LogIndex>,
    ended: Option<Corruption>,
}

impl Retention {
    /// `log` is a folder of segments of this node, `archive` the folder that keeps copies of them and nothing else.
    #[must_use]
    pub fn new(
        disk: Arc<dyn Disk>,
        (log, archive): (PathBuf, PathBuf),
        (cluster, node): (ClusterId, NodeId),
        keys: SegmentKeys,
    ) -> Self {
        let owner = Owner { cluster: Some(cluster), node: Some(node), keys };
        Retention { disk, log, archive, owner, reserve_bytes: 0 }
    }

    /// Leaves so many bytes free for the log, if the archive is on its disk.
    #[must_use]
    pub fn leaving_free(self, reserve_bytes: u64) -> Self {
        Retention { reserve_bytes, ..self }
    }

    /// Copies every segment that may be archived and is not yet; each is read and checked as a whole before. What is
    /// damaged is named ([`Holdings::damage`]), and it and all after it stay where they are.
    pub fn archive(&self) -> Result<Holdings, StorageError> {
        match self.disk.list(&self.log) {
            // Nothing was ever fetched to fill a gap.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Holdings::default()),
            Ok(_) | Err(_) => {}
        }
        let known = Manifest::read(&*self.disk, &self.archive)?;
        if let Some(known) = &known {
            Retired::restore(&*self.disk, &self.log, &self.owner, known)?;
        }
        let headers = Headers::read(&*self.disk, &self.log, &self.owner)?;
        let mut damage = headers.damage.clone();
        if headers.history().next().is_none() && known.is_none() {
            let damage = damage.map(|damage| damage.to_string());
            return Ok(Holdings { log_bytes: headers.bytes(), damage, ..Holdings::default() });
        }
        let mut manifest = Manifest::open(&*self.disk, &self.archive, &self.owner)?;
        if let Some(other) = headers.history().find(|it| manifest.find(it.segment).is_some_and(is_not(*it))) {
            self.set_aside(other.segment)?;
        }
        let mut missing = Vec::new();
        for identity in headers.history() {
            // A copy that went is made again, while the original is there.
            let is_there = match manifest.find(identity.segment).filter(|line| !is_not(identity)(line)) {
                Some(line) => manifest.has_copy(&*self.disk, line, false)?,
                None => false,
            };
            if !is_there {
                missing.push(identity);
            }
        }
        if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
            let LookedThrough { held, given, ended } = self.look_through(first.segment, last.segment)?;
            // Which entries of a segment were agreed on may stand in the damaged one.
            let is_sure = |it: &SegmentIdentity| ended.is_none() || headers.last_after(it.segment) <= given;
            for identity in missing.iter().copied().take_while(is_sure) {
                let held = held.get(&identity.segment).copied().unwrap_or_default();
                manifest.add(&*self.disk, self.copy(identity, held)?)?;
            }
            damage = ended.or(damage);
        }
        let shelved = headers.history().map_while(|SegmentIdentity { segment, .. }| {
            let line = manifest.find(segment)?;
            Some(Shelved { segment, bytes: line.bytes, last_stamp: line.last_stamp })
        });
        let damage = damage.map(|damage| damage.to_string());
        Ok(Holdings { log_bytes: headers.bytes(), shelved: shelved.collect(), damage, ..manifest.holdings() })
    }

    /// What was archived before, while nothing of the log may be archived or removed.
    pub fn archived(&self) -> Result<Holdings, StorageError> {
        let manifest = Manifest::read(&*self.disk, &self.archive)?;
        Ok(manifest.map(|manifest| manifest.holdings()).unwrap_or_default())
    }

    /// Removes the segments up to `through` from the log, all of which are archived.
    pub fn retire(&self, through: u64) -> Result<(), StorageError> {
        let headers = Headers::read(&*self.disk, &self.log, &self.owner)?;
        let manifest = Manifest::open(&*self.disk, &self.archive, &self.owner)?;
        let mut last = None;
        for it in headers.history().take_while(|it| it.segment <= through) {
            let Some(line) = manifest.find(it.segment).filter(|line| !is_not(it)(line)) else { break };
            if !manifest.has_copy(&*self.disk, line, true)? {
                tracing::error!(
                    file = line.file,
                    "the archive does not hold the copy that it names: nothing after it goes"
                );
                break;
            }
            last = Some(it);
        }
        let Some(last) = last else { return Ok(()) };
        let Some(retired) = headers.retired_through(last.segment) else { return Ok(()) };
        retired.persist(&*self.disk, &self.log, &self.owner)?;
        retired.remove_files(&*self.disk, &self.log)
    }

    /// A repair wrote segments anew under the numbers of damaged ones: copies of those from `first` on make room for copies
    /// of these, and are kept beside them. All that they held is in the log.
    fn set_aside(&self, first: u64) -> Result<(), StorageError> {
        let (disk, dir) = (&*self.disk, &self.archive);
        for segment in numbers_of_segments(disk, dir)?.into_iter().filter(|segment| *segment >= first) {
            let path = segment_path(dir, segment);
            let aside = path.with_extension("log.replaced");
            disk.rename(&path, &aside).map_err(StorageError::io("renaming to", &aside))?;
        }
        disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))
    }

    /// What of the history the files of these segments hold: which entries in them were agreed on is said later in the log.
    fn look_through(&self, first: u64, last: u64) -> Result<LookedThrough, StorageError> {
        let mut seen = LookedThrough::default();
        let reader = LogReader::open(Arc::clone(&self.disk), self.log.clone(), self.owner.keys.clone())?;
        for history in reader.beginning_with(first) {
            let entry = match history {
                Ok(History::Entry(entry)) => entry,
                Ok(History::Gap { through, .. }) => {
                    seen.given = Some(through);
                    continue;
                }
                Err(StorageError::Corrupt(damage)) => {
                    seen.ended = Some(damage);
                    break;
                }
                Err(other) => return Err(other),
            };
            let Some(segment) = segment_number_of(&entry.file) else { continue };
            if segment > last {
                break;
            }
            seen.given = Some(entry.entry.at.index);
            seen.held.entry(segment).or_default().take(&entry);
        }
        Ok(seen)
    }

    /// Reads a copy back: every frame of it must be whole, to its end.
    fn check_frames(&self, copy: &Path, segment: u64) -> Result<(), StorageError> {
        let file = self.disk.open_read(copy).map_err(StorageError::io("opening", copy))?;
        let opened = SegmentFile::open(copy.to_owned(), file, segment, &self.owner)?;
        let (opened, _) = opened.map_err(|damage| StorageError::corrupt(copy, 0, damage))?;
        let mut stream = SegmentStream::open(opened)?;
        loop {
            match stream.step()? {
                Streamed::Record(..) => {}
                Streamed::TornTail(damage) => return Err(stream.file.corrupt(stream.offset, damage)),
                Streamed::End => return Ok(()),
            }
        }
    }

    /// Copies one segment; when this returns the copy is durable.
    fn copy(&self, identity: SegmentIdentity, held: Held) -> Result<ArchivedSegment, StorageError> {
        let temporary = self.archive.join("copy.tmp");
        let copied = self.copy_by(&temporary, identity, held);
        if copied.is_err() {
            // A disk that is full would stay so.
            let _ = remove_if_there(&*self.disk, &temporary);
        }
        copied
    }

    /// Refuses to fill the disk that the log needs.
    fn check_room(&self, bytes: u64) -> Result<(), StorageError> {
        let (disk, dir, needed) = (&*self.disk, &self.archive, bytes + self.reserve_bytes);
        let asking = |error| StorageError::io("asking for the room of", dir)(error);
        if disk.are_on_one(&self.log, dir).map_err(asking)? {
            let free = disk.free_bytes(dir).map_err(asking)?;
            if free < needed {
                return Err(StorageError::NoRoom { dir: dir.clone(), free, needed });
            }
        }
        Ok(())
    }

    fn copy_by(
        &self,
        temporary: &Path,
        identity: SegmentIdentity,
        held: Held,
    ) -> Result<ArchivedSegment, StorageError> {
        let SegmentIdentity { cluster, node, segment, generation } = identity;
        let (disk, path) = (&*self.disk, segment_path(&self.log, segment));
        let copy = segment_path(&self.archive, segment);
        remove_if_there(disk, temporary)?;
        let from = disk.open_read(&path).map_err(StorageError::io("opening", &path))?;
        self.check_room(from.length().map_err(StorageError::io("reading the length of", &path))?)?;
        let to = disk.create_new(temporary).map_err(StorageError::io("creating", temporary))?;
        let mut offset = 0;
        loop {
            let bytes =
                read_range(&*from, offset, COPIED_BYTES).map_err(StorageError::io("reading", &path))?;
            if bytes.is_empty() {
                break;
            }
            to.write_at(offset, &bytes).map_err(StorageError::write(temporary, offset))?;
            offset += bytes.len() as u64;
        }
        to.sync_data().map_err(StorageError::io("syncing", temporary))?;
        let sha256 = digest_of(&*to, temporary)?;
        self.check_frames(temporary, segment)?;
        disk.rename(temporary, &copy).map_err(StorageError::io("renaming to", &copy))?;
        disk.sync_dir(&self.archive).map_err(StorageError::io("syncing", &self.archive))?;
        let Held { entries, stamps } = held;
        Ok(ArchivedSegment {
            file: segment_path(Path::new(""), segment).display().to_string(),
            cluster,
            node,
            segment,
            generation,
            first: entries.map(|(first, _)| first),
            last: entries.map(|(_, last)| last),
            first_stamp: stamps.map(|(first, _)| first),
            last_stamp: stamps.map(|(_, last)| last),
            bytes: offset,
            sha256,
        })
    }
}

impl Manifest {
    fn holdings(&self) -> Holdings {
        Holdings {
            archived_segments: self.lines().len() as u64,
            archived_bytes: self.lines().iter().map(|line| line.bytes).sum(),
            archived_through: self.lines().iter().filter_map(|line| line.last).max(),
            ..Holdings::default()
        }
    }
}

/// Whether a line speaks of another segment of this number.
fn is_not(identity: SegmentIdentity) -> impl Fn(&ArchivedSegment) -> bool {
    move |line| line.generation != identity.generation
}

impl Held {
    fn take(&mut self, entry: &HistoryEntry) {
        let index = entry.entry.at.index;
        self.entries = Some((self.entries.map_or(index, |(first, _)| first), index));
        if let EntryBody::Batch(payload) = &entry.entry.body
            && let Ok((stamp, _)) = split_stamp(payload)
        {
            self.stamps = Some((self.stamps.map_or(stamp, |(first, _)| first), stamp));
        }
    }
}
