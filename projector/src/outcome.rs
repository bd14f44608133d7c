//! What became of each event of a batch. Every node computes the same outcomes; they travel between nodes as
//! postcard, and the node that took a message seals its answer from its outcome alone.

use events::ids::{DeviceId, Epoch, Generation, LicenseId, LogIndex, Slot};
use events::time::Timestamp;
use events::vocabulary::license::Plan;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{DirectiveId, Legitimacy, OperationKind, Suite, Wrapped};
use serde::{Deserialize, Serialize};

/// What became of one raft entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    pub index: LogIndex,
    /// The fold's time at this entry: the leader's stamp, or the last one if that was later.
    pub stamp: Timestamp,
    /// The batch came before; nothing was applied, and what is answered was derived from what was kept.
    pub duplicate: bool,
    /// One per event, in the batch's order.
    pub events: Vec<Outcome>,
    /// One per row, in the batch's order.
    pub heartbeats: HeartbeatOutcomes,
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Applied; there is nothing more to say.
    Accepted,
    /// `DeviceActivated`: the epoch that was granted, now or when the same activation came first.
    Activated(Box<Grant>),
    /// `SessionResumed`: the epoch that was granted, now or when the same resume came first.
    Resumed(Box<Grant>),
    /// `HeartbeatObserved`.
    Observed(HeartbeatOutcome),
    /// `DeviceProvisioned`: the device's slot, for ever.
    Imported { slot: Slot },
    /// `OperationOrdered`: what the device is to obey, if the operation is of that kind.
    Ordered { directive: Option<DirectiveView> },
    /// The log says this already; nothing was changed.
    Duplicate,
    /// The epoch proposed is not the next one any more: propose again with this one.
    Raced { expected: Epoch },
    /// A device's message is refused; the node that took it counts it in its summary, the fold does not.
    Refused(RejectionReason),
    /// An event of the factory or of an operator is refused; nothing was changed.
    Declined(Decline),
    /// A request of this key was done before, by this entry; nothing was changed.
    Repeated { first: LogIndex },
}

/// Why an event of the factory or of an operator was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Decline {
    #[error("the log has no cluster yet: `ClusterCreated` comes first")]
    NoCluster,
    #[error("another cluster, or a generation that is not newer")]
    WrongCluster,
    #[error("the lot is unknown")]
    UnknownLot,
    #[error("the lot exists with other properties")]
    LotConflict,
    #[error("the station is unknown")]
    UnknownStation,
    #[error("the station is certified for another lot or with another key")]
    StationConflict,
    #[error("the station was revoked")]
    StationRevoked,
    #[error("the station's quota is used up")]
    QuotaExhausted,
    #[error("the record was burned after the station's certificate ended")]
    CertificateEnded,
    #[error("the device id is not the digest of the public key")]
    DeviceIdMismatch,
    #[error("the device was imported with other properties")]
    DeviceConflict,
    #[error("the OTP record belongs to another device")]
    RecordConflict,
    #[error("the station's unit number belongs to another device")]
    UnitConflict,
    #[error("the device is unknown")]
    UnknownDevice,
    #[error("the code is unknown")]
    UnknownCode,
    #[error("the code was redeemed; suspend its license instead")]
    CodeUsed,
    #[error("one of the codes was issued in another batch")]
    CodeConflict,
    #[error("the flag is unknown")]
    UnknownFlag,
    #[error("the order is unknown")]
    UnknownOrder,
    #[error("the device's state does not allow this operation")]
    NotApplicable,
    #[error("this version cannot carry out operations of this kind")]
    Unsupported,
    #[error("only a person may order this")]
    PersonOnly,
    #[error("the flag that caused the order is not open, or not this device's")]
    CauseNotOpen,
    #[error("a person reinstated the device a short while ago")]
    CoolingDown,
    #[error("automation stopped: too many devices were restricted within an hour")]
    BreakerOpen,
    #[error("longer than allowed, or otherwise not well formed")]
    Malformed,
    #[error("the license is unknown")]
    UnknownLicense,
    #[error("the license belongs to another device")]
    LicenseElsewhere,
    #[error("the license ended")]
    LicenseEnded,
    #[error("the license ends later already")]
    EndsLater,
    #[error("the device has another license")]
    DeviceLicensed,
    #[error("the rollout is unknown")]
    UnknownUpdate,
    #[error("the rollout ended")]
    UpdateEnded,
    #[error("a rollout of this id has another offer")]
    UpdateConflict,
    #[error("the same or a newer version is under way for one of these lots; abort it first")]
    UpdateUnderWay,
    #[error("the idempotency key was used for another request")]
    KeyReused,
}

/// A session that the log granted; the answer is sealed from this alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub device: DeviceId,
    pub slot: Slot,
    pub epoch: Epoch,
    /// The epoch that was resumed; 0 for an activation.
    pub from_epoch: Epoch,
    /// The log index that granted it.
    pub granted: LogIndex,
    /// Of a resume; an activation is known by its transcript.
    pub client_nonce: Option<[u8; 16]>,
    pub server_nonce: [u8; 32],
    pub resumption: Wrapped,
    pub suite: Suite,
    pub generation: Generation,
    pub interval_millis: u32,
    pub legitimacy: Legitimacy,
    pub license: Option<LicenseGrant>,
}

/// What a license token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenseGrant {
    pub license: LicenseId,
    pub plan: Plan,
    /// When the license ends; zero is without end.
    pub expires: Timestamp,
    /// Counts up with each lease of this license (protocol.md rule 20).
    pub lease: u32,
    /// When this lease ends.
    pub lease_expires: Timestamp,
}

/// What the device is to obey (protocol.md rule 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DirectiveView {
    pub id: DirectiveId,
    pub kind: OperationKind,
    /// Void after this; zero is without end.
    pub expires: Timestamp,
}

/// How the fold judged a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeartbeatStatus {
    /// New, and now in the log.
    Committed,
    /// The same bytes were committed before and not known to be answered: answer again.
    Retried,
    /// The same bytes were committed and answered before: a replay, to be charged to the source.
    Replayed,
    /// Not routine any more: propose it again as a `HeartbeatObserved`.
    Again,
    /// Of a superseded or unknown epoch, or too old for the window: the device must resume.
    EpochStale,
    /// Proof that two hold one secret.
    CloneEvidence,
}

/// What became of one heartbeat; the verdict is sealed from this alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatOutcome {
    pub status: HeartbeatStatus,
    pub legitimacy: Legitimacy,
    pub interval_millis: u32,
    /// The lowest directive that is not settled.
    pub directive: Option<DirectiveView>,
    /// A new lease is due and was given.
    pub license: Option<Box<LicenseGrant>>,
}

impl HeartbeatOutcome {
    /// What nearly every heartbeat gets.
    #[must_use]
    pub fn usual(interval_millis: u32) -> Self {
        HeartbeatOutcome {
            status: HeartbeatStatus::Committed,
            legitimacy: Legitimacy::Legitimate,
            interval_millis,
            directive: None,
            license: None,
        }
    }
}

/// The outcomes of a batch's rows: one for nearly all of them, and the exceptions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatOutcomes {
    len: u32,
    usual: HeartbeatOutcome,
    /// Ascending by row.
    unusual: Vec<(u32, HeartbeatOutcome)>,
}

impl HeartbeatOutcomes {
    pub(crate) fn new(interval_millis: u32) -> Self {
        HeartbeatOutcomes { len: 0, usual: HeartbeatOutcome::usual(interval_millis), unusual: Vec::new() }
    }

    #[inline]
    pub(crate) fn push_usual(&mut self) {
        self.len += 1;
    }

    pub(crate) fn push(&mut self, outcome: HeartbeatOutcome) {
        if outcome != self.usual {
            self.unusual.push((self.len, outcome));
        }
        self.len += 1;
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The outcome of a row, counted from 0 in the batch's order.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&HeartbeatOutcome> {
        let row = u32::try_from(row).ok().filter(|&row| row < self.len)?;
        match self.unusual.binary_search_by_key(&row, |(at, _)| *at) {
            Ok(at) => Some(&self.unusual[at].1),
            Err(_) => Some(&self.usual),
        }
    }

    /// All outcomes in the batch's order.
    pub fn iter(&self) -> impl Iterator<Item = &HeartbeatOutcome> + '_ {
        let mut unusual = self.unusual.iter().peekable();
        (0..self.len).map(move |row| match unusual.next_if(|(at, _)| *at == row) {
            Some((_, outcome)) => outcome,
            None => &self.usual,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale() -> HeartbeatOutcome {
        HeartbeatOutcome { status: HeartbeatStatus::EpochStale, ..HeartbeatOutcome::usual(60_000) }
    }

    #[test]
    fn every_row_gets_back_the_outcome_that_was_pushed_for_it() {
        let pushed: Vec<_> =
            (0..100).map(|n| if n % 7 == 3 { stale() } else { HeartbeatOutcome::usual(60_000) }).collect();
        let mut outcomes = HeartbeatOutcomes::new(60_000);
        pushed.iter().cloned().for_each(|outcome| outcomes.push(outcome));
        assert_eq!(outcomes.iter().cloned().collect::<Vec<_>>(), pushed);
        assert!((0..100).all(|row| outcomes.get(row) == Some(&pushed[row])));
        assert_eq!(outcomes.get(100), None);
    }

    #[test]
    fn a_thousand_usual_rows_travel_in_a_handful_of_bytes() {
        let mut outcomes = HeartbeatOutcomes::new(60_000);
        (0..1000).for_each(|_| outcomes.push(HeartbeatOutcome::usual(60_000)));
        assert!(postcard::to_stdvec(&outcomes).unwrap().len() < 24);
    }
}
