//! What this node does with its peers' calls.

use super::MusterRaft;
use super::inbound::{Inbound, Progress};
use super::leadership::Leadership;
use super::snapshot::other_level;
use super::snapshot_bytes::SnapshotBytes;
use super::types::TypeConfig;
use crate::clock::Clock;
use crate::leader::clock_guard::{ClockGuard, ClockVerdict};
use crate::leader::transfer;
use crate::peers::message::{
    CommittedEntry, ForwardedBatch, LogStanding, RANGE_BYTES_TARGET, SnapshotChunk, SnapshotReceipt,
};
use crate::peers::watch::PeerReports;
use crate::peers::{PeerReply, PeerRequest, PeerService, PeerStatus};
use crate::proposer::Proposer;
use crate::shared_projector::SharedProjector;
use crate::storage::archive::Archive;
use crate::storage::log::DurableLog;
use crate::telemetry::trace::continue_from;
use crate::webhooks::Cursors;
use bytes::Bytes;
use events::ids::{LogIndex, NodeId};
use futures::future::BoxFuture;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::RaftError;
use openraft::raft::{SnapshotResponse, TransferLeaderRequest};
use openraft::type_config::alias::SnapshotOf;
use projector::{SNAPSHOT_LEVEL_BYTES, SNAPSHOT_VERSION};
use std::cmp::Ordering;
use std::sync::Arc;
use tokio::sync::watch;
use tracing::Instrument;

/// Answers peers for one node.
pub struct Receiver {
    pub raft: MusterRaft,
    pub proposer: Proposer,
    pub projector: SharedProjector,
    pub clock: Arc<dyn Clock>,
    pub clock_guard: Arc<ClockGuard>,
    pub reports: watch::Receiver<Arc<PeerReports>>,
    pub inbound: Inbound,
    pub log: Arc<DurableLog>,
    /// For peers that repair their log.
    pub archive: Arc<Archive>,
    pub webhook_cursors: Arc<Cursors>,
}

impl Receiver {
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
            level: self.projector.read(|fold| fold.level()),
            digests: self.projector.digests(),
            clock_verdict: self.clock_guard.verdict(),
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
            PeerRequest::TransferLeader(rpc) => self.take_leadership(rpc).await,
            PeerRequest::Snapshot(chunk) => self.keep_piece(from, chunk).await,
            PeerRequest::Forward(forwarded) => PeerReply::Forward(self.take_forwarded(forwarded).await),
            PeerRequest::HandOver { to } => {
                let reports = self.reports.borrow().clone();
                PeerReply::HandOver { to: transfer::hand_over_to(&self.raft, &reports, to).await }
            }
            PeerRequest::Status => PeerReply::Status(self.status()),
            PeerRequest::LogStanding => self.log_standing(),
            PeerRequest::LogRange { from } => log_range(self.archive.clone(), from).await,
            PeerRequest::WebhookCursors(theirs) => {
                self.webhook_cursors.learn(&theirs);
                PeerReply::WebhookCursors(self.webhook_cursors.all())
            }
        }
    }

    fn log_standing(&self) -> PeerReply {
        let standing = self.log.standing();
        let leads =
            matches!(standing.vote, Some(vote) if vote.committed && vote.node == *self.raft.node_id());
        PeerReply::LogStanding(LogStanding {
            term: standing.vote.map_or(0, |vote| vote.term),
            leads,
            committed: standing.committed.map(|at| (at.term, at.index)),
            last: standing.last.map(|at| at.index),
        })
    }

    async fn take_forwarded(
        &self,
        forwarded: ForwardedBatch,
    ) -> Result<Bytes, crate::proposer::ProposeError> {
        let span = tracing::info_span!("propose_forwarded", bytes = forwarded.batch.len());
        continue_from(&span, forwarded.trace.as_deref());
        self.proposer.propose_here(forwarded.batch).instrument(span).await
    }

    /// A node whose clock is off may not stamp, so it takes no leadership that is handed to it (protocol.md rule 10).
    async fn take_leadership(&self, rpc: TransferLeaderRequest<TypeConfig>) -> PeerReply {
        if let ClockVerdict::Off { by_millis } = self.clock_guard.verdict()
            && rpc.to_node_id() == self.raft.node_id()
        {
            let why = format!("this node's clock is {by_millis} ms off the others', so it may not lead");
            tracing::warn!(by_millis, "refused the leadership");
            return PeerReply::Refused(why);
        }
        match self.raft.handle_transfer_leader(rpc).await {
            Ok(response) => PeerReply::TransferLeader(response),
            Err(fatal) => PeerReply::Stopped(fatal.to_string()),
        }
    }

    async fn keep_piece(&self, from: NodeId, chunk: SnapshotChunk) -> PeerReply {
        if let Some(refused) = self.judge_vote(&chunk) {
            return refused;
        }
        if chunk.offset == 0
            && let Some(refused) = refuse_other_level(&chunk.data)
        {
            return refused;
        }
        let (vote, meta) = (chunk.vote, chunk.meta.clone());
        let data = match self.inbound.add(from, chunk).await {
            Ok(Progress::Whole(data)) => data,
            Ok(Progress::Kept { offset }) => return PeerReply::Snapshot(SnapshotReceipt::Kept { offset }),
            Err(refusal) => {
                tracing::warn!(from, %refusal, "refused a piece of a snapshot");
                return PeerReply::Refused(refusal.to_string());
            }
        };
        // It may have begun to come to a former version of this program.
        if let Some(refused) = refuse_other_level(&first_bytes(&data).await) {
            return refused;
        }
        tracing::info!(from, bytes = data.total(), "received a snapshot");
        let snapshot = SnapshotOf::<TypeConfig, SnapshotBytes> { meta, snapshot: data };
        match self.raft.install_full_snapshot(vote, snapshot).await {
            Ok(response) => PeerReply::Snapshot(SnapshotReceipt::Installed(response)),
            Err(fatal) => PeerReply::Stopped(fatal.to_string()),
        }
    }

    /// Only the leader that this node would follow may send a snapshot: looked at before a byte of it is kept.
    fn judge_vote(&self, chunk: &SnapshotChunk) -> Option<PeerReply> {
        let own = self.raft.metrics().borrow_watched().vote;
        match chunk.vote.partial_cmp(&own) {
            Some(Ordering::Greater | Ordering::Equal) if chunk.vote.committed => None,
            // The sender learns that it leads no more.
            Some(Ordering::Less) => {
                Some(PeerReply::Snapshot(SnapshotReceipt::Installed(SnapshotResponse::new(own))))
            }
            _ => Some(PeerReply::Refused("only a leader sends snapshots".to_owned())),
        }
    }

    /// Whether this node leads; for tests and status.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership::now(&self.raft)
    }
}

/// During a rolling upgrade a leader may send what this program's rules did not make: to fail over it would stop this node,
/// and it is served once a member of its own level leads.
fn refuse_other_level(first_bytes: &[u8]) -> Option<PeerReply> {
    let level = other_level(first_bytes)?;
    let why =
        format!("a snapshot of level {level} is of no use to this node, whose level is {SNAPSHOT_VERSION}");
    tracing::warn!(level, own = SNAPSHOT_VERSION, "refused a snapshot of another level");
    Some(PeerReply::Refused(why))
}

/// As far as they tell the level; none if they cannot be read, which installing it will find too.
async fn first_bytes(data: &SnapshotBytes) -> Bytes {
    let data = data.clone();
    let read = tokio::task::spawn_blocking(move || data.piece(0, SNAPSHOT_LEVEL_BYTES)).await;
    read.ok().and_then(Result::ok).unwrap_or_default()
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
        PeerRequest::TransferLeader(_)
        | PeerRequest::HandOver { .. }
        | PeerRequest::Status
        | PeerRequest::LogStanding
        | PeerRequest::LogRange { .. }
        | PeerRequest::WebhookCursors(_) => None,
    }
}

impl PeerService for Receiver {
    fn answer(&self, from: NodeId, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        Box::pin(self.receive(from, request))
    }
}

/// A range of the history in `archive`.
pub(crate) async fn log_range(archive: Arc<Archive>, from: LogIndex) -> PeerReply {
    let read = tokio::task::spawn_blocking(move || archive.range(from, RANGE_BYTES_TARGET)).await;
    match read {
        Ok(Ok(entries)) => PeerReply::LogRange(entries.into_iter().map(CommittedEntry::from).collect()),
        Ok(Err(error)) => PeerReply::Refused(error.to_string()),
        Err(error) => PeerReply::Refused(error.to_string()),
    }
}

fn or_stopped<T>(result: Result<T, RaftError<TypeConfig>>, reply: impl FnOnce(T) -> PeerReply) -> PeerReply {
    match result {
        Ok(response) => reply(response),
        Err(error) => PeerReply::Stopped(error.to_string()),
    }
}
