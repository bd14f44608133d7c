//! Which segment was begun last, as a file beside the segments: else a log whose last file is gone, or has no header any
//! more, would look as if that file had never been finished.
//!
//! ```text
//!   segment's header and name durable ──▶ this file names it, durable ──▶ its first frame
//!   an open that takes a segment without frames away ──▶ this file names the one before, durable ──▶ it goes
//! ```
//!
//! So whatever it names is there, whenever the power goes, and a later segment than it names holds no frame. It is
//! believed if it can be; if not, it says nothing: it is a witness against the loss of another file, and one of two
//! is enough.

use super::disk::Disk;
use super::error::{CorruptionKind, StorageError};
use super::json_file::{self, remove_if_there};
use super::segment_file::Owner;
use events::log::segment::SegmentIdentity;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file's name within the log's directory.
const FILE: &str = "newest.json";

/// The segment that was begun last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Newest {
    pub(super) segment: u64,
    pub(super) generation: u64,
}

impl Newest {
    pub(super) fn of(identity: &SegmentIdentity) -> Newest {
        Newest { segment: identity.segment, generation: identity.generation }
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
            other => other,
        })
    }

    /// Nothing is begun any more.
    pub(super) fn forget(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
        remove_if_there(disk, &dir.join(FILE))
    }
}
