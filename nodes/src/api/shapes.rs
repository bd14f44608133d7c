//! The words of the operators' API: JSON over HTTPS, the same types on both sides. Requests refuse unknown fields.
//!
//! Which request has which answer stands in the OpenAPI document (`GET /v1/openapi.json`, `muster node openapi`),
//! which is made from the handlers.
//!
//! Any other answer than 2xx carries a [`Refusal`]. 503 and 504 mean that this node cannot say now; everything that
//! is posted may be posted again, to any node: the fold drops what it has already. With an `Idempotency-Key` the log
//! itself remembers the key, so that a request that comes again is not done again even if the state moved on.

mod evidence;
mod health;
mod license;
mod live;
mod pages;
mod update;

pub use evidence::*;
pub use health::*;
pub use license::*;
pub use live::*;
pub use pages::*;
pub use update::*;

use events::ids::{ClusterId, CodeBatchId, DeviceId, LogIndex, LotId, NodeId, StationId};
use events::time::Timestamp;
use events::vocabulary::license::Plan;
use events::vocabulary::shared::OperationKind;
use projector::view::{BreakerView, Counts, DeviceSummary, FlagView, LicenseView, OperationView, StoryLine};
use projector::{DirectiveView, StateDigest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    pub code: RefusalCode,
    pub message: String,
    pub what_to_do: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RefusalCode {
    /// No token, or a wrong one.
    Unauthorized,
    /// Somebody known, whose role does not allow this.
    Forbidden,
    /// Not JSON, an unknown field, a value out of range.
    Malformed,
    /// Larger than this request may be.
    Oversized,
    NotFound,
    /// This path is not for this method.
    MethodNotAllowed,
    /// The request took longer to come, or to be done, than it may.
    TimedOut,
    /// The idempotency key was used for another request.
    KeyReused,
    /// As many requests are under way as may be: try again a little later.
    Busy,
    /// As many requests of this caller are under way as one may have: wait for their answers before you send more.
    ShareTaken,
    /// The log says something else already, or the state does not allow it.
    Declined,
    /// Surely not proposed: no leader, or it cannot stamp.
    Unavailable,
    /// Perhaps committed: post it again to learn it.
    Unknown,
}

/// Bytes, as base64 in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl utoipa::PartialSchema for Base64 {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        events::schema::text("^[A-Za-z0-9+/]*={0,2}$".to_owned())
    }
}

impl ToSchema for Base64 {}

impl std::fmt::Debug for Base64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Base64({} bytes)", self.0.len())
    }
}

impl Drop for Base64 {
    /// Some of these are keys.
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&data_encoding::BASE64.encode_display(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = zeroize::Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = data_encoding::BASE64.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
        Ok(Base64(bytes))
    }
}

/// What one node says of itself and its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub name: String,
    pub region: String,
    pub version: String,
    pub role: Role,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub last_log: Option<LogIndex>,
    pub committed: Option<LogIndex>,
    pub applied: LogIndex,
    /// Log time.
    pub stamp: Timestamp,
    pub snapshot: Option<LogIndex>,
    /// The digest at the last fixed index.
    pub digest: Option<DigestAt>,
    /// Digests at the last fixed indices, ascending.
    pub digests: Vec<DigestAt>,
    pub automation: AutomationView,
    pub breaker: BreakerView,
    pub clock: ClockView,
    pub members: Vec<MemberView>,
    /// Whom this node would tell what changed, as one number: the same on every node. 0 is nobody; none is of an older node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_receivers: Option<u32>,
    pub counts: Counts,
    /// Counts since this start of the process, by name.
    pub counters: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Leader,
    Follower,
    Candidate,
    Learner,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DigestAt {
    /// Digests of two levels cannot be compared: a rolling upgrade is under way.
    pub level: u16,
    pub index: LogIndex,
    #[serde(with = "digest_text")]
    #[schema(value_type = StateDigest)]
    pub digest: StateDigest,
}

impl From<crate::shared_projector::LevelDigest> for DigestAt {
    fn from(at: crate::shared_projector::LevelDigest) -> Self {
        let crate::shared_projector::LevelDigest { level, index, digest } = at;
        DigestAt { level, index, digest }
    }
}

/// Whether operations are ordered by policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AutomationView {
    pub running: bool,
    pub why: Option<String>,
}

/// What a majority of the members' clocks says of this node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum ClockView {
    Unjudged,
    Agrees,
    Off { by_millis: i64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberView {
    pub id: NodeId,
    pub name: String,
    pub region: String,
    pub address: String,
    /// This node itself is reachable.
    pub reachable: bool,
    pub why: Option<String>,
    pub applied: Option<LogIndex>,
    pub ahead_millis: Option<i64>,
    pub round_trip_micros: Option<u64>,
    pub version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceDetail {
    pub summary: DeviceSummary,
    pub license: Option<LicenseView>,
    pub flags: Vec<FlagView>,
    pub operations: Vec<OperationView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Story {
    pub summary: DeviceSummary,
    pub lines: Vec<StoryLine>,
}

/// Something was posted and is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// The entry of the log that holds it, now or already before.
    pub index: LogIndex,
    /// The log said this already.
    pub duplicate: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateLot {
    /// `LotDeclaration::encode`.
    pub declaration: Base64,
    /// `LotSecret::tamper_key`, 32 bytes; the lot secret itself never leaves the factory.
    pub tamper_key: Base64,
    /// The factory's public key that signed it (see [`ImportManifest::factory_key`]).
    pub factory_key: Base64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertifyStation {
    /// `StationCertificate::encode`.
    pub certificate: Base64,
    /// The factory's public key that signed it (see [`ImportManifest::factory_key`]).
    pub factory_key: Base64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certified {
    pub station: StationId,
    pub lot: LotId,
    pub index: LogIndex,
    pub duplicate: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportManifest {
    /// The manifest's bytes as the station exported them: lot, station and units.
    pub manifest: Base64,
    /// The factory's public key that signed lot and station: uncompressed SEC1 point, 97 bytes. The operator vouches
    /// for it, unless the node's configuration names the factory keys; then it must be one of those.
    pub factory_key: Base64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportReport {
    pub lot: LotId,
    pub station: StationId,
    pub imported: u32,
    /// In the log already, with the same properties.
    pub duplicate: u32,
    pub refused: Vec<RefusedUnit>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedUnit {
    pub unit: u32,
    pub device: DeviceId,
    pub why: String,
}

/// Plain codes travel once, inside TLS; the node keeps and logs only keyed digests.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueCodes {
    pub batch: CodeBatchId,
    pub plan: Plan,
    pub reseller: String,
    #[schema(min_items = 1)]
    pub codes: Vec<PlainCode>,
}

impl std::fmt::Debug for IssueCodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IssueCodes({}, {} codes)", self.batch, self.codes.len())
    }
}

/// An activation code as text; zeroized on drop, never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlainCode(pub zeroize::Zeroizing<String>);

impl utoipa::PartialSchema for PlainCode {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

impl ToSchema for PlainCode {}

impl std::fmt::Debug for PlainCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlainCode(…)")
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VoidCode {
    pub code: PlainCode,
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}

/// An order by a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderOperation {
    pub kind: OperationKind,
    /// Who orders it.
    #[schema(min_length = 1, max_length = 200)]
    pub by: String,
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
    /// Void after so many seconds; without end if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ordered {
    pub index: LogIndex,
    /// What the device is to obey, if the operation is of that kind.
    pub directive: Option<DirectiveView>,
    pub duplicate: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClearFlag {
    #[schema(min_length = 1, max_length = 200)]
    pub by: String,
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetBreaker {
    #[schema(min_length = 1, max_length = 200)]
    pub by: String,
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferLeader {
    /// The voter whose log is furthest if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transferring {
    pub from: NodeId,
    pub to: NodeId,
}

/// The work was begun; the status shows when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Triggered {
    pub node: NodeId,
}

/// A digest as hexadecimal digits.
mod digest_text {
    use projector::StateDigest;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &StateDigest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StateDigest, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
        let got = bytes.len();
        let bytes = bytes.try_into().map_err(|_| serde::de::Error::invalid_length(got, &"32 bytes"))?;
        Ok(StateDigest(bytes))
    }
}
