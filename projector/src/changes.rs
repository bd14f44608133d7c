//! What changed with an entry, for those who watch the cluster live. It obliges nobody to anything: who misses a
//! change reads the state.

use crate::outcome::DirectiveView;
use crate::view::{FlagSubject, LicenseMoveView, LicenseState, RolloutStanding};
use events::ids::{DeviceId, FlagId, LicenseId, LogIndex, RolloutId};
use events::vocabulary::operation::Settlement;
use events::vocabulary::shared::{DirectiveId, FlagKind, Legitimacy, OperationKind};
use serde::{Deserialize, Serialize};

/// One change of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    Legitimacy {
        device: DeviceId,
        from: Legitimacy,
        to: Legitimacy,
    },
    FlagRaised {
        flag: FlagId,
        kind: FlagKind,
        subject: FlagSubject,
        evidence: Vec<LogIndex>,
    },
    FlagCleared {
        flag: FlagId,
        kind: FlagKind,
        subject: FlagSubject,
        by: String,
    },
    OperationOrdered {
        device: DeviceId,
        directive: DirectiveView,
        by_person: bool,
    },
    OperationSettled {
        device: DeviceId,
        order: DirectiveId,
        kind: OperationKind,
        settlement: Settlement,
    },
    License {
        license: LicenseId,
        device: DeviceId,
        from: LicenseState,
        to: LicenseState,
    },
    LicenseMoved(LicenseMoveView),
    /// A rollout of software update began, went on or ended; `phase` counts from 1.
    Update {
        rollout: RolloutId,
        phase: u8,
        standing: RolloutStanding,
    },
    /// A person wants this device to be looked at.
    Notified {
        device: DeviceId,
        order: DirectiveId,
        by: String,
        reason: String,
    },
    /// Automation restricted as many devices within an hour as it may, and stopped.
    AutomationStopped {
        restricted: u32,
        limit: u32,
    },
    /// Automation goes on.
    AutomationResumed,
}
