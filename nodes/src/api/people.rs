//! What a person orders: the same events as policy's, with a name and a reason.

use super::ApiState;
use super::extract::{Body, Id};
use super::refusal::Refused;
use super::shapes::{ClearFlag, Done, OrderOperation, Ordered};
use axum::Json;
use axum::extract::State;
use events::ids::{DeviceId, FlagId};
use events::time::Timestamp;
use events::vocabulary::operation::Cause;
use events::vocabulary::{Event, FlagCleared, OperationOrdered};
use projector::{Outcome, Outcomes};

/// A name or a reason, in characters.
const WORDS_MAX: usize = 500;

pub(super) async fn order(
    State(state): State<ApiState>,
    Id(device): Id<DeviceId>,
    Body(order): Body<OrderOperation>,
) -> Result<Json<Ordered>, Refused> {
    let cause = Cause::Operator { name: words("by", order.by)?, reason: words("reason", order.reason)? };
    let expires = match order.for_seconds {
        None => Timestamp::ZERO,
        Some(seconds) => {
            let now = state.deps.projector.read(|fold| fold.stamp());
            now.plus_millis(seconds.saturating_mul(1000))
        }
    };
    let (outcomes, outcome) =
        propose_one(&state, OperationOrdered { kind: order.kind, device, cause, expires }.into()).await?;
    match outcome {
        Outcome::Ordered { directive } => {
            Ok(Json(Ordered { index: outcomes.index, directive, duplicate: outcomes.duplicate }))
        }
        other => done(outcomes.index, &other).map(|Json(done)| {
            Json(Ordered { index: done.index, directive: None, duplicate: done.duplicate })
        }),
    }
}

pub(super) async fn clear_flag(
    State(state): State<ApiState>,
    Id(flag): Id<FlagId>,
    Body(clear): Body<ClearFlag>,
) -> Result<Json<Done>, Refused> {
    let event = FlagCleared { flag, by: words("by", clear.by)?, reason: words("reason", clear.reason)? };
    commit(&state, event.into()).await
}

/// A text by a person: not empty, and not endless.
pub(super) fn words(field: &'static str, text: String) -> Result<String, Refused> {
    let length = text.chars().count();
    if text.trim().is_empty() || length > WORDS_MAX {
        return Err(Refused::malformed(format!(
            "`{field}` has {length} characters, expected 1 to {WORDS_MAX}"
        )));
    }
    Ok(text)
}

/// Commits one event.
pub(super) async fn commit(state: &ApiState, event: Event) -> Result<Json<Done>, Refused> {
    let (outcomes, outcome) = propose_one(state, event).await?;
    done(outcomes.index, &outcome)
}

pub(super) async fn propose_one(state: &ApiState, event: Event) -> Result<(Outcomes, Outcome), Refused> {
    let mut outcomes = state.deps.proposer.propose_events(std::slice::from_ref(&event)).await?;
    let outcome = outcomes.events.pop();
    let outcome = outcome.ok_or_else(|| Refused::malformed("the log gave no outcome for the event"))?;
    Ok((outcomes, outcome))
}

/// What an outcome means to who posted it.
fn done(index: u64, outcome: &Outcome) -> Result<Json<Done>, Refused> {
    match outcome {
        Outcome::Duplicate => Ok(Json(Done { index, duplicate: true })),
        Outcome::Declined(decline) => Err(Refused::declined(*decline)),
        Outcome::Refused(reason) => Err(Refused::malformed(format!("the log refused it: {reason}"))),
        Outcome::Accepted
        | Outcome::Activated(_)
        | Outcome::Resumed(_)
        | Outcome::Observed(_)
        | Outcome::Imported { .. }
        | Outcome::Ordered { .. }
        | Outcome::Raced { .. } => Ok(Json(Done { index, duplicate: false })),
    }
}
