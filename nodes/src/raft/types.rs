//! What openraft is told about muster: its payload, its answers, its members.
//!
//! Leader ids are of the standard kind (at most one leader per term), so a log id is (term, index).

use bytes::Bytes;
use events::ids::NodeId;
use openraft::impls::leader_id_std;
use serde::{Deserialize, Serialize};
use std::fmt;

openraft::declare_raft_types!(
    /// The types of muster's raft.
    pub TypeConfig:
        D = Payload,
        R = EncodedOutcomes,
        NodeId = NodeId,
        Node = PeerNode,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<u64, NodeId>,
);

/// The term alone: with one leader per term it names the leader of committed entries.
pub type CommittedLeaderId = openraft::type_config::alias::CommittedLeaderIdOf<TypeConfig>;
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub type EntryPayload = openraft::type_config::alias::EntryPayloadOf<TypeConfig>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub type Membership = openraft::Membership<NodeId, PeerNode>;

/// The log id of (term, index).
#[must_use]
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

/// What a raft entry carries: the leader's stamp before a batch's bytes ([`events::batch::stamped`]).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Payload(pub Bytes);

/// What apply returns for an entry: postcard of the projector's outcomes. Empty for an entry without a batch.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EncodedOutcomes(pub Bytes);

/// How a member was reached when the cluster was formed; where it is reached now, each node's configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerNode {
    /// `host:port` of the peers' wire.
    pub peers_address: String,
    /// The operators' name of the node.
    pub name: String,
    pub region: String,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Debug for EncodedOutcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedOutcomes({} bytes)", self.0.len())
    }
}

impl fmt::Display for PeerNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) at {}", self.name, self.region, self.peers_address)
    }
}
