//! Pages of lists, and what they may be narrowed to. A page holds at most 1000 items; a cursor continues the query that
//! gave it, and no other. A page may be short although there are more: `next` alone says whether there are.

use events::ids::{DeviceId, LotId, SourceId};
use events::vocabulary::shared::{FlagKind, Legitimacy, OperationKind};
use projector::view::{
    CodeBatchView, DeviceSummary, FlagView, LicenseState, LicenseView, LotView, OperationView, SourceView,
    StationView,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Where the next page begins; opaque.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// Which devices: all conditions that are given must hold. In the order of their import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DeviceQuery {
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// Items of a page, 1 to 1000; 100 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legitimacy: Option<Legitimacy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lot: Option<LotId>,
    /// The source that spoke last for the device: `<region>.<source>`, or the name alone for all regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceId>,
    /// An open flag of this kind on the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<FlagKind>,
    /// The state of the license that the device has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<LicenseState>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DevicePage {
    /// Ascending by slot.
    pub devices: Vec<DeviceSummary>,
    /// Give this as `after` for the next page.
    pub next: Option<Cursor>,
}

/// Which flags. The latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct FlagQuery {
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// Items of a page, 1 to 1000; 100 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// Only flags that nobody closed.
    pub open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<FlagKind>,
    /// Flags on this device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// Flags on this source: `<region>.<source>`, or the name alone for all regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlagPage {
    /// The latest first.
    pub flags: Vec<FlagView>,
    pub next: Option<Cursor>,
}

/// Which licenses. In the order in which they were created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct LicenseQuery {
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// Items of a page, 1 to 1000; 100 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<LicenseState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reseller: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LicensePage {
    pub licenses: Vec<LicenseView>,
    pub next: Option<Cursor>,
}

/// Which orders. The latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct OperationQuery {
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// Items of a page, 1 to 1000; 100 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// Only orders that are not settled.
    pub open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<OperationKind>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationPage {
    /// The latest first.
    pub operations: Vec<OperationView>,
    pub next: Option<Cursor>,
}

/// A page of what has no conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// Items of a page, 1 to 1000; 100 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourcePage {
    /// In the order in which they were first heard.
    pub sources: Vec<SourceView>,
    pub next: Option<Cursor>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CodePage {
    /// In the order of their issue.
    pub batches: Vec<CodeBatchView>,
    pub next: Option<Cursor>,
}

/// Lots and stations are few: a factory has dozens, not thousands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LotList {
    pub lots: Vec<LotView>,
    pub stations: Vec<StationView>,
}
