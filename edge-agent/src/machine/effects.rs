//! What the machine wants from its shell, and what it tells it.

use bytes::Bytes;
use events::envelope::HeartbeatStatus;
use events::ids::{BootId, Epoch, LogIndex, Sequence};
use events::license::ActivationCode;
use events::time::Timestamp;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{DirectiveId, Legitimacy, OperationKind, Suite};
use zeroize::Zeroizing;

/// Names one request; an answer comes back under it. Counts up from 1 within a boot.
pub type RequestId = u64;

/// Last token of the subject that a request is published on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransmitKind {
    Hello,
    Activation,
    Resume,
    Heartbeat,
    Tamper,
}

impl TransmitKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            TransmitKind::Hello => "hello",
            TransmitKind::Activation => "activation",
            TransmitKind::Resume => "resume",
            TransmitKind::Heartbeat => "heartbeat",
            TransmitKind::Tamper => "tamper",
        }
    }
}

/// Publish this as a request; hand every answer that names `request` to `Machine::handle_reply`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transmit {
    pub request: RequestId,
    pub kind: TransmitKind,
    pub payload: Bytes,
}

/// Make `bytes` durable, then call `Machine::handle_persisted(revision)`. Until then nothing else comes out.
#[must_use]
pub struct Snapshot {
    pub revision: u64,
    pub bytes: Zeroizing<Vec<u8>>,
}

/// What the terminal's owner wants.
#[derive(Debug)]
pub enum Command {
    Activate(ActivationCode),
}

/// How a session came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionOrigin {
    Activation,
    Rekey,
    Resume,
}

/// What the terminal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Full,
    /// Software update only.
    Restricted,
}

/// Something happened that people, hooks or counters may want to know.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum AgentEvent {
    Started {
        boot: BootId,
        boot_count: u32,
        standing: Standing,
    },
    /// There is neither session nor license; an activation code is needed.
    CodeNeeded,
    /// The cluster granted an epoch, and it is on flash.
    Granted {
        epoch: Epoch,
        origin: SessionOrigin,
        suite: Suite,
        interval_millis: u64,
    },
    /// A sealed answer refused the activation: it will not be tried again.
    ActivationRefused {
        reason: RejectionReason,
    },
    /// A sealed answer refused a re-key.
    RekeyRefused {
        reason: RejectionReason,
    },
    /// The agent turned down a command.
    CommandRefused {
        why: &'static str,
    },
    /// A verdict verified: the heartbeat is on the disks of a majority.
    Acknowledged {
        epoch: Epoch,
        sequence: Sequence,
        index: LogIndex,
        status: HeartbeatStatus,
    },
    /// The cluster thinks differently of this terminal.
    LegitimacyChanged {
        legitimacy: Legitimacy,
    },
    DirectiveObeyed {
        id: DirectiveId,
        kind: OperationKind,
        standing: Standing,
    },
    /// This version cannot obey it, or it expired.
    DirectiveIgnored {
        id: DirectiveId,
        kind: OperationKind,
        why: &'static str,
    },
    /// The license token was renewed.
    LicenseRenewed,
    /// A sealed answer brought a token that does not verify; the one held before stays.
    LicenseTokenRefused {
        why: String,
    },
    /// The terminal's clock stands behind what sealed answers said: it was set back, or lost its battery.
    ClockBehind {
        wall: Timestamp,
        at_least: Timestamp,
    },
    /// An unsealed refusal: a hint that changes nothing but the back-off.
    Hinted {
        kind: TransmitKind,
        reason: RejectionReason,
    },
    /// The agent starts over from a hello.
    StartedOver {
        why: &'static str,
    },
    /// A verdict names an update offer: ask for it. Comes with every verdict until the cluster knows the result.
    UpdateOffered {
        id: DirectiveId,
    },
    Update(crate::update::UpdateEvent),
    /// From here on the oldest heartbeats of this outage are dropped.
    SpoolFull {
        bodies: usize,
    },
    /// A verdict shows that the cluster has heartbeats of an outage.
    SpoolAcknowledged {
        bodies: usize,
        left: usize,
    },
    /// A report of a failed boot check was sent.
    TamperReported,
}

impl serde::Serialize for TransmitKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
