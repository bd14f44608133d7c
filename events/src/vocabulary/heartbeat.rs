//! A heartbeat that says more than "still here". Routine ones are stored in the batch's columns.

use super::shared::DirectiveId;
use crate::ids::{DeviceId, Epoch, LogIndex, Sequence, SourceName};
use rkyv::{Archive, Deserialize, Serialize};

/// A heartbeat whose tag verified and which is not routine: the first of an epoch, a stale epoch, a sequence seen
/// before with other content, another source, new firmware, a directive obeyed.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatObserved {
    pub device: DeviceId,
    pub epoch: Epoch,
    pub sequence: Sequence,
    /// Log index of the last verdict that the sender verified.
    pub seen: LogIndex,
    /// Every sequence up to this one was answered.
    pub acked: Sequence,
    /// First 4 bytes of SHA-384 of the sealed message.
    pub digest: u32,
    pub source: SourceName,
    pub body: HeartbeatBody,
}

/// What a heartbeat says inside its seal.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    serde::Serialize,
    serde::Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
)]
pub struct HeartbeatBody {
    /// Number of the body within its boot; the spool keeps it across epochs (protocol.md rule 8).
    pub number: u32,
    /// Seconds since this start of the agent process.
    pub uptime_seconds: u32,
    pub firmware: u32,
    /// Bit set of `condition::*`.
    pub condition: u8,
    /// The highest directive obeyed; zero if none was.
    pub obeyed: DirectiveId,
}

/// Bits of a heartbeat's condition.
pub mod condition {
    /// The boot check says `Restricted`.
    pub const RESTRICTED: u8 = 1;
    /// The agent saw its clock go back.
    pub const CLOCK_ROLLBACK: u8 = 2;
    /// Heartbeats were dropped from a full spool.
    pub const SPOOL_DROPPED: u8 = 4;
}
