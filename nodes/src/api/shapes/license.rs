//! What a person asks to be done to a license. `by` is who asks, the caller itself if left out.

use super::PlainCode;
use events::ids::{DeviceId, LogIndex};
use events::time::Timestamp;
use projector::view::LicenseView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A license as it stands after what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LicenseDone {
    /// The entry of the log that did it, now or already before.
    pub index: LogIndex,
    /// The log said this already; nothing was changed.
    pub duplicate: bool,
    /// As the node that answers knows it.
    pub license: LicenseView,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferLicense {
    /// The device that has it now; if another has, nothing is changed.
    pub from: DeviceId,
    pub to: DeviceId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub by: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewLicense {
    /// The new end, in milliseconds since 1970, not before the present one; 0 is without end. Absolute, so that the
    /// same request twice renews once.
    pub expires: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub by: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}

/// Suspends, or ends a suspension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchLicense {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub by: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}

/// The device lost its state and its owner the code.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReissueLicense {
    /// A fresh code, made by the caller, who hands it to the owner. The code before opens nothing any more.
    pub code: PlainCode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub by: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}
