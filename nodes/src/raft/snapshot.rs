//! Snapshots at rest: where the machine keeps them, and how it reads one back.

use super::snapshot_bytes::SnapshotBytes;
use super::tree::split_frontier;
use super::types::SnapshotMeta;
use crate::storage::snapshot_cores::on_all_cores;
use crate::storage::snapshot_file::SnapshotFiles;
use crate::storage::snapshot_spill::{Spill, TransferName};
use bytes::Bytes;
use events::ids::LogIndex;
use events::log::merkle::Frontier;
use projector::{Projector, SNAPSHOT_LEVEL_BYTES, SNAPSHOT_VERSION, snapshot_level};
use std::io;
use std::sync::Arc;

/// A snapshot may not be larger than this, in bytes.
pub const SNAPSHOT_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;

/// State, and where in the log it stands: one unit.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub meta: SnapshotMeta,
    pub data: SnapshotBytes,
}

/// Keeps the last snapshot. Blocking.
pub trait SnapshotShelf: Send + Sync + 'static {
    /// Keeps a snapshot durably in place of the one before; on an error the one before is still there.
    fn keep(&self, snapshot: &Snapshot) -> Result<(), io::Error>;
    /// The last one that was kept and is whole, at hand.
    fn last(&self) -> Result<Option<Snapshot>, io::Error>;
    /// The last one that was kept, to be read a piece at a time.
    fn newest(&self) -> Result<Option<Snapshot>, io::Error>;
    /// Never gives this one again: it is of another level.
    fn set_aside(&self, snapshot: &Snapshot) -> Result<(), io::Error>;
    /// Reads all that are kept and sets the damaged aside; how many. `goes_on` is asked again and again, and may take its
    /// time.
    fn check(&self, goes_on: &mut dyn FnMut() -> bool) -> Result<usize, io::Error>;
    /// Whether there is room for one more; why not.
    fn check_room(&self) -> Result<(), io::Error>;
    /// A place for one that comes in piece by piece, with what is here of it already; one at a time.
    fn spill(&self, name: TransferName) -> Result<Spill, io::Error>;
}

impl Snapshot {
    /// See [`other_level`].
    pub fn other_level(&self) -> Result<Option<u16>, io::Error> {
        Ok(other_level(&self.data.piece(0, SNAPSHOT_LEVEL_BYTES)?))
    }
}

/// The fold that a snapshot holds, and the frontier of its log if it has one. Its applied index must be the one that the
/// meta names.
pub fn read(snapshot: &Snapshot) -> Result<(Projector, Option<Frontier>), io::Error> {
    let bytes = snapshot.data.whole()?;
    let (state, frontier) = split_frontier(&bytes);
    let fold = Projector::from_snapshot_with(state, &on_all_cores).map_err(io::Error::other)?;
    let named = snapshot.meta.last_log_id.map_or(0, |log_id| log_id.index);
    if fold.applied() != named {
        let why = format!("the snapshot holds the state at {}, but is named for {named}", fold.applied());
        return Err(io::Error::other(why));
    }
    if let Some(size) = frontier.as_ref().map(Frontier::size).filter(|size| *size != named + 1) {
        let why = format!("the snapshot at {named} holds the frontier of a tree of {size} entries");
        return Err(io::Error::other(why));
    }
    Ok((fold, frontier))
}

/// The level of a snapshot whose state was folded by other rules than this program's, from its first bytes: nobody may go
/// on from it, or this node's state would part from the others' for good.
#[must_use]
pub fn other_level(first_bytes: &[u8]) -> Option<u16> {
    snapshot_level(first_bytes).filter(|level| *level != SNAPSHOT_VERSION)
}

/// Snapshots as files, sealed.
pub struct FileShelf(pub SnapshotFiles);

impl SnapshotShelf for FileShelf {
    fn keep(&self, snapshot: &Snapshot) -> Result<(), io::Error> {
        let index = snapshot.meta.last_log_id.map_or(0, |log_id| log_id.index);
        let meta = postcard::to_stdvec(&snapshot.meta).map_err(io::Error::other)?;
        // Piece by piece: what came in lies in a file, and is never as a whole in memory to be written to another.
        let piece = |offset, length| snapshot.data.piece(offset, length);
        Ok(self.0.save_from(index, &meta, snapshot.data.total(), &piece)?)
    }

    fn last(&self) -> Result<Option<Snapshot>, io::Error> {
        let Some(stored) = self.0.load_newest()?.snapshot else { return Ok(None) };
        let meta = read_meta(stored.index, &stored.meta)?;
        Ok(Some(Snapshot { meta, data: SnapshotBytes::Here(Bytes::from(stored.state)) }))
    }

    fn newest(&self) -> Result<Option<Snapshot>, io::Error> {
        let Some((file, meta)) = self.0.open_newest()? else { return Ok(None) };
        let meta = read_meta(file.index(), &meta)?;
        Ok(Some(Snapshot { meta, data: SnapshotBytes::OnDisk(Arc::new(file)) }))
    }

    fn set_aside(&self, snapshot: &Snapshot) -> Result<(), io::Error> {
        let index = snapshot.meta.last_log_id.map_or(0, |log_id| log_id.index);
        Ok(self.0.set_aside_other_level(index)?)
    }

    fn check(&self, goes_on: &mut dyn FnMut() -> bool) -> Result<usize, io::Error> {
        Ok(self.0.check_all(goes_on)?)
    }

    fn check_room(&self) -> Result<(), io::Error> {
        Ok(self.0.check_room_for_another()?)
    }

    fn spill(&self, name: TransferName) -> Result<Spill, io::Error> {
        Ok(self.0.spill(name)?)
    }
}

fn read_meta(index: LogIndex, bytes: &[u8]) -> Result<SnapshotMeta, io::Error> {
    postcard::from_bytes(bytes)
        .map_err(|e| io::Error::other(format!("snapshot at {index}: its meta is malformed: {e}")))
}
