//! The log as evidence: signed heads of it, proofs; and under which keys its secrets are kept.

use events::ids::{Generation, LogIndex};
use events::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The head of the log is to be signed and committed now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignCheckpoint {}

/// A signed head of the log, and the entry that carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointShown {
    pub index: LogIndex,
    pub at: Timestamp,
    pub generation: Generation,
    /// It covers so many entries: those of indices below this number.
    pub size: u64,
    /// Root of their RFC 6962 tree, in base64.
    pub root: String,
    /// The C2SP note, which the checkpoint key's public part alone verifies.
    pub note: String,
}

/// The last checkpoints, and what this node's own log says of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointsShown {
    /// This node's own tree; none while it does not know it.
    pub tree: Option<TreeShown>,
    pub verdict: CheckpointVerdict,
    /// The latest first.
    pub checkpoints: Vec<CheckpointShown>,
}

/// The tree of what this node applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TreeShown {
    pub size: u64,
    /// In base64.
    pub root: String,
}

/// What the last checkpoint is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointVerdict {
    /// This node applied the same entries.
    Equal,
    /// One of the two logs was altered; automation stopped.
    Differs,
    /// There is none, or it came before this node's state.
    Unknown,
}

/// What a proof is to show: an entry (`index`), one item of an entry's batch (`index` and `item`), or that the log only grew
/// since it had so many entries (`since`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskProof {
    pub index: Option<LogIndex>,
    pub item: Option<u32>,
    pub since: Option<u64>,
}

/// A proof against the last checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProofShown {
    /// It covers so many entries.
    pub size: u64,
    /// The proof's file, for `muster log check`.
    pub proof: String,
}

/// How many secrets the cluster's present state keeps under a key-encryption key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyUse {
    /// `device` or `session`.
    pub purpose: String,
    /// The key's number in the keyring.
    pub key: u32,
    pub secrets: u64,
}
