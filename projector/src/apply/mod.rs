//! The only writer of the state.

use crate::effects::Applied;
use crate::outcome::{HeartbeatOutcomes, Outcomes};
use crate::projector::ApplyError;
use crate::state::State;
use events::ids::LogIndex;

pub fn entry(state: &mut State, index: LogIndex, payload: &[u8]) -> Result<Applied, ApplyError> {
    let (stamp, _batch) =
        events::batch::split_stamp(payload).map_err(|source| ApplyError::Entry { index, source })?;
    state.applied = index;
    state.stamp = state.stamp.max(stamp);
    let heartbeats = HeartbeatOutcomes::new(state.heartbeat_millis);
    let outcomes = Outcomes { index, stamp: state.stamp, duplicate: false, events: Vec::new(), heartbeats };
    Ok(Applied { outcomes, effects: Vec::new() })
}
