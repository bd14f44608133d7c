//! The cluster itself.

use crate::ids::{ClusterId, Generation};
use crate::log::merkle::TreeHash;
use rkyv::{Archive, Deserialize, Serialize};

/// The first event of every log.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct ClusterCreated {
    pub cluster: ClusterId,
    pub generation: Generation,
    /// The interval that a device is granted when nothing else speaks, in milliseconds.
    pub heartbeat_millis: u32,
}

/// Time passed and nothing else happened: timers run on stamped log time.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct Tick {}

/// A signed head of the log ([`crate::log::checkpoint`]): of the entries before `size`, which were committed before it was
/// made. Every node compares `root` with its own.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSigned {
    pub generation: Generation,
    /// Number of entries.
    pub size: u64,
    pub root: TreeHash,
    /// Key id ‖ signature, as its note has them.
    pub signature: Vec<u8>,
}
