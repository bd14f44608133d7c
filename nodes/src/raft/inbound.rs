//! Snapshots on their way in: one at a time, bounded, and on the disk rather than in memory until they are whole.

use super::snapshot::{SNAPSHOT_BYTES_MAX, SnapshotShelf};
use super::types::Vote;
use crate::peers::message::SnapshotChunk;
use crate::storage::snapshot_spill::Spill;
use bytes::Bytes;
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
    id: u64,
    vote: Vote,
    spill: Spill,
}

/// How far a snapshot came.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The next piece starts here.
    Kept {
        offset: u64,
    },
    Whole(Bytes),
}

/// Why a piece is not kept. The sender begins again later.
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
        if chunk.offset == 0 {
            self.begin(&mut under_way, from, &chunk).await?;
        }
        let SnapshotChunk { transfer: id, offset, data, .. } = chunk;
        let is_next = |transfer: &Transfer| {
            (transfer.from, transfer.id) == (from, id) && transfer.spill.follows(offset, data.len())
        };
        if !under_way.as_ref().is_some_and(is_next) {
            return Err(InboundError::OutOfOrder { offset });
        }
        // Taken out: a piece that cannot be kept ends the transfer.
        let Some(mut transfer) = under_way.take() else { return Err(InboundError::OutOfOrder { offset }) };
        let (transfer, whole) = off_the_runtime(move || {
            transfer.spill.add(&data)?;
            let whole = if transfer.spill.is_whole() { Some(transfer.spill.read()?) } else { None };
            Ok((transfer, whole))
        })
        .await?;
        match whole {
            Some(whole) => Ok(Progress::Whole(Bytes::from(whole))),
            None => {
                let offset = transfer.spill.kept();
                *under_way = Some(transfer);
                Ok(Progress::Kept { offset })
            }
        }
    }

    /// A sender may begin anew; another one only if it leads in a later term.
    async fn begin(
        &self,
        under_way: &mut Option<Transfer>,
        from: NodeId,
        chunk: &SnapshotChunk,
    ) -> Result<(), InboundError> {
        if chunk.total > SNAPSHOT_BYTES_MAX {
            return Err(InboundError::TooLarge { total: chunk.total });
        }
        if let Some(other) = under_way.as_ref().filter(|other| other.from != from && chunk.vote <= other.vote)
        {
            return Err(InboundError::Busy { from: other.from });
        }
        // The file of the one before goes before there is another.
        let (before, shelf, total) = (under_way.take(), self.shelf.clone(), chunk.total);
        let spill = off_the_runtime(move || {
            drop(before);
            shelf.spill(total)
        })
        .await?;
        *under_way = Some(Transfer { from, id: chunk.transfer, vote: chunk.vote, spill });
        Ok(())
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, io::Error> + Send + 'static,
) -> Result<T, io::Error> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
