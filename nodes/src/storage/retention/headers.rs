//! The headers of a log's segments, read beside whoever writes it.

use super::retired::Retired;
use crate::storage::disk::Disk;
use crate::storage::error::{CorruptionKind, StorageError};
use crate::storage::segment_file::{Owner, SegmentFile, list_segments, segment_path};
use events::log::segment::{SegmentHeader, SegmentIdentity};
use std::io::ErrorKind;
use std::path::Path;

/// The segments that are there, oldest first, with their lengths.
pub(super) struct Headers {
    segments: Vec<(SegmentHeader, u64)>,
    /// How many of them no open of the log would read.
    history: usize,
}

impl Headers {
    pub(super) fn read(disk: &dyn Disk, dir: &Path, owner: &Owner) -> Result<Headers, StorageError> {
        let retired = Retired::read(disk, dir, owner)?;
        let range = list_segments(disk, dir, retired.as_ref())?;
        let (last, mut segments) = (*range.end(), Vec::new());
        for segment in range {
            let path = segment_path(dir, segment);
            let file = match disk.open_read(&path) {
                Ok(file) => file,
                // An open removes a last one without frames.
                Err(error) if segment == last && error.kind() == ErrorKind::NotFound => break,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(StorageError::corrupt(&path, 0, CorruptionKind::Missing));
                }
                Err(error) => return Err(StorageError::io("opening", &path)(error)),
            };
            match SegmentFile::open(path.clone(), file, segment, owner)? {
                Ok((file, header)) => segments.push((header, file.length()?)),
                // It is being begun.
                Err(_) if segment == last => break,
                Err(damage) => return Err(StorageError::corrupt(&path, 0, damage)),
            }
        }
        let history = first_needed(&segments);
        Ok(Headers { segments, history })
    }

    /// The segments that no open of the log would read.
    pub(super) fn history(&self) -> impl Iterator<Item = SegmentIdentity> + '_ {
        self.segments[..self.history].iter().map(|(header, _)| header.identity)
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

/// Which of the segments is the newest before which nothing above the purge floor was written: an open reads from there on.
fn first_needed(segments: &[(SegmentHeader, u64)]) -> usize {
    let floor = segments.last().and_then(|(last, _)| last.standing.floor).map(|floor| floor.index);
    let begins_below =
        |(header, _): &(SegmentHeader, u64)| header.standing.last.map(|last| last.index) <= floor;
    segments.iter().rposition(begins_below).unwrap_or(0)
}
