//! That a log needs repair, as a file beside its segments.

use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::json_file::{self, remove_if_there};
use crate::storage::segment_file::Owner;
use events::ids::{ClusterId, LogIndex, NodeId};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file's name within the log's directory.
pub const NEED_FILE: &str = "needs-repair.json";

/// What must be made good before this node may vote or acknowledge again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// The damaged file, where in it, and what was found: for people.
    pub file: String,
    pub offset: u64,
    pub what: String,
    /// This segment and all after it are rebuilt.
    pub from_segment: u64,
    /// Of the rebuilt segments; above all that were seen.
    pub generation: u64,
    /// The mark of the log's birth.
    pub birth: u64,
    /// The highest index that this node may ever have acknowledged, unless the tail is lost.
    pub acknowledged: Option<LogIndex>,
    /// The end of the log is gone without a trace, so nothing here bounds what it acknowledged. The other members do, all
    /// of them together: what was committed with this node's word lies in the log of another one too.
    pub tail_is_lost: bool,
    /// The highest vote that is left: term, node, whether that node was known to lead.
    pub vote: Option<(u64, NodeId, bool)>,
    /// Whether no later vote can be lost. If one can, every other member must name its term first: no candidate asked
    /// for a vote in a term that it had not saved itself.
    pub vote_is_known: bool,
    /// The last segment that waits, whole, to be put into place.
    pub rebuilt_through: Option<u64>,
}

impl Need {
    /// Writes the file; when this returns it is durable.
    pub(super) fn persist(&self, disk: &dyn Disk, dir: &Path, owner: &Owner) -> Result<(), StorageError> {
        json_file::persist_sealed(disk, &dir.join(NEED_FILE), self, owner)
    }

    /// What was noted; of another node's log it is refused.
    pub(super) fn read(disk: &dyn Disk, dir: &Path, owner: &Owner) -> Result<Option<Need>, StorageError> {
        json_file::read_sealed(disk, &dir.join(NEED_FILE), owner)
    }

    /// The same need, for a repair that reaches the last entry of every other member's log.
    #[must_use]
    pub fn reaching(self, last_of_all_others: Option<LogIndex>) -> Need {
        let acknowledged =
            if self.tail_is_lost { self.acknowledged.max(last_of_all_others) } else { self.acknowledged };
        Need { acknowledged, ..self }
    }

    /// The log is whole again.
    pub(super) fn clear(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
        remove_if_there(disk, &dir.join(NEED_FILE))?;
        disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))
    }
}

/// No log is opened while it needs repair.
pub(in crate::storage) fn refuse_if_needed(
    disk: &dyn Disk,
    dir: &Path,
    owner: &Owner,
) -> Result<(), StorageError> {
    match Need::read(disk, dir, owner)? {
        Some(need) => {
            Err(StorageError::NeedsRepair { path: dir.join(NEED_FILE), file: need.file, offset: need.offset })
        }
        None => Ok(()),
    }
}
