//! The cluster itself.

use crate::ids::{ClusterId, Generation};
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
