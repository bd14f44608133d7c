//! What people and logs hear of an update.

use events::ids::RolloutId;
use events::update::{UpdateFailure, UpdateRefusal};

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum UpdateEvent {
    /// An offer came that this terminal does not take; it stays as it was.
    Refused {
        reason: UpdateRefusal,
    },
    Taken {
        rollout: RolloutId,
        firmware: u32,
    },
    /// Size and digest hold.
    Verified {
        rollout: RolloutId,
    },
    /// The cluster does not offer it any more, or not now: it stays on flash and is not installed.
    Held {
        rollout: RolloutId,
    },
    /// The hook is done; the new version runs after the next start of the terminal.
    Installed {
        rollout: RolloutId,
        firmware: u32,
    },
    /// The new version runs; the floor stands here.
    Running {
        firmware: u32,
        floor: u32,
    },
    Failed {
        rollout: RolloutId,
        reason: UpdateFailure,
    },
}
