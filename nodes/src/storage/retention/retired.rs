//! Which segments at the beginning of a log were removed on purpose, and where the log stood after them: a file beside the
//! segments that are left.
//!
//! The first header that is left says the same, but that the rest was removed and not lost. So a file that cannot be believed
//! is made again from there: that there is one says that something was removed. If there is none, the archive's manifest must
//! say so.

use super::manifest::Manifest;
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::json_file::{self, remove_if_there};
use crate::storage::segment_file::{Owner, SegmentFile, numbers_of_segments, segment_path};
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

    /// What was removed from the log in `dir`; another node's is refused. One that cannot be believed is derived from the
    /// first segment that is left, if that has a header, and written anew by whoever's log it is.
    pub(in crate::storage) fn read(
        disk: &dyn Disk,
        dir: &Path,
        owner: &Owner,
    ) -> Result<Option<Retired>, StorageError> {
        let path = dir.join(FILE);
        let error = match json_file::read_sealed::<Retired>(disk, &path, owner) {
            Ok(None) => return Ok(None),
            Ok(Some(retired)) => {
                owner.check(&path, retired.cluster, retired.node)?;
                return Ok(Some(retired));
            }
            // The number of its key is a part of it.
            Err(error) if json_file::is_malformed(&error) || matches!(error, StorageError::Key { .. }) => {
                error
            }
            Err(other) => return Err(other),
        };
        let Ok(derived) = Retired::derive(disk, dir, owner) else { return Err(error) };
        let Some(derived) = derived else { return Err(error) };
        tracing::warn!(%error, through = derived.through, "what was retired is read from the first header that is left");
        if owner.cluster.is_some() && owner.node.is_some() {
            derived.persist(disk, dir, owner)?;
        }
        Ok(Some(derived))
    }

    /// Writes a file that is gone again, if the archive holds what ended where the first segment that is left begins.
    pub(super) fn restore(
        disk: &dyn Disk,
        dir: &Path,
        owner: &Owner,
        archive: &Manifest,
    ) -> Result<(), StorageError> {
        if Retired::read(disk, dir, owner)?.is_some() {
            return Ok(());
        }
        let Some(derived) = Retired::derive(disk, dir, owner)? else { return Ok(()) };
        let Some(line) = archive.find(derived.through) else { return Ok(()) };
        if line.bytes != derived.length || !archive.has_copy(disk, line, false)? {
            return Ok(());
        }
        let (through, generation) = (derived.through, line.generation);
        tracing::warn!(through, "what says which segments were retired is gone: it is written again");
        Retired { generation, ..derived }.persist(disk, dir, owner)
    }

    /// What the first segment that is left says: all before it is not here. `None` if it is the first ever, or tells nothing.
    fn derive(disk: &dyn Disk, dir: &Path, owner: &Owner) -> Result<Option<Retired>, StorageError> {
        let Some(first) = numbers_of_segments(disk, dir)?.first().copied().filter(|first| *first > 1) else {
            return Ok(None);
        };
        let path = segment_path(dir, first);
        let file = disk.open_read(&path).map_err(StorageError::io("opening", &path))?;
        let header = match SegmentFile::open(path, file, first, owner) {
            Ok(opened) => opened.ok().map(|(_, header)| header),
            Err(StorageError::Corrupt(_)) => None,
            Err(other) => return Err(other),
        };
        // Of which generation the last one was is said by the archive only; none of them is above this.
        Ok(header.map(|header| Retired::before(&header, header.identity.generation)))
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
