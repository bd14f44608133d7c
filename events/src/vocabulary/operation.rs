//! Operations: decided in the fold, proposed by the leader, dispatched once committed, settled.

use super::shared::{OperationKind, plain_enum};
use crate::ids::{DeviceId, FlagId, LogIndex};
use crate::time::Timestamp;
use rkyv::{Archive, Deserialize, Serialize};

/// Who wants an operation. Automation goes through the same door as a person.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    serde::Serialize,
    serde::Deserialize,
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Cause {
    Flag(FlagId),
    Operator { name: String, reason: String },
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::Flag(flag) => write!(f, "because of flag {flag}"),
            Cause::Operator { name, reason } => write!(f, "by {name}: {reason}"),
        }
    }
}

/// A committed order; its log index fences it against older ones.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct OperationOrdered {
    pub kind: OperationKind,
    pub device: DeviceId,
    pub cause: Cause,
    /// The directive is void after this; zero is without end.
    pub expires: Timestamp,
}

plain_enum! {
    /// How an operation ended.
    Settlement {
        Obeyed = 1 => "obeyed",
        Refused = 2 => "refused",
        Expired = 3 => "expired",
    }
}

/// A person looked at what automation restricted, and lets it go on: what the blast-radius breaker counted is forgotten,
/// and if it was open it is closed.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct BreakerReset {
    pub by: String,
    pub reason: String,
}

/// The order at `ordered` is closed.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct OperationSettled {
    pub device: DeviceId,
    pub ordered: LogIndex,
    pub settlement: Settlement,
}
