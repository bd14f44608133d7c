//! What is sold: activation codes and the plan that a code grants.

use crate::ids::{CodeBatchId, CodeDigest};
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
