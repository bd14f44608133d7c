//! Snapshots on their way in: one at a time, bounded, and on the disk rather than in memory, also once they are whole.
//!
//! A transfer that was cut goes on: whoever begins the same one again is told how much of it is here already.

use super::snapshot::{SNAPSHOT_BYTES_MAX, SnapshotShelf};
use super::snapshot_bytes::SnapshotBytes;
use super::types::Vote;
use crate::peers::message::SnapshotChunk;
use crate::storage::snapshot_on_disk::SnapshotOnDisk;
use crate::storage::snapshot_spill::{Spill, TransferName};
use events::ids::NodeId;
use std::io;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Keeps the pieces of the one snapshot that is under way.
pub struct Inbound {
    shelf: Arc<dyn SnapshotShelf>,
    /// Held while a piece is written, so that pieces come one after the other.
    transfer: Mutex<Option<Transfer>>,
}

struct Transfer {
    from: NodeId,
    name: TransferName,
    vote: Vote,
    spill: Spill,
}

/// What is there after a piece.
enum Kept {
    Part(Transfer),
    All(SnapshotOnDisk),
}

/// How far a snapshot came.
#[derive(Debug)]
pub enum Progress {
    /// The next piece starts here.
    Kept { offset: u64 },
    /// All of it, sealed in its file.
    Whole(SnapshotBytes),
}

/// Why a piece is not kept. The sender comes again later.
#[derive(Debug, thiserror::Error)]
pub enum InboundError {
    #[error("a snapshot of {total} bytes is larger than the {SNAPSHOT_BYTES_MAX} that may be")]
    TooLarge { total: u64 },
    #[error("a snapshot of node {from}, which leads as far as this node knows, is on its way in")]
    Busy { from: NodeId },
    #[error("a piece at byte {offset} does not follow what was kept")]
    OutOfOrder { offset: u64 },
    #[error("it cannot be kept: {0}")]
    Disk(#[from] io::Error),
}

impl Inbound {
    #[must_use]
    pub fn new(shelf: Arc<dyn SnapshotShelf>) -> Self {
        Inbound { shelf, transfer: Mutex::default() }
    }

    /// Adds a piece from a sender whose vote was found good; the whole snapshot if it was the last one.
    pub async fn add(&self, from: NodeId, chunk: SnapshotChunk) -> Result<Progress, InboundError> {
        let mut under_way = self.transfer.lock().await;
        self.refuse(under_way.as_ref(), from, &chunk)?;
        let mut transfer = match under_way.take() {
            Some(transfer) if transfer.name == name_of(&chunk) => transfer,
            before if chunk.offset == 0 => self.begin(before, from, &chunk).await?,
            before => {
                *under_way = before;
                return Err(InboundError::OutOfOrder { offset: chunk.offset });
            }
        };
        (transfer.from, transfer.vote) = (from, chunk.vote);
        let (kept, SnapshotChunk { offset, data, .. }) = (transfer.spill.kept(), chunk);
        let follows = transfer.spill.follows(offset, data.len());
        if !follows && offset >= kept {
            *under_way = Some(transfer);
            return Err(InboundError::OutOfOrder { offset });
        }
        let kept = off_the_runtime(move || {
            // What is here already need not come again.
            if follows && let Err(error) = transfer.spill.add(&data) {
                transfer.spill.discard();
                return Err(error.into());
            }
            match transfer.spill.is_whole() {
                true => Ok(Kept::All(transfer.spill.finish()?)),
                false => Ok(Kept::Part(transfer)),
            }
        });
        match kept.await? {
            Kept::All(file) => Ok(Progress::Whole(SnapshotBytes::OnDisk(Arc::new(file)))),
            Kept::Part(transfer) => {
                let offset = transfer.spill.kept();
                *under_way = Some(transfer);
                Ok(Progress::Kept { offset })
            }
        }
    }

    /// What may not be. Another sender may take over only if it leads in a later term.
    fn refuse(
        &self,
        under_way: Option<&Transfer>,
        from: NodeId,
        chunk: &SnapshotChunk,
    ) -> Result<(), InboundError> {
        if chunk.total > SNAPSHOT_BYTES_MAX {
            return Err(InboundError::TooLarge { total: chunk.total });
        }
        match under_way.filter(|other| other.from != from && chunk.vote <= other.vote) {
            Some(other) => Err(InboundError::Busy { from: other.from }),
            None => Ok(()),
        }
    }

    /// The file of the one before goes before there is another.
    async fn begin(
        &self,
        before: Option<Transfer>,
        from: NodeId,
        chunk: &SnapshotChunk,
    ) -> Result<Transfer, InboundError> {
        let (shelf, name) = (self.shelf.clone(), name_of(chunk));
        let spill = off_the_runtime(move || {
            if let Some(before) = before {
                before.spill.discard();
            }
            shelf.spill(name)
        })
        .await?;
        Ok(Transfer { from, name, vote: chunk.vote, spill })
    }
}

fn name_of(chunk: &SnapshotChunk) -> TransferName {
    let index = chunk.meta.last_log_id.map_or(0, |log_id| log_id.index);
    TransferName { id: chunk.transfer, index, total: chunk.total }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, io::Error> + Send + 'static,
) -> Result<T, io::Error> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
