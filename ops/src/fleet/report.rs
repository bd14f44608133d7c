//! What a fleet says at its end: enough for a checker to look for every acknowledged heartbeat in the log.

use super::counters::Counters;
use edge_agent::machine::{AgentEvent, Standing};
use events::envelope::HeartbeatStatus;
use events::ids::{DeviceId, Epoch, LogIndex, RecordDigest, Sequence};
use events::vocabulary::shared::Legitimacy;
use std::time::Instant;

/// A heartbeat for which a verdict verified: it must be in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Acknowledged {
    pub device: DeviceId,
    pub epoch: Epoch,
    pub sequence: Sequence,
    /// The log index that the verdict named.
    pub index: LogIndex,
    /// When the verdict verified.
    #[serde(skip)]
    pub at: Instant,
}

impl Acknowledged {
    pub(super) fn from_event(device: Option<DeviceId>, event: &AgentEvent) -> Option<Self> {
        match (device, event) {
            (Some(device), AgentEvent::Acknowledged { epoch, sequence, index, status }) => match status {
                HeartbeatStatus::Committed | HeartbeatStatus::Retried => Some(Acknowledged {
                    device,
                    epoch: *epoch,
                    sequence: *sequence,
                    index: *index,
                    at: Instant::now(),
                }),
                HeartbeatStatus::EpochStale => None,
            },
            _ => None,
        }
    }
}

/// One terminal at the fleet's end.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TerminalReport {
    /// None if its OTP record does not open.
    pub device: Option<DeviceId>,
    pub record: RecordDigest,
    pub standing: Standing,
    /// As the last sealed answer said.
    pub legitimacy: Option<Legitimacy>,
    /// Epochs granted, in order.
    pub epochs: Vec<Epoch>,
    /// The machine's state, by name.
    pub phase: &'static str,
    pub heartbeats_acknowledged: u64,
    /// The last durable state; what a thief of this terminal's flash would hold.
    #[serde(skip)]
    pub snapshot: Option<Vec<u8>>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct FleetReport {
    pub counters: Counters,
    /// In the order in which the verdicts arrived.
    #[serde(skip)]
    pub acknowledged: Vec<Acknowledged>,
    /// Those that booted before the end, in the order of their specifications.
    pub terminals: Vec<TerminalReport>,
}
