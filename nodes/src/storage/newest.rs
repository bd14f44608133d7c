//! Which segment was begun last, as a file beside the segments: else a log whose last file is gone, or has no header any
//! more, would look as if that file had never been finished.
//!
//! ```text
//!   segment's header and name durable ──▶ this file names it, durable ──▶ its first frame
//!   an open that takes a segment without frames away ──▶ this file names the one before, durable ──▶ it goes
//!   the last frame of a clean close durable ──▶ this file says how long the segment is
//! ```
//!
//! So whatever it names is there, whenever the power goes, and a later segment than it names holds no frame. It is
//! believed if it can be; if not, it says nothing: it is a witness against the loss of another file, and one of two
//! is enough.
//!
//! It carries the log's birth too: a young log has one header only, and without its mark no segment could be written
//! again. Headers have the last word on it; one in the place that is named here with another mark is of another life, and
//! damage, as one of another generation is.
//!
//! After a clean close the segment is never shorter again than is said here: nobody writes to it, and the next one is named
//! before its first frame. So a file that was set back to an earlier moment is seen too.

use super::disk::Disk;
use super::error::{CorruptionKind, StorageError};
use super::json_file::{self, remove_if_there};
use super::segment_file::Owner;
use events::log::segment::SegmentHeader;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file's name within the log's directory.
pub(super) const FILE: &str = "newest.json";

/// The segment that was begun last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Newest {
    pub(super) segment: u64,
    pub(super) generation: u64,
    /// The mark that this segment carries; none in a file of an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) birth: Option<u64>,
    /// How long it was when the log was closed in good order; none while somebody may write to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) closed_at: Option<u64>,
}

impl Newest {
    pub(super) fn of(header: &SegmentHeader) -> Newest {
        let SegmentHeader { identity, birth, .. } = header;
        Newest {
            segment: identity.segment,
            generation: identity.generation,
            birth: Some(*birth),
            closed_at: None,
        }
    }

    /// Bytes of `segment`, as long as it is now, that were there when the log was closed and are gone.
    pub(super) fn lacks(&self, segment: u64, length: u64) -> u64 {
        self.closed_at
            .filter(|_| segment == self.segment)
            .map_or(0, |closed_at| closed_at.saturating_sub(length))
    }

    /// Holds a header against this: in the place of the segment that is named here there is no other.
    pub(super) fn check(&self, header: &SegmentHeader) -> Result<(), CorruptionKind> {
        let (expected, found) = (self.generation, header.identity.generation);
        if header.identity.segment != self.segment {
            return Ok(());
        }
        if found != expected {
            return Err(CorruptionKind::Generation { expected, found });
        }
        match self.birth.is_none_or(|birth| birth == header.birth) {
            true => Ok(()),
            false => Err(CorruptionKind::OtherBirth),
        }
    }

    /// Writes the file; when this returns it is durable.
    pub(super) fn persist(self, disk: &dyn Disk, dir: &Path, owner: &Owner) -> Result<(), StorageError> {
        json_file::persist_sealed(disk, &dir.join(FILE), &self, owner)
    }

    /// What the file says; `None` in a folder of an older version, or if it cannot be believed.
    pub(super) fn read(disk: &dyn Disk, dir: &Path, owner: &Owner) -> Result<Option<Newest>, StorageError> {
        match Newest::examine(disk, dir, owner) {
            Err(error @ StorageError::Corrupt(_)) => {
                tracing::error!(%error, "which segment was begun last is not known; it is written anew");
                Ok(None)
            }
            read => read,
        }
    }

    /// As [`Newest::read`], for whoever checks the folder: a file that cannot be believed is damage.
    pub(super) fn examine(
        disk: &dyn Disk,
        dir: &Path,
        owner: &Owner,
    ) -> Result<Option<Newest>, StorageError> {
        let path = dir.join(FILE);
        json_file::read_sealed(disk, &path, owner).map_err(|error| match error {
            // The number of its key is a part of it.
            StorageError::Key { .. } => StorageError::corrupt(&path, 0, CorruptionKind::Note),
            // A newer version may say more: who goes back to this one goes without.
            error if json_file::is_malformed(&error) => StorageError::corrupt(&path, 0, CorruptionKind::Note),
            other => other,
        })
    }

    /// Nothing is begun any more.
    pub(super) fn forget(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
        remove_if_there(disk, &dir.join(FILE))
    }
}
