//! What the fold knows, as operators read it: JSON shapes, the same on both sides of the operators' API.

use crate::outcome::DirectiveView;
use events::ids::{
    ClusterId, CodeBatchId, CodeDigest, DeviceId, Epoch, FlagId, Generation, LicenseId, LogIndex, LotId,
    RecordDigest, RolloutId, Slot, SourceId, StationId,
};
use events::log::checkpoint::Checkpoint;
use events::log::merkle::TreeHash;
use events::time::Timestamp;
use events::update::UpdateScope;
use events::vocabulary::license::Plan;
use events::vocabulary::operation::{Cause, Settlement};
use events::vocabulary::shared::{ComponentKind, FlagKind, Legitimacy, OperationKind, Suite};
use events::vocabulary::update::RolloutRules;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One device, for lists and `device show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DeviceSummary {
    pub device: DeviceId,
    pub slot: Slot,
    pub lot: LotId,
    pub station: StationId,
    pub unit: u32,
    pub record: RecordDigest,
    pub burned_at: Timestamp,
    pub imported: LogIndex,
    pub legitimacy: Legitimacy,
    /// The confirmed epoch; 0 if there was none yet.
    pub epoch: Epoch,
    pub pending: Vec<Epoch>,
    pub superseded: Vec<Epoch>,
    pub suite: Option<Suite>,
    pub source: Option<SourceId>,
    pub license: Option<LicenseId>,
    pub firmware: u32,
    pub boot_count: u32,
    /// Bit set of `events::vocabulary::heartbeat::condition`.
    pub condition: u8,
    pub heartbeats: u64,
    /// Those of them that came late, from the terminal's spool.
    pub spooled: u64,
    /// Zero if it was never heard.
    pub last_heard: Timestamp,
    pub directive: Option<DirectiveView>,
    /// Open flags on this device.
    pub flags: Vec<FlagId>,
}

/// One line of a device's story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StoryLine {
    pub index: LogIndex,
    pub stamp: Timestamp,
    pub what: String,
}

/// What a flag is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FlagSubject {
    Device(DeviceId),
    Source(SourceId),
    Record(RecordDigest),
    Lot(LotId),
}

impl std::fmt::Display for FlagSubject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FlagSubject::Device(device) => write!(f, "device {device}"),
            FlagSubject::Source(source) => write!(f, "source {source}"),
            FlagSubject::Record(record) => write!(f, "record {record}"),
            FlagSubject::Lot(lot) => write!(f, "lot {lot}"),
        }
    }
}

/// A finding with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FlagView {
    pub id: FlagId,
    pub kind: FlagKind,
    pub subject: FlagSubject,
    /// The log index at which it was raised.
    pub raised: LogIndex,
    pub raised_at: Timestamp,
    /// Log indices that show it, the first ones, at most 16.
    pub evidence: Vec<LogIndex>,
    /// How often it was shown, evidence that is not listed included.
    pub count: u64,
    pub cleared: Option<Cleared>,
}

/// A person closed a flag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Cleared {
    pub index: LogIndex,
    pub stamp: Timestamp,
    pub by: String,
    pub reason: String,
}

/// An order and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OperationView {
    /// Its directive's id holds the log index of the order.
    pub directive: DirectiveView,
    pub device: DeviceId,
    pub cause: Cause,
    pub ordered_at: Timestamp,
    pub settled: Option<Settled>,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Settled {
    pub index: LogIndex,
    pub stamp: Timestamp,
    pub settlement: Settlement,
}

/// Whether a license holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LicenseState {
    Active,
    Suspended,
    Expired,
}

/// A license as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LicenseView {
    pub license: LicenseId,
    pub device: DeviceId,
    pub state: LicenseState,
    pub plan: Plan,
    pub reseller: String,
    pub batch: CodeBatchId,
    pub created: LogIndex,
    pub created_at: Timestamp,
    /// Zero is without end.
    pub expires: Timestamp,
    /// Leases given so far.
    pub leases: u32,
    /// What people did to it, in order.
    pub moves: Vec<LicenseMoveView>,
}

/// Where a rollout of software update stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RolloutStanding {
    Running,
    /// Nobody is told anew; who was told goes on.
    Paused,
    Ended(RolloutEnding),
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RolloutEnding {
    /// By a person, or because too many terminals failed.
    Aborted,
    /// A newer version took its place.
    Replaced,
    /// Its offer is void.
    Expired,
}

/// When, how and by whom a rollout was ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RolloutEnd {
    pub index: LogIndex,
    pub at: Timestamp,
    pub how: RolloutEnding,
    pub by: String,
    pub reason: String,
}

/// One rollout of software update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RolloutView {
    pub rollout: RolloutId,
    pub standing: RolloutStanding,
    pub scope: UpdateScope,
    pub firmware: u32,
    pub floor: u32,
    pub kind: String,
    pub size: u64,
    pub not_after: Timestamp,
    pub urls: Vec<String>,
    pub rules: RolloutRules,
    /// Counted from 1.
    pub phase: u8,
    pub phase_began: Timestamp,
    /// The phase lasted its time, but too few of those that were told run the new version yet.
    pub awaits_results: bool,
    /// Devices that were told.
    pub offered: u32,
    pub installed: u32,
    /// Devices that failed, by code of `UpdateFailure`.
    pub failed: BTreeMap<String, u32>,
    pub created: LogIndex,
    pub created_at: Timestamp,
    /// Who started, paused or resumed it last, and why.
    pub by: String,
    pub reason: String,
    pub end: Option<RolloutEnd>,
}

/// One thing that a person did to a license.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LicenseMoveView {
    pub index: LogIndex,
    pub stamp: Timestamp,
    pub license: LicenseId,
    pub what: LicenseMove,
    pub by: String,
    pub reason: String,
}

/// What a person can do to a license.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LicenseMove {
    Transferred {
        from: DeviceId,
        to: DeviceId,
    },
    /// Zero is without end.
    Renewed {
        expires: Timestamp,
    },
    Suspended,
    Resumed,
    /// The keyed digest of the code that opens it from then on.
    Reissued {
        code: CodeDigest,
    },
}

/// Where an activation code stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CodeState {
    Unknown,
    Unused,
    /// Redeemed by the device in this slot.
    Used {
        license: LicenseId,
        slot: Slot,
    },
    Void,
}

/// One issue of codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CodeBatchView {
    pub batch: CodeBatchId,
    pub plan: Plan,
    pub reseller: String,
    pub issued: u32,
    pub used: u32,
    pub void: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LotView {
    pub lot: LotId,
    pub sku: String,
    pub required: Vec<ComponentKind>,
    pub optional: Vec<ComponentKind>,
    pub threshold: u8,
    pub devices: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StationView {
    pub station: StationId,
    pub lot: LotId,
    pub quota: u32,
    pub used: u32,
    pub until: Timestamp,
    pub revoked: bool,
}

/// A source: what the NATS server confines a connection to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SourceView {
    pub source: SourceId,
    pub first_heard: Timestamp,
    pub last_heard: Timestamp,
    pub heartbeats: u64,
    /// Refusals by reason; reasons that never occurred are left out.
    pub refused: BTreeMap<String, u64>,
}

/// A signed head of the log, and the entry that carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointView {
    pub index: LogIndex,
    pub at: Timestamp,
    pub generation: Generation,
    /// Number of entries that it covers: those before index `size`.
    pub size: u64,
    pub root: TreeHash,
    /// Key id ‖ signature.
    pub signature: Vec<u8>,
}

impl CheckpointView {
    /// What was signed.
    #[must_use]
    pub fn checkpoint(&self, cluster: ClusterId) -> Checkpoint {
        Checkpoint { cluster, generation: Some(self.generation), size: self.size, root: self.root }
    }
}

/// The blast-radius breaker: how many devices automation restricted within a window, and how many it may. Open, it orders
/// nothing until the window has passed or a person resets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BreakerView {
    pub open: bool,
    pub restricted: u32,
    pub limit: u32,
    pub window_millis: u64,
}

/// The fleet in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Counts {
    /// Devices imported.
    pub burned: u32,
    pub legitimacy: BTreeMap<Legitimacy, u32>,
    pub licenses: BTreeMap<LicenseState, u32>,
    /// Open flags by kind.
    pub flags: BTreeMap<FlagKind, u32>,
    /// Orders that are not settled, by kind.
    pub unsettled: BTreeMap<OperationKind, u32>,
    /// Heartbeats committed.
    pub heartbeats: u64,
}
