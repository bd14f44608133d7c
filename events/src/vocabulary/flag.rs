//! Flags are derived by the fold; only their end by a person's hand is an event.

use crate::ids::FlagId;
use rkyv::{Archive, Deserialize, Serialize};

/// A person looked at a flag and closed it.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct FlagCleared {
    pub flag: FlagId,
    pub by: String,
    pub reason: String,
}
