//! What can happen: every event that the log can hold, one file per family.
//!
//! An event is stored as (kind, rkyv bytes). The kind names the event *and* its version: a changed event gets a
//! new number and the old one an upcast, so that a reader knows from two bytes whether it understands what follows. Kinds are never reused. Golden bytes in `tests/golden/` hold every
//! kind that ever shipped.
//!
//! The node that proposes an event *attests* what needs keys (tags, signatures, HPKE, code derivation); the fold
//! judges again whatever depends on state.

pub mod activation;
pub mod cluster;
pub mod flag;
pub mod heartbeat;
pub mod license;
pub mod operation;
pub mod provisioning;
pub mod rejection;
pub mod request;
pub mod session;
pub mod shared;
pub mod update;

pub use activation::DeviceActivated;
pub use cluster::{CheckpointSigned, ClusterCreated, Tick};
pub use flag::FlagCleared;
pub use heartbeat::{HeartbeatObserved, SpoolDrained};
pub use license::{
    CodeVoided, CodesIssued, LicenseReissued, LicenseRenewed, LicenseResumed, LicenseSuspended,
    LicenseTransferred,
};
pub use operation::{OperationOrdered, OperationSettled};
pub use provisioning::{DeviceProvisioned, LotCreated, SecretsRewrapped, StationCertified, StationRevoked};
pub use rejection::{RejectionSummary, TamperReported};
pub use request::RequestKeyed;
pub use session::SessionResumed;
pub use update::{UpdateAborted, UpdateCreated, UpdatePaused, UpdateResumed};

/// Why bytes are no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error(
        "event kind {0} is not known to this version; upgrade this node, or replay offline with --skip-unknown"
    )]
    UnknownKind(u16),
    #[error("event kind {kind} has malformed bytes: {why}")]
    Malformed { kind: u16, why: String },
    #[error("an event of {got} bytes is larger than the {max} allowed")]
    TooLarge { got: usize, max: usize },
}

macro_rules! vocabulary {
    ($($number:literal => $name:ident),+ $(,)?) => {
        /// Any event, decoded.
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
        #[serde(tag = "event", content = "data")]
        pub enum Event {
            $($name($name)),+
        }

        impl Event {
            /// The numbers of all kinds that this version knows.
            pub const KINDS: &'static [u16] = &[$($number),+];

            /// Their names, in the order of [`Event::KINDS`].
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];

            #[must_use]
            pub const fn kind(&self) -> u16 {
                match self { $(Event::$name(_) => $number),+ }
            }

            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Event::$name(_) => stringify!($name)),+ }
            }

            /// The event's rkyv bytes (little endian, unaligned).
            pub fn encode(&self) -> Result<Vec<u8>, EventError> {
                let kind = self.kind();
                let encoded = match self {
                    $(Event::$name(event) => rkyv::to_bytes::<rkyv::rancor::Error>(event)),+
                };
                let bytes = encoded.map_err(|e| EventError::Malformed { kind, why: e.to_string() })?.to_vec();
                within_limit(bytes)
            }

            /// Validates and decodes; never panics, whatever the bytes.
            pub fn decode(kind: u16, bytes: &[u8]) -> Result<Self, EventError> {
                match kind {
                    $($number => rkyv::from_bytes::<$name, rkyv::rancor::Error>(bytes)
                        .map(Event::$name)
                        .map_err(|e| EventError::Malformed { kind, why: e.to_string() }),)+
                    unknown => Err(EventError::UnknownKind(unknown)),
                }
            }
        }

        $(impl From<$name> for Event {
            fn from(event: $name) -> Self {
                Event::$name(event)
            }
        })+
    };
}

vocabulary! {
    1 => ClusterCreated,
    2 => Tick,
    3 => CheckpointSigned,
    10 => LotCreated,
    11 => StationCertified,
    12 => StationRevoked,
    13 => DeviceProvisioned,
    14 => SecretsRewrapped,
    20 => CodesIssued,
    21 => CodeVoided,
    22 => LicenseTransferred,
    23 => LicenseRenewed,
    24 => LicenseSuspended,
    25 => LicenseResumed,
    26 => LicenseReissued,
    30 => DeviceActivated,
    40 => SessionResumed,
    50 => HeartbeatObserved,
    51 => SpoolDrained,
    60 => RejectionSummary,
    61 => TamperReported,
    70 => FlagCleared,
    80 => OperationOrdered,
    81 => OperationSettled,
    90 => UpdateCreated,
    91 => UpdatePaused,
    92 => UpdateResumed,
    93 => UpdateAborted,
    100 => RequestKeyed,
}

fn within_limit(bytes: Vec<u8>) -> Result<Vec<u8>, EventError> {
    let max = crate::limits::EVENT_BYTES_MAX;
    if bytes.len() > max { Err(EventError::TooLarge { got: bytes.len(), max }) } else { Ok(bytes) }
}
