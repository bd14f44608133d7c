//! What was refused, as bounded summaries: an attack must not be able to grow the log.

use super::shared::plain_enum;
use crate::ids::{DeviceId, LotId, NodeId, RecordDigest, SourceId};
use crate::time::Timestamp;
use rkyv::{Archive, Deserialize, Serialize};

plain_enum! {
    /// Why a message was refused.
    RejectionReason {
        /// No known kind or version, wrong length, header and subject differ.
        Malformed = 1 => "MALFORMED",
        /// Unknown device or bad tag: one reason, so that neither can be told from the other.
        NotAuthentic = 2 => "NOT_AUTHENTIC",
        /// Authentic, but a sequence that was answered before, or a stale epoch.
        Replayed = 3 => "REPLAYED",
        /// The ticket is missing, forged, expired or of another generation.
        TicketRefused = 4 => "TICKET_REFUSED",
        /// The code is unknown, void, or used by another device: one reason for all.
        CodeRefused = 5 => "CODE_REFUSED",
        /// More than the granted rate.
        RateExceeded = 6 => "RATE_EXCEEDED",
        /// The suite or protocol version was retired.
        Downgrade = 7 => "DOWNGRADE",
        /// The reply subject is not below the device's own inbox.
        ReplySubject = 8 => "REPLY_SUBJECT",
        /// Larger than any message may be.
        Oversized = 9 => "OVERSIZED",
        /// The node could not decide now (no leader, queue full); says nothing about the sender.
        Unavailable = 10 => "UNAVAILABLE",
        /// The epoch was superseded, or the sequence is too old: resume.
        EpochStale = 11 => "EPOCH_STALE",
        /// The device has no license that allows this.
        NotLicensed = 12 => "NOT_LICENSED",
    }
}

/// What one node refused in one window, bounded by `limits::REJECTION_ENTRIES_MAX`.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct RejectionSummary {
    pub node: NodeId,
    pub from: Timestamp,
    pub until: Timestamp,
    pub entries: Vec<RejectionCount>,
    /// Refusals of sources that found no place in `entries`.
    pub overflow: u64,
}

/// Refusals are charged to the source, never to the device named (protocol.md rule 3).
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct RejectionCount {
    pub source: SourceId,
    pub reason: RejectionReason,
    /// Only where the device's own signature or tag was verified (`CODE_REFUSED`, `RATE_EXCEEDED`).
    pub device: Option<DeviceId>,
    pub count: u32,
}

plain_enum! {
    /// What a boot check found.
    TamperReason {
        RequiredHardware = 1 => "REQUIRED_HARDWARE",
        ComponentMismatch = 2 => "COMPONENT_MISMATCH",
        RecordInvalid = 3 => "RECORD_INVALID",
        RecordMissing = 4 => "RECORD_MISSING",
    }
}

/// A terminal's boot check ended `Restricted`. Authenticated by a key of the lot only: raises `tamper` on record,
/// lot and source, never on the device named (protocol.md rule 25).
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct TamperReported {
    pub lot: LotId,
    pub record: RecordDigest,
    pub reason: TamperReason,
    /// Bit `n` set: the component of `ComponentKind` number `n` differs.
    pub mismatched: u16,
    pub source: SourceId,
}
