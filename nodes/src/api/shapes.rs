//! The words of the operators' API: JSON over HTTPS, the same types on both sides. Requests refuse unknown fields.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/devices?after=&limit=&legitimacy=` | [`DevicePage`] |
//! | `GET /v1/devices/{id}` | [`DeviceDetail`] |
//! | `GET /v1/devices/{id}/story` | [`Story`] |
//! | `GET /v1/flags?open=` | [`FlagList`] |
//! | `GET /v1/licenses?after=&limit=` | [`LicensePage`] |
//! | `GET /v1/lots` | [`LotList`] |
//! | `GET /v1/sources` | [`SourceList`] |
//! | `GET /v1/codes` | [`CodeList`] |
//! | `POST /v1/lots` [`CreateLot`] | [`Done`] |
//! | `POST /v1/stations` [`CertifyStation`] | [`Certified`] |
//! | `POST /v1/stations/{id}/revoke` [`Reason`] | [`Done`] |
//! | `POST /v1/manifests` [`ImportManifest`] | [`ImportReport`] |
//! | `POST /v1/codes` [`IssueCodes`] | [`Done`] |
//! | `POST /v1/codes/void` [`VoidCode`] | [`Done`] |
//! | `POST /v1/devices/{id}/operations` [`OrderOperation`] | [`Ordered`] |
//! | `POST /v1/flags/{id}/clear` [`ClearFlag`] | [`Done`] |
//! | `POST /v1/leader/transfer` [`TransferLeader`] | [`Transferring`] |
//! | `POST /v1/snapshot` | [`Triggered`] |
//!
//! Any other answer than 2xx carries a [`Refusal`]. 503 and 504 mean that this node cannot say now; everything that
//! is posted may be posted again, to any node: the fold drops what it has already.

use events::ids::{ClusterId, CodeBatchId, DeviceId, LogIndex, LotId, NodeId, Slot, StationId};
use events::time::Timestamp;
use events::vocabulary::license::Plan;
use events::vocabulary::shared::{Legitimacy, OperationKind};
use projector::view::{
    CodeBatchView, Counts, DeviceSummary, FlagView, LicenseView, LotView, OperationView, SourceView,
    StationView, StoryLine,
};
use projector::{DirectiveView, StateDigest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: RefusalCode,
    pub message: String,
    pub what_to_do: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RefusalCode {
    /// No token, or a wrong one.
    Unauthorized,
    /// Not JSON, an unknown field, a value out of range.
    Malformed,
    /// Larger than this request may be.
    Oversized,
    NotFound,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub clock: ClockView,
    pub members: Vec<MemberView>,
    pub counts: Counts,
    /// Counts since this start of the process, by name.
    pub counters: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Leader,
    Follower,
    Candidate,
    Learner,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestAt {
    /// Digests of two levels cannot be compared: a rolling upgrade is under way.
    pub level: u16,
    pub index: LogIndex,
    #[serde(with = "digest_text")]
    pub digest: StateDigest,
}

impl From<crate::shared_projector::LevelDigest> for DigestAt {
    fn from(at: crate::shared_projector::LevelDigest) -> Self {
        let crate::shared_projector::LevelDigest { level, index, digest } = at;
        DigestAt { level, index, digest }
    }
}

/// Whether operations are ordered by policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutomationView {
    pub running: bool,
    pub why: Option<String>,
}

/// What a majority of the members' clocks says of this node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum ClockView {
    Unjudged,
    Agrees,
    Off { by_millis: i64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePage {
    /// Ascending by slot.
    pub devices: Vec<DeviceSummary>,
    /// Give this as `after` for the next page.
    pub next: Option<Slot>,
}

/// Query of `GET /v1/devices`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Slot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legitimacy: Option<Legitimacy>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceDetail {
    pub summary: DeviceSummary,
    pub license: Option<LicenseView>,
    pub flags: Vec<FlagView>,
    pub operations: Vec<OperationView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    pub summary: DeviceSummary,
    pub lines: Vec<StoryLine>,
}

/// Query of `GET /v1/flags`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagQuery {
    /// Only flags that nobody closed.
    #[serde(default)]
    pub open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagList {
    /// The latest ones, in the order in which they were raised.
    pub flags: Vec<FlagView>,
    /// Older ones that are left out.
    pub left_out: u64,
}

/// Query of `GET /v1/licenses`: positions in the order in which licenses were created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicensePage {
    pub licenses: Vec<LicenseView>,
    pub next: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotList {
    pub lots: Vec<LotView>,
    pub stations: Vec<StationView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceList {
    pub sources: Vec<SourceView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeList {
    pub batches: Vec<CodeBatchView>,
}

/// Something was posted and is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The entry of the log that holds it, now or already before.
    pub index: LogIndex,
    /// The log said this already.
    pub duplicate: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateLot {
    /// `LotDeclaration::encode`.
    pub declaration: Base64,
    /// `LotSecret::tamper_key`, 32 bytes; the lot secret itself never leaves the factory.
    pub tamper_key: Base64,
    /// The factory's public key that signed it (see [`ImportManifest::factory_key`]).
    pub factory_key: Base64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifyStation {
    /// `StationCertificate::encode`.
    pub certificate: Base64,
    /// The factory's public key that signed it (see [`ImportManifest::factory_key`]).
    pub factory_key: Base64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    pub station: StationId,
    pub lot: LotId,
    pub index: LogIndex,
    pub duplicate: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportManifest {
    /// The manifest's bytes as the station exported them: lot, station and units.
    pub manifest: Base64,
    /// The factory's public key that signed lot and station: uncompressed SEC1 point, 97 bytes. The operator vouches
    /// for it, unless the node's configuration names the factory keys; then it must be one of those.
    pub factory_key: Base64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    pub lot: LotId,
    pub station: StationId,
    pub imported: u32,
    /// In the log already, with the same properties.
    pub duplicate: u32,
    pub refused: Vec<RefusedUnit>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedUnit {
    pub unit: u32,
    pub device: DeviceId,
    pub why: String,
}

/// Plain codes travel once, inside TLS; the node keeps and logs only keyed digests.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueCodes {
    pub batch: CodeBatchId,
    pub plan: Plan,
    pub reseller: String,
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

impl std::fmt::Debug for PlainCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlainCode(…)")
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoidCode {
    pub code: PlainCode,
    pub reason: String,
}

/// An order by a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderOperation {
    pub kind: OperationKind,
    /// Who orders it.
    pub by: String,
    pub reason: String,
    /// Void after so many seconds; without end if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    pub index: LogIndex,
    /// What the device is to obey, if the operation is of that kind.
    pub directive: Option<DirectiveView>,
    pub duplicate: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClearFlag {
    pub by: String,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferLeader {
    /// The voter whose log is furthest if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transferring {
    pub from: NodeId,
    pub to: NodeId,
}

/// The work was begun; the status shows when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
