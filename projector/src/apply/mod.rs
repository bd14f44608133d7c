//! The only writer of the state: one committed entry at a time, one file per family of events.
//!
//! ```text
//!   entry ─▶ decode everything ─▶ time passes ─▶ came before? ─▶ rows ─▶ events ─▶ outcomes, effects
//!                  │                (timers)           └── yes: answer from what was kept, change nothing
//!                  └── unreadable: error, state untouched
//! ```

mod activation;
mod again;
mod cluster;
mod codes;
mod factory;
mod flag;
mod heartbeat;
mod license;
mod operation;
mod rejection;
pub(crate) mod request;
mod routine;
mod session;
mod spool;
pub(crate) mod step;
mod time;
mod update;

use crate::effects::{Applied, WantOperation};
use crate::outcome::{Decline, HeartbeatOutcomes, Outcome, Outcomes};
use crate::projector::ApplyError;
use crate::state::State;
use events::batch::{BatchError, access, split_stamp};
use events::ids::LogIndex;
use events::vocabulary::{Event, OperationOrdered};
use request::Keyed;
use step::Step;

/// Whether `index` is the one that follows.
pub(crate) fn check_next(state: &State, index: LogIndex) -> Result<(), ApplyError> {
    let applied = state.applied;
    match index.checked_sub(applied) {
        Some(1) => Ok(()),
        Some(0) | None => Err(ApplyError::OutOfOrder { applied, got: index }),
        Some(_) => Err(ApplyError::Gap { applied, got: index }),
    }
}

/// Applies one entry. After an error the state is as it was.
pub(crate) fn entry(state: &mut State, index: LogIndex, payload: &[u8]) -> Result<Applied, ApplyError> {
    check_next(state, index)?;
    let unreadable = |source: BatchError| ApplyError::Entry { index, source };
    let (stamp, bytes) = split_stamp(payload).map_err(unreadable)?;
    let batch = access(bytes).map_err(unreadable)?;
    let events: Vec<Event> =
        batch.decode_events().collect::<Result<_, _>>().map_err(|e| unreadable(e.into()))?;

    let mut step = Step::begin(state, index, stamp);
    let duplicate = step.state.batches.came_before(batch.batch_id());
    let mut heartbeats = HeartbeatOutcomes::new(step.state.heartbeat_millis);
    if duplicate {
        batch.heartbeats.rows().for_each(|row| heartbeats.push(step.routine_again(&row)));
    } else {
        step.routine_rows(&batch.heartbeats, &mut heartbeats);
    }
    let answer = |(ordinal, event)| match duplicate {
        true => step.event_again(event),
        false => step.event(u16::try_from(ordinal).unwrap_or(u16::MAX), event),
    };
    let events: Vec<Outcome> = events.into_iter().enumerate().map(answer).collect();
    step.close_request(&events);
    let outcomes = Outcomes { index, stamp: step.now, duplicate, events, heartbeats };
    Ok(Applied { outcomes, effects: step.effects, changes: step.changes })
}

/// An order at the last entry that is in no log.
pub(crate) fn order_unlogged(state: &mut State, want: WantOperation, ordinal: u16) -> Applied {
    let (index, stamp) = (state.applied, state.stamp);
    let mut step = Step::begin(state, index, stamp);
    let WantOperation { kind, device, cause, expires } = want;
    let events = vec![step.operation_ordered(ordinal, OperationOrdered { kind, device, cause, expires })];
    let heartbeats = HeartbeatOutcomes::new(step.state.heartbeat_millis);
    let outcomes = Outcomes { index, stamp: step.now, duplicate: false, events, heartbeats };
    Applied { outcomes, effects: step.effects, changes: step.changes }
}

impl Step<'_> {
    /// Applies one event; `ordinal` is its place in the batch.
    fn event(&mut self, ordinal: u16, event: Event) -> Outcome {
        if self.state.cluster.is_none() && !matches!(event, Event::ClusterCreated(_) | Event::Tick(_)) {
            return Outcome::Declined(Decline::NoCluster);
        }
        if let Keyed::Settled(answer) = &self.keyed {
            return answer.clone();
        }
        match event {
            Event::ClusterCreated(event) => self.cluster_created(&event),
            Event::Tick(_) => Outcome::Accepted,
            Event::CheckpointSigned(event) => self.checkpoint_signed(event),
            Event::LotCreated(event) => self.lot_created(event),
            Event::StationCertified(event) => self.station_certified(event),
            Event::StationRevoked(event) => self.station_revoked(&event),
            Event::DeviceProvisioned(event) => self.device_provisioned(event),
            Event::SecretsRewrapped(event) => self.secrets_rewrapped(event),
            Event::CodesIssued(event) => self.codes_issued(event),
            Event::CodeVoided(event) => self.code_voided(&event),
            Event::LicenseTransferred(event) => self.license_transferred(&event),
            Event::LicenseRenewed(event) => self.license_renewed(&event),
            Event::LicenseSuspended(event) => self.license_suspended(&event),
            Event::LicenseResumed(event) => self.license_resumed(&event),
            Event::LicenseReissued(event) => self.license_reissued(&event),
            Event::DeviceActivated(event) => self.device_activated(event),
            Event::SessionResumed(event) => self.session_resumed(event),
            Event::HeartbeatObserved(event) => self.heartbeat_observed(&event),
            Event::SpoolDrained(event) => self.spool_drained(&event),
            Event::RejectionSummary(event) => self.rejection_summary(&event),
            Event::TamperReported(event) => self.tamper_reported(&event),
            Event::FlagCleared(event) => self.flag_cleared(&event),
            Event::OperationOrdered(event) => self.operation_ordered(ordinal, event),
            Event::OperationSettled(event) => self.operation_settled(&event),
            Event::BreakerReset(_) => self.breaker_reset(),
            Event::UpdateCreated(event) => self.update_created(ordinal, event),
            Event::UpdatePaused(event) => self.update_paused(&event),
            Event::UpdateResumed(event) => self.update_resumed(&event),
            Event::UpdateAborted(event) => self.update_aborted(&event),
            Event::RequestKeyed(event) => self.request_keyed(event),
        }
    }
}
