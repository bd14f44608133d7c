//! Opens what an earlier process left: believes it, cuts a torn tail, or refuses.
//!
//! ```text
//!   what was retired on purpose ──▶ what a power cut left of it goes
//!   headers of all segments ──▶ lengths and owners agree ──▶ start: the newest segment that began at or below the floor
//!                                        (or the one that a check found damaged: suspect.rs)
//!   from there: sync, read, follow every frame ──▶ view
//!   last segment only: a torn tail is cut; a segment left without frames is removed, but never the only one: it
//!   carries the log's birth
//! ```
//!
//! A torn tail is no loss: nobody was told of it, and the node votes as before. What is believed is made durable first.

use super::disk::{Disk, DiskFile};
use super::error::{CorruptionKind, StorageError};
use super::retention::Retired;
use super::scan::{Scan, Scanned, Step};
use super::segment_file::{Owner, Place, SegmentFile, list_segments, segment_path};
use super::segment_writer::Next;
use super::suspect::Suspect;
use super::view::LogView;
use events::log::frame::FrameDamage;
use events::log::record::Record;
use events::log::segment::{HEADER_BYTES, SegmentHeader};
use events::log::standing::{Standing, StandingError};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// What was found.
pub(super) struct Recovered {
    pub(super) view: LogView,
    pub(super) next: Next,
    /// The mark that all segments carry; none if there are no segments.
    pub(super) birth: Option<u64>,
}

/// A segment's header and length.
struct Outline {
    header: SegmentHeader,
    length: u64,
}

struct Outlines {
    outlines: Vec<Outline>,
    /// A segment was begun after the last one here, so that one had been durable as a whole.
    last_is_whole: bool,
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    owner: &'a Owner,
    retired: Option<Retired>,
}

pub(super) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    owner: &Owner,
    cache_bytes_max: usize,
) -> Result<Recovered, StorageError> {
    disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))?;
    let retired = Retired::read(disk, dir, owner)?;
    if let Some(retired) = &retired {
        retired.remove_files(disk, dir)?;
    }
    let recovery = Recovery { disk, dir, owner, retired };
    let Outlines { outlines, last_is_whole } = recovery.outlines()?;
    let needed = first_needed(outlines.iter().map(|outline| &outline.header.standing));
    let suspect = Suspect::read(disk, dir)?;
    let is_suspect = |outline: &Outline| {
        suspect.as_ref().is_some_and(|suspect| suspect.segment == outline.header.identity.segment)
    };
    let start = outlines.iter().position(is_suspect).map_or(needed, |suspect| suspect.min(needed));
    let standing = outlines.get(start).map_or(Standing::default(), |outline| outline.header.standing);
    let mut view = LogView::new(standing, cache_bytes_max);
    let mut end = 0;
    for (position, outline) in outlines.iter().enumerate().skip(start) {
        let may_be_torn = position + 1 == outlines.len() && !last_is_whole;
        end = recovery.follow(outline, may_be_torn, &mut view)?;
    }
    if suspect.is_some() {
        Suspect::clear(disk, dir)?;
    }
    let next = match outlines.last() {
        None => Next { segment: 1, generation: 1, previous_length: 0 },
        Some(last) => recovery.after(last, outlines.len() == 1, end)?,
    };
    let birth = outlines.first().map(|first| first.header.birth);
    Ok(Recovered { view, next, birth })
}

/// Where the log stood at a segment's end.
pub(super) struct Before {
    pub(super) standing: Standing,
    pub(super) previous_length: u64,
    pub(super) generation: u64,
    pub(super) birth: Option<u64>,
}

/// Where the log stands before `segment`, read from the one before that; all of it must be whole.
pub(super) fn recover_before(
    disk: &dyn Disk,
    dir: &Path,
    owner: &Owner,
    segment: u64,
) -> Result<Before, StorageError> {
    let Some(number) = segment.checked_sub(1).filter(|number| *number > 0) else {
        return Ok(Before { standing: Standing::default(), previous_length: 0, generation: 0, birth: None });
    };
    if let Some(retired) = Retired::read(disk, dir, owner)?.filter(|retired| retired.through == number) {
        let Retired { length: previous_length, generation, birth, .. } = retired;
        return Ok(Before { standing: retired.standing(), previous_length, generation, birth: Some(birth) });
    }
    let path = segment_path(dir, number);
    let file = disk.open_read(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => StorageError::corrupt(&path, 0, CorruptionKind::Missing),
        _ => StorageError::io("opening", &path)(error),
    })?;
    let (opened, header) = SegmentFile::open(path.clone(), file, number, owner)?
        .map_err(|damage| StorageError::corrupt(&path, 0, damage))?;
    let (bytes, mut standing) = (opened.read_all()?, header.standing);
    let mut scan = Scan::new(&opened, &bytes);
    loop {
        match scan.step()? {
            Step::Record(scanned) => {
                standing.follow(&scanned.record).map_err(|error| opened.corrupt(scanned.offset, error))?
            }
            Step::TornTail(damage) => return Err(opened.corrupt(scan.offset, damage)),
            Step::End => break,
        }
    }
    let SegmentHeader { identity, birth, .. } = header;
    let previous_length = u64::from(scan.offset);
    Ok(Before { standing, previous_length, generation: identity.generation, birth: Some(birth) })
}

impl Recovery<'_> {
    /// Reads all headers and holds them against each other.
    fn outlines(&self) -> Result<Outlines, StorageError> {
        let range = list_segments(self.disk, self.dir, self.retired.as_ref())?;
        let (last, mut outlines) = (*range.end(), Vec::<Outline>::new());
        for segment in range {
            // The only one may be cut short at a log's very beginning, but not where one follows what was retired.
            let may_be_cut = segment == last && (self.retired.is_none() || !outlines.is_empty());
            let Some((file, header)) = self.open(segment, may_be_cut)? else {
                return Ok(Outlines { outlines, last_is_whole: true });
            };
            match (outlines.last(), &self.retired) {
                (Some(before), _) => check_follows(self.dir, before, &header)?,
                (None, Some(retired)) => check_begins(self.dir, retired, &header)?,
                (None, None) => {}
            }
            outlines.push(Outline { header, length: file.length()? });
        }
        Ok(Outlines { outlines, last_is_whole: false })
    }

    /// Opens a segment. A last one whose creation a crash cut short held no frame yet: it is removed, and `None`.
    fn open(
        &self,
        segment: u64,
        is_last: bool,
    ) -> Result<Option<(SegmentFile, SegmentHeader)>, StorageError> {
        let path = segment_path(self.dir, segment);
        let file = self.disk.open_write(&path).map_err(StorageError::io("opening", &path))?;
        match SegmentFile::open(path.clone(), Arc::clone(&file), segment, self.owner)? {
            Ok(opened) => Ok(Some(opened)),
            Err(_) if is_last && is_headers_at_most(&*file, &path)? => {
                tracing::warn!(file = %path.display(), "a segment whose creation was cut short is removed");
                self.remove(&path)?;
                Ok(None)
            }
            Err(damage) => Err(StorageError::corrupt(&path, 0, damage)),
        }
    }

    /// Follows a segment's frames; returns where they end, after cutting a torn tail.
    fn follow(&self, outline: &Outline, may_be_torn: bool, view: &mut LogView) -> Result<u32, StorageError> {
        let number = outline.header.identity.segment;
        let path = segment_path(self.dir, number);
        let Some((segment, header)) = self.open(number, false)? else { return Ok(0) };
        if header.standing != *view.standing() {
            return Err(StorageError::corrupt(&path, 0, CorruptionKind::Standpoint));
        }
        segment.file.sync_data().map_err(StorageError::io("syncing", &path))?;
        let bytes = segment.read_all()?;
        let segment = Arc::new(segment);
        let mut scan = Scan::new(&segment, &bytes);
        loop {
            match scan.step()? {
                Step::Record(scanned) => {
                    let offset = scanned.offset;
                    take(view, &segment, scanned).map_err(|error| segment.corrupt(offset, error))?;
                }
                Step::End if may_be_torn => {
                    write_again(&segment, &bytes, scan.durable, scan.offset)?;
                    return Ok(scan.offset);
                }
                Step::End => return Ok(scan.offset),
                Step::TornTail(damage) if may_be_torn => {
                    cut(&segment, scan.offset, damage, bytes.len())?;
                    write_again(&segment, &bytes, scan.durable, scan.offset)?;
                    return Ok(scan.offset);
                }
                // The segment after it began only when this one was durable as a whole.
                Step::TornTail(damage) => return Err(segment.corrupt(scan.offset, damage)),
            }
        }
    }

    /// Which segment comes after the last. One without frames gives its number back, but not its generation.
    fn after(&self, last: &Outline, is_only: bool, end: u32) -> Result<Next, StorageError> {
        let SegmentHeader { identity, previous_length, .. } = last.header;
        let generation = identity.generation + 1;
        if end as usize == HEADER_BYTES && !is_only {
            self.remove(&segment_path(self.dir, identity.segment))?;
            return Ok(Next { segment: identity.segment, generation, previous_length });
        }
        Ok(Next { segment: identity.segment + 1, generation, previous_length: u64::from(end) })
    }

    /// Not synced: whether the removal or the segment that takes the name is durable first, neither holds a frame.
    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.disk.remove(path).map_err(StorageError::io("removing", path))
    }
}

fn is_headers_at_most(file: &dyn DiskFile, path: &Path) -> Result<bool, StorageError> {
    let length = file.length().map_err(StorageError::io("reading the length of", path))?;
    Ok(length <= HEADER_BYTES as u64)
}

fn check_follows(dir: &Path, before: &Outline, header: &SegmentHeader) -> Result<(), StorageError> {
    let path = segment_path(dir, before.header.identity.segment);
    if before.length != header.previous_length {
        let what = CorruptionKind::Length { expected: header.previous_length, found: before.length };
        return Err(StorageError::corrupt(&path, before.length.min(header.previous_length), what));
    }
    if before.header.birth != header.birth {
        let path = segment_path(dir, header.identity.segment);
        return Err(StorageError::corrupt(&path, 0, CorruptionKind::OtherBirth));
    }
    Ok(())
}

/// The first one that is left follows what was retired.
fn check_begins(dir: &Path, retired: &Retired, header: &SegmentHeader) -> Result<(), StorageError> {
    let path = segment_path(dir, header.identity.segment);
    if header.birth != retired.birth {
        return Err(StorageError::corrupt(&path, 0, CorruptionKind::OtherBirth));
    }
    if header.standing != retired.standing() || header.previous_length != retired.length {
        return Err(StorageError::corrupt(&path, 0, CorruptionKind::Standpoint));
    }
    Ok(())
}

/// Which of the segments that begin at these standings is the newest before which nothing above the purge floor was
/// written: an open reads from there on.
pub(super) fn first_needed<'a>(
    mut standings: impl DoubleEndedIterator<Item = &'a Standing> + ExactSizeIterator + Clone,
) -> usize {
    let floor = standings.clone().next_back().and_then(|last| last.floor).map(|floor| floor.index);
    standings.rposition(|standing| standing.last.map(|last| last.index) <= floor).unwrap_or(0)
}

fn take(view: &mut LogView, segment: &Arc<SegmentFile>, scanned: Scanned) -> Result<(), StandingError> {
    let Scanned { record, offset, length } = scanned;
    match record {
        Record::Vote(vote) => view.save_vote(vote),
        Record::Entry { at, .. } => view.recover(at, Place { segment: Arc::clone(segment), offset, length }),
        Record::Truncation { keep } => view.recover_truncation(keep),
        Record::Committed(position) => view.commit(position).map(|_| ()),
        Record::PurgeFloor(purge) => view.recover_floor(purge),
        Record::Closed => Ok(()),
    }
}

/// Writes what was read but is not known durable once more, and syncs it. After a failed fsync the kernel keeps such
/// pages, takes them for clean, and no sync alone would ever write them.
fn write_again(segment: &SegmentFile, bytes: &[u8], durable: u32, end: u32) -> Result<(), StorageError> {
    let SegmentFile { path, file, .. } = segment;
    let from = u64::from(durable);
    if let Some(believed) = bytes.get(durable as usize..end as usize).filter(|bytes| !bytes.is_empty()) {
        file.write_at(from, believed).map_err(StorageError::write(path, from))?;
        file.sync_data().map_err(StorageError::io("syncing", path))?;
    }
    Ok(())
}

fn cut(segment: &SegmentFile, offset: u32, damage: FrameDamage, length: usize) -> Result<(), StorageError> {
    let SegmentFile { path, file, .. } = segment;
    let bytes = length - offset as usize;
    tracing::warn!(file = %path.display(), offset, bytes, %damage, "a torn tail that nobody was told of is cut");
    file.truncate(u64::from(offset)).map_err(StorageError::io("cutting", path))?;
    file.sync_data().map_err(StorageError::io("syncing", path))
}
