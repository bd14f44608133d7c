//! Whether this node lives, and whether it is of use.

use events::ids::{LogIndex, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The process answers, and nothing that it stands on has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Live {
    pub live: bool,
    pub why: Option<String>,
}

/// Whether this node is of use now: to operators (`/health/api`), to operators and terminals (`/health/ready`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    pub ready: bool,
    /// Everything that stands in the way; empty if ready.
    pub why_not: Vec<WhyNot>,
    pub leader: Option<NodeId>,
    pub applied: LogIndex,
    /// Entries that a leader is known to have committed and this node has not applied.
    pub lag_entries: u64,
}

/// One thing in the way of a node's work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyNot {
    pub code: WhyNotCode,
    pub message: String,
    pub what_to_do: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WhyNotCode {
    /// The log is being opened, or repaired.
    Starting,
    /// It is about to stop, and answers what it took in.
    Draining,
    /// Storage or raft failed: the process is about to end.
    Stopped,
    /// No node leads, as far as this one knows.
    NoLeader,
    /// It leads, but no majority answers it or its clock is off; or the leader does not answer it.
    NoQuorum,
    /// The disk is nearly full, so it takes nothing in.
    NoRoom,
    /// It is too far behind the leader.
    Lagging,
    /// NATS cannot be reached, or must not be used.
    NoBus,
    /// It is not in the NATS queue group, so that nothing of what terminals send comes to it.
    NotJoined,
}
