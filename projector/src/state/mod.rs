//! The state that the log means. Only `apply` writes it.
//!
//! ```text
//!   Row (hot, by slot) ── Record (cold, by slot) ── Session: epochs and forks
//!        │                     │      └── Story
//!        └── Source            ├── License ── Code ── CodeBatch
//!   Lot ── Station             └── directives ── operations ── flags
//! ```

pub(crate) mod batches;
pub(crate) mod checkpoints;
pub(crate) mod device;
pub(crate) mod factory;
pub(crate) mod finder;
pub(crate) mod grant;
pub(crate) mod incidents;
pub(crate) mod index;
pub(crate) mod kept;
pub(crate) mod license;
pub(crate) mod numbers;
pub(crate) mod octets;
pub(crate) mod packed;
pub(crate) mod pages;
pub(crate) mod requests;
pub(crate) mod row;
pub(crate) mod seldom;
pub(crate) mod session;
pub(crate) mod sorted;
pub(crate) mod source;
pub(crate) mod story;
pub(crate) mod timers;
pub(crate) mod update;
pub(crate) mod usual;
pub(crate) mod window;

use crate::decide::breaker::Breaker;
use crate::detect::bucket::Buckets;
use crate::settings::Settings;
use crate::view::{FlagView, LicenseMoveView, OperationView};
use batches::Batches;
use checkpoints::Checkpoints;
use device::Records;
use events::ids::{ClusterId, Generation, LogIndex, LotId, StationId};
use events::time::Timestamp;
use factory::{Lot, Station};
use index::Index;
use license::{Code, CodeBatch, License};
use pages::Pages;
use requests::Requests;
use row::Row;
use serde::{Deserialize, Serialize};
use source::Source;
use std::collections::BTreeMap;
use timers::Timers;
use update::Rollout;

/// Everything that is derived from the log. Equal logs give equal states, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub applied: LogIndex,
    /// The highest stamp so far: time never goes back.
    pub stamp: Timestamp,
    pub cluster: Option<ClusterId>,
    pub generation: Generation,
    /// Until then no bucket counts: failures just after a restore ban nobody (protocol.md rule 7).
    pub quiet_until: Timestamp,
    pub heartbeat_millis: u32,
    /// Heartbeats committed.
    pub heartbeats: u64,
    pub rows: Pages<Row>,
    pub records: Records,
    pub lots: BTreeMap<LotId, Lot>,
    pub stations: BTreeMap<StationId, Station>,
    pub code_batches: Pages<CodeBatch>,
    pub codes: Pages<Code>,
    pub licenses: Pages<License>,
    pub sources: Pages<Source>,
    pub flags: Pages<FlagView>,
    /// In the order in which they were ordered.
    pub operations: Pages<OperationView>,
    pub buckets: Buckets,
    pub timers: Timers,
    pub batches: Batches,
    pub breaker: Breaker,
    /// What people did to licenses.
    pub moves: Pages<LicenseMoveView>,
    pub requests: Requests,
    /// In the order in which they were created.
    pub rollouts: Pages<Rollout>,
    pub checkpoints: Checkpoints,
    /// Derived from the above.
    #[serde(skip)]
    pub index: Index,
    /// Not state: the same on every node, and other ones only where somebody asks what would have been.
    #[serde(skip)]
    pub settings: Settings,
}
