//! What this node does with its peers' calls.

use super::MusterRaft;
use super::leadership::Leadership;
use super::machine::SnapshotBytes;
use super::snapshot::SNAPSHOT_BYTES_MAX;
use super::types::TypeConfig;
use crate::clock::Clock;
use crate::leader::transfer;
use crate::peers::message::{ForwardedBatch, SnapshotChunk, SnapshotReceipt};
use crate::peers::{PeerReply, PeerRequest, PeerService, PeerStatus};
use crate::proposer::Proposer;
use crate::shared_projector::SharedProjector;
use crate::telemetry::trace::continue_from;
use bytes::{Bytes, BytesMut};
use events::ids::NodeId;
use futures::future::BoxFuture;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::RaftError;
use openraft::type_config::alias::SnapshotOf;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::Instrument;

/// Answers peers for one node.
pub struct Receiver {
    pub raft: MusterRaft,
    pub proposer: Proposer,
    pub projector: SharedProjector,
    pub clock: Arc<dyn Clock>,
    transfers: Mutex<BTreeMap<NodeId, Transfer>>,
}

/// A snapshot on its way in; one per sender.
struct Transfer {
    id: u64,
    kept: BytesMut,
}

impl Receiver {
    #[must_use]
    pub fn new(
        raft: MusterRaft,
        proposer: Proposer,
        projector: SharedProjector,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Receiver { raft, proposer, projector, clock, transfers: Mutex::default() }
    }

    /// What this node says of itself.
    #[must_use]
    pub fn status(&self) -> PeerStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        PeerStatus {
            node: metrics.id,
            clock: self.clock.now(),
            initialized: metrics.last_log_index.is_some() || metrics.snapshot.is_some(),
            term: metrics.current_term,
            leader: metrics.current_leader,
            applied: self.projector.read(|fold| fold.applied()),
            digests: self.projector.digests(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    async fn receive(&self, from: NodeId, request: PeerRequest) -> PeerReply {
        if let Some(other) = speaks_for(&request).filter(|&named| named != from) {
            tracing::warn!(from, other, "refused: a peer spoke in the name of another");
            return PeerReply::Stopped(format!("node {from} cannot speak for node {other}"));
        }
        match request {
            PeerRequest::Append(rpc) => or_stopped(self.raft.append_entries(rpc).await, PeerReply::Append),
            PeerRequest::Vote(rpc) => or_stopped(self.raft.vote(rpc).await, PeerReply::Vote),
            PeerRequest::PreVote(rpc) => or_stopped(self.raft.pre_vote(rpc).await, PeerReply::Vote),
            PeerRequest::TransferLeader(rpc) => match self.raft.handle_transfer_leader(rpc).await {
                Ok(response) => PeerReply::TransferLeader(response),
                Err(fatal) => PeerReply::Stopped(fatal.to_string()),
            },
            PeerRequest::Snapshot(chunk) => self.keep_piece(from, chunk).await,
            PeerRequest::Forward(forwarded) => PeerReply::Forward(self.take_forwarded(forwarded).await),
            PeerRequest::HandOver { to } => {
                PeerReply::HandOver { to: transfer::hand_over_to(&self.raft, to).await }
            }
            PeerRequest::Status => PeerReply::Status(self.status()),
        }
    }

    async fn take_forwarded(
        &self,
        forwarded: ForwardedBatch,
    ) -> Result<Bytes, crate::proposer::ProposeError> {
        let span = tracing::info_span!("propose_forwarded", bytes = forwarded.batch.len());
        continue_from(&span, forwarded.trace.as_deref());
        self.proposer.propose_here(forwarded.batch).instrument(span).await
    }

    async fn keep_piece(&self, from: NodeId, chunk: SnapshotChunk) -> PeerReply {
        let total = chunk.total;
        let (vote, meta) = (chunk.vote, chunk.meta.clone());
        let Some(data) = self.add_piece(from, chunk) else {
            let transfers = self.transfers.lock();
            let kept = transfers.get(&from).map_or(0, |transfer| transfer.kept.len() as u64);
            return PeerReply::Snapshot(SnapshotReceipt::Kept { offset: kept });
        };
        tracing::info!(from, bytes = total, "received a snapshot");
        let snapshot = SnapshotOf::<TypeConfig, SnapshotBytes> { meta, snapshot: SnapshotBytes(data) };
        match self.raft.install_full_snapshot(vote, snapshot).await {
            Ok(response) => PeerReply::Snapshot(SnapshotReceipt::Installed(response)),
            Err(fatal) => PeerReply::Stopped(fatal.to_string()),
        }
    }

    /// Adds a piece; the whole snapshot if it was the last one. A piece out of order is not kept.
    fn add_piece(&self, from: NodeId, chunk: SnapshotChunk) -> Option<Bytes> {
        let mut transfers = self.transfers.lock();
        if chunk.offset == 0 {
            transfers.insert(from, Transfer { id: chunk.transfer, kept: BytesMut::new() });
        }
        let transfer = transfers.get_mut(&from).filter(|transfer| transfer.id == chunk.transfer)?;
        let end = chunk.offset + chunk.data.len() as u64;
        let in_order = transfer.kept.len() as u64 == chunk.offset;
        if !in_order || end > chunk.total || chunk.total > SNAPSHOT_BYTES_MAX {
            return None;
        }
        transfer.kept.extend_from_slice(&chunk.data);
        if end < chunk.total {
            return None;
        }
        transfers.remove(&from).map(|transfer| transfer.kept.freeze())
    }

    /// Whether this node leads; for tests and status.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership::now(&self.raft)
    }
}

/// In whose name a request speaks, where it names anybody: a member proves who it is by its certificate, and must not
/// vote, append or attest as another.
fn speaks_for(request: &PeerRequest) -> Option<NodeId> {
    match request {
        PeerRequest::Append(rpc) => Some(rpc.vote.leader_id.voted_for),
        PeerRequest::Vote(rpc) | PeerRequest::PreVote(rpc) => Some(rpc.vote.leader_id.voted_for),
        PeerRequest::Snapshot(chunk) => Some(chunk.vote.leader_id.voted_for),
        // A malformed batch is refused by the proposer, with its reason.
        PeerRequest::Forward(forwarded) => {
            events::batch::access(&forwarded.batch).ok().map(|batch| batch.batch_id().node)
        }
        PeerRequest::TransferLeader(_) | PeerRequest::HandOver { .. } | PeerRequest::Status => None,
    }
}

impl PeerService for Receiver {
    fn answer(&self, from: NodeId, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        Box::pin(self.receive(from, request))
    }
}

fn or_stopped<T>(result: Result<T, RaftError<TypeConfig>>, reply: impl FnOnce(T) -> PeerReply) -> PeerReply {
    match result {
        Ok(response) => reply(response),
        Err(error) => PeerReply::Stopped(error.to_string()),
    }
}
