//! Which segments at the beginning of a log were removed on purpose, and where the log stood after them: a file beside the
//! segments that are left.

use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::json_file::{self, remove_if_there};
use crate::storage::segment_file::{Owner, numbers_of_segments, segment_path};
use events::ids::{ClusterId, LogIndex, NodeId};
use events::log::record::{LogPosition, VoteRecord};
use events::log::segment::SegmentHeader;
use events::log::standing::Standing;
use serde::{Deserialize, Serialize};
use std::path::Path;

const FILE: &str = "retired.json";

/// All segments up to this one are in the archive only. The rest says where the log stood at its end, as the header after
/// it does: should that be damaged, the log can still be repaired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::storage) struct Retired {
    pub(in crate::storage) cluster: ClusterId,
    pub(in crate::storage) node: NodeId,
    pub(in crate::storage) through: u64,
    pub(in crate::storage) generation: u64,
    pub(in crate::storage) birth: u64,
    /// Of the last one, in bytes.
    pub(in crate::storage) length: u64,
    vote: Option<(u64, NodeId, bool)>,
    last: Option<(u64, LogIndex)>,
    committed: Option<(u64, LogIndex)>,
    floor: Option<(u64, LogIndex)>,
}

impl Retired {
    /// Everything before the segment that `next` begins; the last of it has the generation `generation`.
    pub(super) fn before(next: &SegmentHeader, generation: u64) -> Retired {
        let identity = next.identity;
        let Standing { vote, last, committed, floor } = next.standing;
        let pair = |at: Option<LogPosition>| at.map(|at| (at.term, at.index));
        Retired {
            cluster: identity.cluster,
            node: identity.node,
            through: identity.segment - 1,
            generation,
            birth: next.birth,
            length: next.previous_length,
            vote: vote.map(|vote| (vote.term, vote.node, vote.committed)),
            last: pair(last),
            committed: pair(committed),
            floor: pair(floor),
        }
    }

    /// What was removed from the log in `dir`; another node's is refused.
    pub(in crate::storage) fn read(
        disk: &dyn Disk,
        dir: &Path,
        owner: &Owner,
    ) -> Result<Option<Retired>, StorageError> {
        let path = dir.join(FILE);
        let Some(retired) = json_file::read_sealed::<Retired>(disk, &path, owner)? else { return Ok(None) };
        owner.check(&path, retired.cluster, retired.node)?;
        Ok(Some(retired))
    }

    /// Writes the file; when this returns it is durable.
    pub(super) fn persist(&self, disk: &dyn Disk, dir: &Path, owner: &Owner) -> Result<(), StorageError> {
        json_file::persist_sealed(disk, &dir.join(FILE), self, owner)
    }

    /// Removes what is retired and still there: the files of a retirement that the power cut short. Whoever calls this has
    /// seen that the segment after them begins where this says that they end.
    pub(in crate::storage) fn remove_files(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
        let left = numbers_of_segments(disk, dir)?.into_iter().filter(|segment| *segment <= self.through);
        let mut any = false;
        for segment in left {
            remove_if_there(disk, &segment_path(dir, segment))?;
            any = true;
        }
        if any { disk.sync_dir(dir).map_err(StorageError::io("syncing", dir)) } else { Ok(()) }
    }

    /// Where the log stood after what is retired.
    pub(in crate::storage) fn standing(&self) -> Standing {
        let position = |at: Option<(u64, LogIndex)>| at.map(|(term, index)| LogPosition { term, index });
        Standing {
            vote: self.vote.map(|(term, node, committed)| VoteRecord { term, node, committed }),
            last: position(self.last),
            committed: position(self.committed),
            floor: position(self.floor),
        }
    }
}
