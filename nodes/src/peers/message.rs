//! What members say to each other. Encoded with postcard; bounded by [`MESSAGE_BYTES_MAX`].

use crate::leader::clock_guard::ClockVerdict;
use crate::proposer::ProposeError;
use crate::raft::types::{SnapshotMeta, TypeConfig, Vote};
use crate::shared_projector::LevelDigest;
use crate::storage::view::LogEntry;
use bytes::Bytes;
use events::ids::{LogIndex, NodeId};
use events::limits::{BATCH_BYTES_MAX, FRAME_BYTES_MAX};
use events::log::record::{EntryBody, LogPosition};
use events::time::Timestamp;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One message, in bytes: a forwarded batch or one entry must fit.
pub const MESSAGE_BYTES_MAX: usize = FRAME_BYTES_MAX + 64 * 1024;
/// The entries of one append are cut above this many bytes of payload.
pub const APPEND_BYTES_TARGET: usize = 4 * 1024 * 1024;
/// A range of committed entries ends once it exceeds so many bytes.
pub const RANGE_BYTES_TARGET: usize = 2 * 1024 * 1024;
/// A snapshot travels in pieces of this size.
pub const SNAPSHOT_CHUNK_BYTES: usize = crate::storage::snapshot_spill::PIECE_BYTES;

const _: () = {
    assert!(APPEND_BYTES_TARGET + BATCH_BYTES_MAX + 64 * 1024 <= MESSAGE_BYTES_MAX);
    assert!(RANGE_BYTES_TARGET <= APPEND_BYTES_TARGET);
    assert!(SNAPSHOT_CHUNK_BYTES < MESSAGE_BYTES_MAX);
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PeerRequest {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    Snapshot(SnapshotChunk),
    /// A batch that a follower's ingress made, for the leader to stamp and propose.
    Forward(ForwardedBatch),
    /// An operator wants another member to lead: this one, or the leader's choice.
    HandOver {
        to: Option<NodeId>,
    },
    Status,
    /// How far this member's log is known committed, and in which term it is: for one that repairs its log.
    LogStanding,
    /// Committed entries from this index on, for one that repairs its log.
    LogRange {
        from: LogIndex,
    },
    /// How far deliveries to webhooks came, by name, as far as the sender knows.
    WebhookCursors(BTreeMap<String, LogIndex>),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PeerReply {
    Append(AppendEntriesResponse<TypeConfig>),
    Vote(VoteResponse<TypeConfig>),
    TransferLeader(TransferLeaderResponse<TypeConfig>),
    Snapshot(SnapshotReceipt),
    /// Postcard of the outcomes, or why there are none.
    Forward(Result<Bytes, ProposeError>),
    /// Whom the leader asked to lead; none if it could not.
    HandOver {
        to: Option<NodeId>,
    },
    Status(PeerStatus),
    /// This member's raft has stopped.
    Stopped(String),
    /// This member understood and will not do it now.
    Refused(String),
    LogStanding(LogStanding),
    /// In order and without a gap, about [`RANGE_BYTES_TARGET`]; none if the first one is not held.
    LogRange(Vec<CommittedEntry>),
    /// What this member knows of the same.
    WebhookCursors(BTreeMap<String, LogIndex>),
}

/// Where a member's log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStanding {
    /// Of its vote, as it lies on its disk.
    pub term: u64,
    /// Whether it leads in that term.
    pub leads: bool,
    /// (term, index) of the last entry that it knows committed.
    pub committed: Option<(u64, LogIndex)>,
    /// The last entry of its log, or one after it.
    pub last: Option<LogIndex>,
}

/// An entry that a majority agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedEntry {
    pub term: u64,
    pub index: LogIndex,
    pub body: CommittedBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommittedBody {
    Blank,
    Batch(Bytes),
    Membership(Bytes),
}

impl From<LogEntry> for CommittedEntry {
    fn from(entry: LogEntry) -> Self {
        let body = match entry.body {
            EntryBody::Blank => CommittedBody::Blank,
            EntryBody::Batch(bytes) => CommittedBody::Batch(bytes),
            EntryBody::Membership(bytes) => CommittedBody::Membership(bytes),
        };
        CommittedEntry { term: entry.at.term, index: entry.at.index, body }
    }
}

impl From<CommittedEntry> for LogEntry {
    fn from(CommittedEntry { term, index, body }: CommittedEntry) -> Self {
        let body = match body {
            CommittedBody::Blank => EntryBody::Blank,
            CommittedBody::Batch(bytes) => EntryBody::Batch(bytes),
            CommittedBody::Membership(bytes) => EntryBody::Membership(bytes),
        };
        LogEntry { at: LogPosition { term, index }, body }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ForwardedBatch {
    pub batch: Bytes,
    /// W3C `traceparent` of the span that forwards.
    pub trace: Option<String>,
}

/// A piece of a snapshot. Pieces of one transfer come in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// Names the bytes that are sent: the same snapshot of the same sender has the same name after a cut.
    pub transfer: u64,
    pub vote: Vote,
    pub meta: SnapshotMeta,
    pub offset: u64,
    pub total: u64,
    pub data: Bytes,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum SnapshotReceipt {
    /// Kept so far; the next piece starts here, which may lie beyond the piece that was answered: what came before a cut
    /// need not come again.
    Kept {
        offset: u64,
    },
    Installed(SnapshotResponse<TypeConfig>),
}

/// What a member says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    pub node: NodeId,
    /// Its wall clock when it answered.
    pub clock: Timestamp,
    /// Whether its log holds anything, be it a membership only.
    pub initialized: bool,
    pub term: u64,
    pub leader: Option<NodeId>,
    pub applied: LogIndex,
    /// `Projector::level` of its program; 0 while it has no fold yet.
    pub level: u16,
    /// State digests at recent fixed indices, ascending.
    pub digests: Vec<LevelDigest>,
    /// What a majority's clocks say of its own: one that is off must not be asked to lead.
    pub clock_verdict: ClockVerdict,
    /// Version of its program.
    pub version: String,
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed peer message: {0}")]
pub struct MessageError(String);

/// Encodes a request or a reply.
pub fn encode<T: Serialize>(message: &T) -> Result<Bytes, MessageError> {
    encode_after(Vec::new(), message).map(Bytes::from)
}

/// Encodes a request or a reply behind what stands before it.
pub(super) fn encode_after<T: Serialize>(head: Vec<u8>, message: &T) -> Result<Vec<u8>, MessageError> {
    postcard::to_extend(message, head).map_err(|e| MessageError(e.to_string()))
}

/// Decodes a request or a reply; bytes that are left over are refused.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, MessageError> {
    let (message, rest) = postcard::take_from_bytes(bytes).map_err(|e| MessageError(e.to_string()))?;
    if rest.is_empty() { Ok(message) } else { Err(MessageError(format!("{} bytes too many", rest.len()))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{Payload, log_id};
    use openraft::{Entry, EntryPayload};
    use proptest::prelude::*;

    #[test]
    fn an_append_survives_the_wire() {
        let entry = Entry {
            log_id: log_id(3, 7),
            payload: EntryPayload::Normal(Payload(Bytes::from_static(b"stamp and batch"))),
        };
        let request = AppendEntriesRequest::<TypeConfig> {
            vote: openraft::Vote::new_committed(3, 1),
            prev_log_id: Some(log_id(2, 6)),
            entries: vec![entry],
            leader_commit: None,
        };
        let bytes = encode(&PeerRequest::Append(request)).unwrap();
        let PeerRequest::Append(read) = decode(&bytes).unwrap() else { panic!("another kind came back") };
        assert_eq!(read.prev_log_id, Some(log_id(2, 6)));
        let EntryPayload::Normal(payload) = &read.entries[0].payload else { panic!("another payload") };
        assert_eq!(payload.0, "stamp and batch");
    }

    #[test]
    fn bytes_left_over_are_refused() {
        let mut bytes = encode(&PeerRequest::Status).unwrap().to_vec();
        bytes.push(0);
        assert!(decode::<PeerRequest>(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_reader(bytes: Vec<u8>) {
            let _ = decode::<PeerRequest>(&bytes);
            let _ = decode::<PeerReply>(&bytes);
        }
    }
}
