//! Software update: a rollout and what people do with it. What each terminal made of it is no event of its own: the
//! firmware version and the failure that its heartbeats name say it.

use crate::ids::RolloutId;
use rkyv::{Archive, Deserialize, Serialize};

/// A signed offer goes out, phase by phase. The node that proposes it checked its signature.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct UpdateCreated {
    /// As `events::update::SignedOffer` spells it.
    pub offer: Vec<u8>,
    pub rules: RolloutRules,
    pub by: String,
    pub reason: String,
}

/// How a rollout goes on, and what stops it.
#[derive(
    Archive, Serialize, Deserialize, serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RolloutRules {
    /// 1 to 8, growing, the last at most 1000 permille.
    pub phases: Vec<RolloutPhase>,
    /// A phase is followed by the next only if so many permille of those that were told run the new version.
    pub success_permille: u16,
    /// More failures than this, in permille of all results, abort the rollout ...
    pub failure_permille: u16,
    /// ... once there are so many results; at least 1.
    pub sample_min: u32,
    /// Terminals that are told anew within a minute, at most; at least 1.
    pub per_minute_max: u32,
}

/// One phase.
#[derive(
    Archive, Serialize, Deserialize, serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RolloutPhase {
    /// Of the terminals in scope, those of the phases before included; at least 1.
    pub permille: u16,
    /// It lasts at least so long.
    pub seconds: u32,
}

/// Nobody is told anew until it is resumed.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct UpdatePaused {
    pub rollout: RolloutId,
    pub by: String,
    pub reason: String,
}

/// The end of a pause; the phase begins anew.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct UpdateResumed {
    pub rollout: RolloutId,
    pub by: String,
    pub reason: String,
}

/// It is offered to nobody any more, for ever.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct UpdateAborted {
    pub rollout: RolloutId,
    pub by: String,
    pub reason: String,
}
