//! A heartbeat that says more than "still here". Routine ones are stored in the batch's columns.

use super::shared::DirectiveId;
use crate::ids::{DeviceId, Epoch, LogIndex, Sequence, SourceId};
use crate::time::Timestamp;
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
    pub source: SourceId,
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

/// A heartbeat that brought bodies from a spool: it could not be said when they were made.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct SpoolDrained {
    pub heartbeat: HeartbeatObserved,
    /// At most `limits::SPOOLED_BODIES_MAX`.
    pub spooled: Vec<SpooledBody>,
}

/// A heartbeat that was made while nobody could be reached, as a later one brings it.
#[derive(
    Archive, Serialize, Deserialize, serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq,
)]
pub struct SpooledBody {
    /// The start of the agent that made it, as that one counted its starts.
    pub boot_count: u32,
    /// Its number within that boot: with the boot it is one body, however often and under whatever epoch it comes.
    pub number: u32,
    pub uptime_seconds: u32,
    pub firmware: u32,
    /// It was made no earlier than this: the time floor of that boot and what its monotonic clock counted on from there.
    /// The terminal's word alone: for people to look at, and nothing is derived from it.
    pub made: Timestamp,
    /// Bit set of `condition::*`, as it was then.
    pub condition: u8,
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
