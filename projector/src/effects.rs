//! What the shell must do next. The fold only says so: it never orders, sends or asks by itself, so that a replay
//! has no side effects.

use crate::changes::Change;
use crate::outcome::{DirectiveView, Outcomes};
use crate::view::{CheckpointView, FlagView};
use events::ids::{DeviceId, LogIndex, RolloutId};
use events::time::Timestamp;
use events::vocabulary::operation::Cause;
use events::vocabulary::shared::OperationKind;

/// What applying one raft entry gave.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "outcomes must be answered and effects carried out"]
pub struct Applied {
    pub outcomes: Outcomes,
    /// In the order in which they arose.
    pub effects: Vec<Effect>,
    /// What those who watch live are told.
    pub changes: Vec<Change>,
}

/// One thing for the shell to do. Only the leader proposes; any node may dispatch, since devices obey idempotently.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// The leader proposes this as `OperationOrdered`. Lost wants come back from `Projector::wanted_operations`.
    Want(WantOperation),
    /// A committed order: push it to the device. A lost push is made up for by the next verdict.
    Dispatch { device: DeviceId, directive: DirectiveView },
    /// Tell people.
    Notice(Notice),
    /// Every node compares this root with that of its own log.
    Compare(CheckpointView),
}

/// An operation that policy asks for. The fold drops the second order of one cause, kind and device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct WantOperation {
    pub kind: OperationKind,
    pub device: DeviceId,
    pub cause: Cause,
    /// The directive is void after this; zero is without end.
    pub expires: Timestamp,
}

/// What people should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A flag was raised.
    FlagRaised(FlagView),
    /// Automation restricted as many devices within an hour as it may, and stopped.
    BreakerOpened { restricted: u32, limit: u32 },
    /// An hour passed since the last automatic restriction: automation goes on.
    BreakerClosed,
    /// Too many terminals failed to install an update: its rollout was aborted.
    UpdateAborted { rollout: RolloutId, failed: u32, results: u32 },
    /// A person ordered `notify` for this device.
    Notified { device: DeviceId, ordered: LogIndex },
}
