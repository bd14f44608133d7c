//! Opens what an earlier process left: believes it, cuts a torn tail, or refuses.
//!
//! ```text
//!   headers of all segments ──▶ lengths and owners agree ──▶ start: the newest segment that began at or below the floor
//!   what was retired on purpose ──▶ what a power cut left of it goes, once the header after it agrees
//!   the segment that was begun last (newest.rs) is there, and is the one
//!   from there: sync, read, follow every frame ──▶ view
//!   last segment only: a torn tail is cut; a segment left without frames is removed, but never the only one: it
//!   carries the log's birth
//! ```
//!
//! A torn tail is no loss: nobody was told of it, and the node votes as before. What is believed is made durable first.
//!
//! Damage before the start is history's: neither a vote nor an acknowledgement stands on it, so the log opens, and the
//! damage stays noted (suspect.rs) and is told. Nodes that each have an old flip come back together after a power cut.

use super::disk::{Disk, DiskFile};
use super::error::{Corruption, CorruptionKind, StorageError};
use super::newest::Newest;
use super::outline::{Outline, check_begins, check_follows, first_needed};
use super::retention::Retired;
use super::scan::{Scan, Scanned, Step};
use super::segment_file::{Owner, Place, SegmentFile, numbers_of_segments, segment_path};
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

struct Outlines {
    /// Of each segment from the first that is there on, or why it is not believed.
    found: Vec<Result<Outline, Corruption>>,
    /// A segment was begun after the last one here, so that one had been durable as a whole.
    last_is_whole: bool,
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    owner: &'a Owner,
    retired: Option<Retired>,
    newest: Option<Newest>,
}

pub(super) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    owner: &Owner,
    cache_bytes_max: usize,
    needs_history: bool,
) -> Result<Recovered, StorageError> {
    disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))?;
    let retired = Retired::read(disk, dir, owner)?;
    let newest = Newest::read(disk, dir, owner)?;
    let recovery = Recovery { disk, dir, owner, retired, newest };
    let Outlines { mut found, last_is_whole } = recovery.outlines()?;
    if let (Some(retired), Some(Ok(_))) = (&recovery.retired, found.first()) {
        retired.remove_files(disk, dir)?;
    }
    let start = first_needed(&found);
    let needed: Vec<Outline> = found.drain(start..).collect::<Result<_, _>>()?;
    let standing = needed.first().map_or(Standing::default(), |outline| outline.header.standing);
    let mut view = LogView::new(standing, cache_bytes_max);
    let mut end = 0;
    for (position, outline) in needed.iter().enumerate() {
        let is_last = position + 1 == needed.len();
        let may_be_torn = is_last && !last_is_whole && !recovery.was_closed(outline);
        end = recovery.follow(outline, may_be_torn, &mut view)?;
    }
    recovery.judge_history(&found, needs_history)?;
    let before = needed.iter().rev().nth(1).or(found.last().and_then(|before| before.as_ref().ok()));
    let next = match needed.last() {
        None => Next { segment: 1, generation: 1, previous_length: 0 },
        Some(last) => recovery.after(last, before, end)?,
    };
    let birth = needed.first().map(|first| first.header.birth);
    Ok(Recovered { view, next, birth })
}

/// Where the log stood at a segment's end.
pub(super) struct Before {
    pub(super) standing: Standing,
    pub(super) previous_length: u64,
    pub(super) generation: u64,
    pub(super) birth: Option<u64>,
    /// Where it stood at that segment's beginning, and how long the one before that was.
    pub(super) beginning: (Standing, u64),
}

/// Where the log stands before `segment`, read from the one before that; all of it must be whole.
pub(super) fn recover_before(
    disk: &dyn Disk,
    dir: &Path,
    owner: &Owner,
    segment: u64,
) -> Result<Before, StorageError> {
    let Some(number) = segment.checked_sub(1).filter(|number| *number > 0) else {
        let standing = Standing::default();
        return Ok(Before {
            standing,
            previous_length: 0,
            generation: 0,
            birth: None,
            beginning: (standing, 0),
        });
    };
    if let Some(retired) = Retired::read(disk, dir, owner)?.filter(|retired| retired.through == number) {
        let Retired { length: previous_length, generation, birth, .. } = retired;
        let (standing, birth) = (retired.standing(), Some(birth));
        return Ok(Before {
            standing,
            previous_length,
            generation,
            birth,
            beginning: (standing, previous_length),
        });
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
    let (previous_length, generation) = (u64::from(scan.offset), identity.generation);
    let beginning = (header.standing, header.previous_length);
    Ok(Before { standing, previous_length, generation, birth: Some(birth), beginning })
}

impl Recovery<'_> {
    /// Reads all headers and holds them against each other.
    fn outlines(&self) -> Result<Outlines, StorageError> {
        let through = self.retired.as_ref().map_or(0, |retired| retired.through);
        let there = numbers_of_segments(self.disk, self.dir)?.last().copied().unwrap_or(0);
        let begun = self.newest.map_or(0, |newest| newest.segment);
        // One always remains of a log whose beginning was retired.
        let last = there.max(begun).max(through + u64::from(self.retired.is_some()));
        let mut found = Vec::<Result<Outline, Corruption>>::new();
        for segment in through + 1..=last {
            // The only one may be cut short at a log's very beginning, but not where one follows what was retired.
            let may_be_cut =
                segment == last && segment > begun && (self.retired.is_none() || !found.is_empty());
            let outline = match self.outline(segment, may_be_cut) {
                Ok(Some(outline)) => Ok(outline),
                Ok(None) => return Ok(Outlines { found, last_is_whole: true }),
                Err(StorageError::Corrupt(damage)) if damage.is_repairable() => Err(damage),
                Err(other) => return Err(other),
            };
            let (before, outline) = match (found.pop(), &self.retired, outline) {
                (Some(Ok(before)), _, Ok(outline)) => {
                    let (before, outline) = check_follows(self.dir, before, outline);
                    (Some(before), outline)
                }
                (None, Some(retired), Ok(outline)) => (None, check_begins(self.dir, retired, outline)),
                (before, _, outline) => (before, outline),
            };
            found.extend(before);
            found.push(outline);
        }
        Ok(Outlines { found, last_is_whole: false })
    }

    /// Whether all of a segment was durable when the log was closed: none of it can be a torn tail, be its last frames
    /// as damaged as they may.
    fn was_closed(&self, Outline { header, .. }: &Outline) -> bool {
        self.newest
            .is_some_and(|newest| newest.segment == header.identity.segment && newest.closed_at.is_some())
    }

    /// `None` of a last segment whose creation was cut short.
    fn outline(&self, segment: u64, may_be_cut: bool) -> Result<Option<Outline>, StorageError> {
        let Some((file, header)) = self.open(segment, may_be_cut)? else { return Ok(None) };
        let is_the_one = self.newest.map_or(Ok(()), |newest| newest.check(&header));
        is_the_one.map_err(|what| StorageError::corrupt(&file.path, 0, what))?;
        let length = file.length()?;
        match self.newest.map_or(0, |newest| newest.lacks(segment, length)) {
            0 => Ok(Some(Outline { header, length })),
            lacks => {
                let what = CorruptionKind::Length { expected: length + lacks, found: length };
                Err(StorageError::corrupt(&file.path, length, what))
            }
        }
    }

    /// Opens a segment. A last one whose creation a crash cut short held no frame yet: it is removed, and `None`.
    fn open(
        &self,
        segment: u64,
        may_be_cut: bool,
    ) -> Result<Option<(SegmentFile, SegmentHeader)>, StorageError> {
        let path = segment_path(self.dir, segment);
        let file = self.disk.open_write(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => StorageError::corrupt(&path, 0, CorruptionKind::Missing),
            _ => StorageError::io("opening", &path)(error),
        })?;
        match SegmentFile::open(path.clone(), Arc::clone(&file), segment, self.owner)? {
            Ok(opened) => Ok(Some(opened)),
            Err(_) if may_be_cut && is_headers_at_most(&*file, &path)? => {
                tracing::warn!(file = %path.display(), "a segment whose creation was cut short is removed");
                self.remove(&path)?;
                Ok(None)
            }
            Err(damage) => Err(StorageError::corrupt(&path, 0, damage)),
        }
    }

    /// Keeps in mind what is damaged of the segments that nothing was read of, and lets go of what was mended.
    fn judge_history(
        &self,
        history: &[Result<Outline, Corruption>],
        needs_history: bool,
    ) -> Result<(), StorageError> {
        let suspect = Suspect::read(self.disk, self.dir)?;
        let damage = match history.iter().find_map(|outline| outline.as_ref().err()) {
            Some(damage) => Some(damage.clone()),
            None => self.look_at(suspect.as_ref(), history)?,
        };
        match damage {
            Some(damage) if needs_history => Err(damage.into()),
            Some(damage) => {
                tracing::error!(
                    %damage,
                    "older history of this node is damaged; neither its votes nor its acknowledgements stand on it, so \
                     the log is opened"
                );
                Suspect::note(self.disk, self.dir, &damage).map(|_| ())
            }
            None if suspect.is_some() => Suspect::clear(self.disk, self.dir),
            None => Ok(()),
        }
    }

    /// Whether the segment that was suspected is still damaged. If it is none of history, it was read and is sound.
    fn look_at(
        &self,
        suspect: Option<&Suspect>,
        history: &[Result<Outline, Corruption>],
    ) -> Result<Option<Corruption>, StorageError> {
        let is_suspect =
            |outline: &&Outline| suspect.is_some_and(|it| it.segment == outline.header.identity.segment);
        let Some(outline) = history.iter().flatten().find(is_suspect) else { return Ok(None) };
        let mut view = LogView::new(outline.header.standing, 0);
        match self.follow(outline, false, &mut view) {
            Ok(_) => Ok(None),
            Err(StorageError::Corrupt(damage)) => Ok(Some(damage)),
            Err(other) => Err(other),
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

    /// Which segment comes after the last. One without frames gives its number back, but not its generation; the only one
    /// keeps it, since it carries the log's birth.
    fn after(&self, last: &Outline, before: Option<&Outline>, end: u32) -> Result<Next, StorageError> {
        let SegmentHeader { identity, previous_length, .. } = last.header;
        let generation = identity.generation + 1;
        if end as usize == HEADER_BYTES
            && let Some(before) = before
        {
            if self.newest.is_some() {
                Newest::of(&before.header).persist(self.disk, self.dir, self.owner)?;
            }
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
