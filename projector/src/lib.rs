//! What the log means: a pure, deterministic fold. Same log, same bytes of state, on every node, for ever.
//!
//! ```text
//!   committed entry ──▶ apply/ ──▶ state/ ──▶ read, judgement ──▶ ingress, operators
//!   (stamp ‖ batch)       │  ▲
//!                         │  └── detect/  what is an attack      decide/  what policy does about it
//!                         ▼
//!                 outcomes (what to answer) and effects (what else the shell must do)
//! ```
//!
//! [`Projector`] is the whole of it: `apply` one entry after the other, carry out what comes back, ask what you
//! need to know. `snapshot` and `digest` make the state travel and comparable; `invariants` says what must hold.
//!
//! This room is pure: no clock, entropy, file or network; time is the leader's stamp in each entry. Nothing
//! iterates in hash order.

mod apply;
pub mod changes;
mod decide;
mod detect;
mod device_view;
mod digest;
pub mod effects;
mod frozen;
pub mod invariants;
pub mod judgement;
pub mod outcome;
mod projector;
mod read;
pub mod reasons;
pub mod settings;
mod snapshot;
mod state;
pub mod view;
mod works;

pub use changes::Change;
pub use device_view::{DeviceView, EpochStanding, EpochView};
pub use digest::StateDigest;
pub use effects::{Applied, Effect, Notice, WantOperation};
pub use frozen::{Frozen, WrappedUnder};
pub use judgement::{CLONE_EVIDENCE_ENOUGH, Judgement};
pub use outcome::{
    Decline, DirectiveView, Grant, HeartbeatOutcome, HeartbeatOutcomes, HeartbeatStatus, LicenseGrant,
    Outcome, Outcomes,
};
pub use projector::{ApplyError, Projector};
pub use snapshot::{
    LEVEL_BYTES as SNAPSHOT_LEVEL_BYTES, SnapshotError, VERSION as SNAPSHOT_VERSION, snapshot_level,
};
pub use state::factory::{Lot, Station};
pub use state::row::{HOT_ROW_BYTES, Heard};
pub use works::{DoAll, Work};
