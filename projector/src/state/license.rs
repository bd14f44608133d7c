//! What was sold: issues of codes, codes, and the licenses that they became.
//!
//! Invariant: a license and the code that created it name each other, and so do a license and its device.

use crate::view::LicenseState;
use events::ids::{CodeBatchId, CodeDigest, LicenseId, LogIndex, Slot};
use events::time::Timestamp;
use events::vocabulary::license::Plan;
use serde::{Deserialize, Serialize};

/// One issue of codes; several events may carry parts of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CodeBatch {
    pub batch: CodeBatchId,
    pub plan: Plan,
    pub reseller: String,
    pub issued: u32,
    pub used: u32,
    pub void: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Code {
    pub digest: CodeDigest,
    /// Index of its issue.
    pub batch: u32,
    pub fate: Fate,
}

/// What became of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fate {
    Unused,
    /// Index of the license that it created.
    Used(u32),
    Void,
    /// Another code opens this license now.
    Replaced(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct License {
    /// Index of the code that created it.
    pub code: u32,
    pub slot: Slot,
    pub state: LicenseState,
    pub created: LogIndex,
    pub created_at: Timestamp,
    /// Zero is without end.
    pub expires: Timestamp,
    pub leases: u32,
}

/// A license is named by the code that created it.
#[must_use]
pub(crate) fn license_id(code: &CodeDigest) -> LicenseId {
    LicenseId::from_bytes(*code.as_bytes())
}

/// The code that created a license.
#[must_use]
pub(crate) fn code_of(license: &LicenseId) -> CodeDigest {
    CodeDigest::from_bytes(*license.as_bytes())
}

impl License {
    /// An ended license does not keep its device from redeeming another code.
    #[must_use]
    pub(crate) fn has_ended(&self) -> bool {
        self.state == LicenseState::Expired
    }
}
