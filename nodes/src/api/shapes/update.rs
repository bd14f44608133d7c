//! Rollouts of software update, as people start, see and stop them. `by` is who asks, the caller itself if left out.

use super::Base64;
use events::ids::{LogIndex, RolloutId};
use events::vocabulary::update::RolloutRules;
use projector::view::RolloutView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A signed offer goes out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUpdate {
    /// As `muster update sign` wrote it.
    pub offer: Base64,
    /// The public update key that signed it, 97 bytes: what the terminals pin. The node checks the signature.
    pub update_key: Base64,
    pub rules: RolloutRules,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub by: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}

/// Pause, resume, abort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchUpdate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub by: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}

/// A rollout as it stands after what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpdateDone {
    /// The entry of the log that did it, now or already before.
    pub index: LogIndex,
    /// The log said this already; nothing was changed.
    pub duplicate: bool,
    pub rollout: RolloutId,
    /// As the node that answers knows it; none if it lags.
    pub update: Option<RolloutView>,
    /// What the node could not check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Rollouts, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpdateList {
    pub updates: Vec<RolloutView>,
    /// Older ones that are not listed.
    pub left_out: u64,
}
