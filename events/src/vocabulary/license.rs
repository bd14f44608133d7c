//! What is sold: activation codes, the plan that a code grants, and what a person does to the license later.

use crate::ids::{CodeBatchId, CodeDigest, DeviceId, LicenseId};
use crate::time::Timestamp;
use rkyv::{Archive, Deserialize, Serialize};

/// Codes of one batch were issued; only keyed digests of them enter the log.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct CodesIssued {
    pub batch: CodeBatchId,
    pub plan: Plan,
    pub reseller: String,
    pub codes: Vec<CodeDigest>,
}

/// What a license grants.
#[derive(
    Archive, Serialize, Deserialize, serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Plan {
    pub name: String,
    pub entitlements: Vec<String>,
    /// Term in seconds from activation; 0 is without end.
    pub term_seconds: u64,
    /// A license token lives this long, in seconds (protocol.md rule 20).
    pub lease_seconds: u32,
}

/// A code must not be redeemed any more.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct CodeVoided {
    pub code: CodeDigest,
    pub reason: String,
}

/// A license goes to another device: an exchange of hardware. The device before has none any more.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct LicenseTransferred {
    pub license: LicenseId,
    /// The device that owns it now; if another does, nothing is changed.
    pub from: DeviceId,
    pub to: DeviceId,
    pub by: String,
    pub reason: String,
}

/// A license ends at another time. Absolute, so that the same event twice renews once.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct LicenseRenewed {
    pub license: LicenseId,
    /// The new end, not before the present one; zero is without end.
    pub expires: Timestamp,
    pub by: String,
    pub reason: String,
}

/// No lease is given until the license is resumed.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct LicenseSuspended {
    pub license: LicenseId,
    pub by: String,
    pub reason: String,
}

/// The end of a suspension.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct LicenseResumed {
    pub license: LicenseId,
    pub by: String,
    pub reason: String,
}

/// The device lost its state and its owner the code: another code opens the same license on the same device, and the
/// code before opens nothing any more.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct LicenseReissued {
    pub license: LicenseId,
    pub code: CodeDigest,
    pub by: String,
    pub reason: String,
}
