//! The headers of a log's segments, read beside whoever writes it.

use super::retired::Retired;
use crate::storage::disk::Disk;
use crate::storage::error::{Corruption, CorruptionKind, StorageError};
use crate::storage::segment_file::{Owner, SegmentFile, numbers_of_segments, segment_path};
use events::ids::LogIndex;
use events::log::segment::{SegmentHeader, SegmentIdentity};
use std::io::ErrorKind;
use std::path::Path;

/// The segments that are there and have a believable header, oldest first, with their lengths.
pub(super) struct Headers {
    segments: Vec<(SegmentHeader, u64)>,
    /// How many of them no open of the log would read, and lie before all damage with one that follows.
    history: usize,
    /// The first that is missing or has no believable header.
    pub(super) damage: Option<Corruption>,
}

impl Headers {
    pub(super) fn read(disk: &dyn Disk, dir: &Path, owner: &Owner) -> Result<Headers, StorageError> {
        let through = Retired::read(disk, dir, owner)?.map(|retired| retired.through);
        let first = through.unwrap_or(0) + 1;
        // One always remains of a log whose beginning was retired.
        let least = if through.is_some() { first } else { 0 };
        let last = numbers_of_segments(disk, dir)?.last().copied().unwrap_or(0).max(least);
        let (mut segments, mut whole, mut damage) = (Vec::new(), 0, None);
        for segment in first..=last {
            match header(disk, dir, owner, segment, segment == last && segment > least) {
                Ok(Some(header)) => segments.push(header),
                Ok(None) => break,
                Err(StorageError::Corrupt(found)) => {
                    damage.get_or_insert(found);
                }
                Err(other) => return Err(other),
            }
            if damage.is_none() {
                whole = segments.len();
            }
        }
        // Of the last before damage nothing says where it ends.
        let sure = if damage.is_some() { whole.saturating_sub(1) } else { whole };
        let history = first_needed(&segments).min(sure);
        Ok(Headers { segments, history, damage })
    }

    /// The segments that no open of the log would read.
    pub(super) fn history(&self) -> impl Iterator<Item = SegmentIdentity> + '_ {
        self.segments[..self.history].iter().map(|(header, _)| header.identity)
    }

    /// The last entry that the log held at the end of a segment of history, as the next one says.
    pub(super) fn last_after(&self, segment: u64) -> Option<LogIndex> {
        let after = self.segments.iter().find(|(header, _)| header.identity.segment == segment + 1);
        after.and_then(|(next, _)| next.standing.last).map(|last| last.index)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, length)| length).sum()
    }

    /// Where the log stands once `segment` and all before it are gone; `None` unless one follows.
    pub(super) fn retired_through(&self, segment: u64) -> Option<Retired> {
        let at = self.segments.iter().position(|(header, _)| header.identity.segment == segment)?;
        let (next, _) = self.segments.get(at + 1)?;
        Some(Retired::before(next, self.segments[at].0.identity.generation))
    }
}

/// `None` of a last one that is being begun, or that an open removed since.
fn header(
    disk: &dyn Disk,
    dir: &Path,
    owner: &Owner,
    segment: u64,
    may_be_begun: bool,
) -> Result<Option<(SegmentHeader, u64)>, StorageError> {
    let path = segment_path(dir, segment);
    let file = match disk.open_read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound && may_be_begun => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(StorageError::corrupt(&path, 0, CorruptionKind::Missing));
        }
        Err(error) => return Err(StorageError::io("opening", &path)(error)),
    };
    match SegmentFile::open(path.clone(), file, segment, owner)? {
        Ok((file, header)) => Ok(Some((header, file.length()?))),
        Err(_) if may_be_begun => Ok(None),
        Err(damage) => Err(StorageError::corrupt(&path, 0, damage)),
    }
}

/// Which of the segments is the newest before which nothing above the purge floor was written: an open reads from there on.
fn first_needed(segments: &[(SegmentHeader, u64)]) -> usize {
    let floor = segments.last().and_then(|(last, _)| last.standing.floor).map(|floor| floor.index);
    let begins_below =
        |(header, _): &(SegmentHeader, u64)| header.standing.last.map(|last| last.index) <= floor;
    segments.iter().rposition(begins_below).unwrap_or(0)
}
