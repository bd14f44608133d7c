//! openraft's calls to its peers, over the peers' wire.

use super::purging::Transfers;
use super::snapshot_bytes::SnapshotBytes;
use super::types::{LogId, PeerNode, TypeConfig, Vote};
use crate::peers::message::{APPEND_BYTES_TARGET, SNAPSHOT_CHUNK_BYTES, SnapshotChunk, SnapshotReceipt};
use crate::peers::{PeerAddress, PeerError, PeerReply, PeerRequest, PeerTransport};
use events::ids::NodeId;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use openraft::{EntryPayload, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Makes a client per peer.
pub struct Network {
    pub own: NodeId,
    pub transport: Arc<dyn PeerTransport>,
    /// Entries must be on the peer's disk within this time; longer than openraft's own limit, which is made for
    /// heartbeats.
    pub append_within: Duration,
    /// Which members are sent a snapshot.
    pub transfers: Transfers,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: NodeId, node: &PeerNode) -> PeerClient {
        PeerClient {
            own: self.own,
            to: PeerAddress { node: target, address: node.peers_address.clone() },
            transport: self.transport.clone(),
            append_within: self.append_within,
            transfers: self.transfers.clone(),
        }
    }
}

/// Calls one peer.
pub struct PeerClient {
    own: NodeId,
    to: PeerAddress,
    transport: Arc<dyn PeerTransport>,
    append_within: Duration,
    transfers: Transfers,
}

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

impl PeerClient {
    async fn call(&self, action: RPCTypes, request: PeerRequest, within: Duration) -> Rpc<PeerReply> {
        match self.transport.call(&self.to, request, within).await {
            Ok(PeerReply::Stopped(why)) => Err(Unreachable::from_string(why).into()),
            Ok(PeerReply::Refused(why)) => Err(NetworkError::from_string(why).into()),
            Ok(reply) => Ok(reply),
            Err(PeerError::Timeout { after, .. }) => {
                Err(Timeout { action, id: self.own, target: self.to.node, timeout: after }.into())
            }
            Err(error @ (PeerError::Unreachable { .. } | PeerError::Refused { .. })) => {
                Err(Unreachable::new(&error).into())
            }
            Err(error @ PeerError::Malformed { .. }) => Err(NetworkError::new(&error).into()),
        }
    }
}

fn another_kind<T>() -> Rpc<T> {
    Err(NetworkError::from_string("the peer's reply is of another kind").into())
}

/// How many of `entries` go into one message: as many as stay below the target, at least one.
fn entries_that_fit(entries: &[super::types::Entry]) -> usize {
    let mut bytes = 0;
    let fit = entries.iter().take_while(|entry| {
        let before = bytes;
        bytes += match &entry.payload {
            EntryPayload::Normal(payload) => payload.0.len(),
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        };
        before < APPEND_BYTES_TARGET
    });
    fit.count().max(1)
}

impl RaftNetworkV2<TypeConfig> for PeerClient {
    type SnapshotData = SnapshotBytes;

    async fn append_entries(
        &mut self,
        mut rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        let within = if rpc.entries.is_empty() { option.soft_ttl() } else { self.append_within };
        let fit = entries_that_fit(&rpc.entries);
        let cut_at: Option<LogId> = (fit < rpc.entries.len()).then(|| rpc.entries[fit - 1].log_id);
        rpc.entries.truncate(fit);
        let reply = self.call(RPCTypes::AppendEntries, PeerRequest::Append(rpc), within).await?;
        match (reply, cut_at) {
            (PeerReply::Append(AppendEntriesResponse::Success), Some(last)) => {
                Ok(AppendEntriesResponse::PartialSuccess(Some(last)))
            }
            (PeerReply::Append(response), _) => Ok(response),
            _ => another_kind(),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        match self.call(RPCTypes::Vote, PeerRequest::Vote(rpc), option.soft_ttl()).await? {
            PeerReply::Vote(response) => Ok(response),
            _ => another_kind(),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        match self.call(RPCTypes::Vote, PeerRequest::PreVote(rpc), option.soft_ttl()).await? {
            PeerReply::Vote(response) => Ok(response),
            _ => another_kind(),
        }
    }

    /// Sends the snapshot in pieces; each must be kept before the next one goes.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotBytes>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let send = self.send_pieces(vote, snapshot, option.soft_ttl());
        tokio::select! {
            result = send => Ok(result?),
            closed = cancel => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        let request = PeerRequest::TransferLeader(rpc);
        match self.call(RPCTypes::TransferLeader, request, option.soft_ttl()).await? {
            PeerReply::TransferLeader(response) => Ok(response),
            _ => another_kind(),
        }
    }
}

impl PeerClient {
    /// Begins with the first piece; a peer that holds more of this snapshot, from a transfer that was cut, says so.
    async fn send_pieces(
        &self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotBytes>,
        within: Duration,
    ) -> Rpc<SnapshotResponse<TypeConfig>> {
        let (meta, data) = (snapshot.meta, snapshot.snapshot);
        let (total, mut offset) = (data.total(), 0);
        let stands_at = meta.last_log_id.map_or(0, |log_id| log_id.index);
        let transfer = from_disk(&data, |data| Ok(data.name())).await?;
        loop {
            self.transfers.moved(self.to.node, stands_at);
            let piece = from_disk(&data, move |data| data.piece(offset, SNAPSHOT_CHUNK_BYTES)).await?;
            let end = offset + piece.len() as u64;
            let chunk = SnapshotChunk { transfer, vote, meta: meta.clone(), offset, total, data: piece };
            match self.call(RPCTypes::InstallSnapshot, PeerRequest::Snapshot(chunk), within).await? {
                PeerReply::Snapshot(SnapshotReceipt::Installed(response)) => {
                    self.transfers.moved(self.to.node, stands_at);
                    return Ok(response);
                }
                PeerReply::Snapshot(SnapshotReceipt::Kept { offset: kept })
                    if kept >= end && kept < total =>
                {
                    if kept > end {
                        tracing::info!(to = self.to.node, kept, total, "a snapshot goes on where it was cut");
                    }
                    offset = kept;
                }
                PeerReply::Snapshot(SnapshotReceipt::Kept { .. }) => {
                    return Err(NetworkError::from_string("the peer lost a piece of the snapshot").into());
                }
                _ => return another_kind(),
            }
        }
    }
}

/// Reads of a snapshot where it blocks no other task.
async fn from_disk<T: Send + 'static>(
    data: &SnapshotBytes,
    read: impl FnOnce(&SnapshotBytes) -> std::io::Result<T> + Send + 'static,
) -> Rpc<T> {
    let data = data.clone();
    let read = tokio::task::spawn_blocking(move || read(&data)).await;
    let unreadable = |error: std::io::Error| {
        tracing::error!(%error, "a snapshot that is to be sent cannot be read");
        NetworkError::from_string(error.to_string()).into()
    };
    read.map_err(std::io::Error::other).and_then(|read| read).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{Entry, Payload, log_id};

    fn entry(index: u64, bytes: usize) -> Entry {
        let payload = EntryPayload::Normal(Payload(bytes::Bytes::from(vec![0; bytes])));
        Entry { log_id: log_id(1, index), payload }
    }

    #[test]
    fn an_append_is_cut_above_its_target_but_never_to_nothing() {
        let small: Vec<_> = (1..=100).map(|n| entry(n, 100)).collect();
        assert_eq!(entries_that_fit(&small), 100);
        let large: Vec<_> = (1..=3).map(|n| entry(n, APPEND_BYTES_TARGET - 1)).collect();
        assert_eq!(entries_that_fit(&large), 2, "the one that crosses the target still goes");
        assert_eq!(entries_that_fit(&[entry(1, APPEND_BYTES_TARGET)]), 1);
        assert_eq!(entries_that_fit(&[]), 1);
    }
}
