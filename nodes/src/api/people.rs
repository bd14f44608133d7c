//! What a person orders: the same events as policy's, with a name and a reason.

use super::ApiState;
use super::extract::{Id, Write};
use super::refusal::Refused;
use super::shapes::{ClearFlag, Done, OrderOperation, Ordered, Refusal, RefusalCode, ResetBreaker};
use super::write::{commit, done, propose_one, signed};
use axum::Json;
use axum::extract::State;
use events::ids::{DeviceId, FlagId};
use events::time::Timestamp;
use events::vocabulary::operation::Cause;
use events::vocabulary::{BreakerReset, FlagCleared, OperationOrdered};
use projector::Outcome;

/// The level of state with which members know [`BreakerReset`].
const LEVEL_THAT_KNOWS_RESETS: u16 = 6;

/// Orders an operation for a device; it obeys with its next verdict.
#[utoipa::path(post, path = "/v1/devices/{id}/operations", tag = "operations", request_body = OrderOperation,
    params(("id" = DeviceId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Ordered), (status = "default", body = Refusal)))]
pub(super) async fn order(
    State(state): State<ApiState>,
    Id(device): Id<DeviceId>,
    Write { body: order, caller, key, .. }: Write<OrderOperation>,
) -> Result<Json<Ordered>, Refused> {
    let (name, reason) = signed(&caller, Some(order.by), order.reason)?;
    let cause = Cause::Operator { name, reason };
    let expires = match order.for_seconds {
        None => Timestamp::ZERO,
        Some(seconds) => {
            let now = state.deps.projector.read(|fold| fold.stamp());
            now.plus_millis(seconds.saturating_mul(1000))
        }
    };
    let (outcomes, outcome) =
        propose_one(&state, key, OperationOrdered { kind: order.kind, device, cause, expires }.into())
            .await?;
    match outcome {
        Outcome::Ordered { directive } => {
            Ok(Json(Ordered { index: outcomes.index, directive, duplicate: outcomes.duplicate }))
        }
        other => done(outcomes.index, &other)
            .map(|done| Json(Ordered { index: done.index, directive: None, duplicate: done.duplicate })),
    }
}

/// Closes a flag: somebody looked at it.
#[utoipa::path(post, path = "/v1/flags/{id}/clear", tag = "flags", request_body = ClearFlag,
    params(("id" = FlagId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Done), (status = "default", body = Refusal)))]
pub(super) async fn clear_flag(
    State(state): State<ApiState>,
    Id(flag): Id<FlagId>,
    Write { body: clear, caller, key, .. }: Write<ClearFlag>,
) -> Result<Json<Done>, Refused> {
    let (by, reason) = signed(&caller, Some(clear.by), clear.reason)?;
    commit(&state, key, FlagCleared { flag, by, reason }.into()).await
}

/// Lets automation go on after the blast-radius breaker stopped it: somebody looked at what it restricted.
#[utoipa::path(post, path = "/v1/breaker/reset", tag = "operations", request_body = ResetBreaker,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Done), (status = "default", body = Refusal)))]
pub(super) async fn reset_breaker(
    State(state): State<ApiState>,
    Write { body: reset, caller, key, .. }: Write<ResetBreaker>,
) -> Result<Json<Done>, Refused> {
    if let Some(member) = state.deps.notary.levels.below(LEVEL_THAT_KNOWS_RESETS) {
        let why = format!(
            "node {member} is not known to run a version that knows this event, and would halt at it: it runs an older one, \
             or was never reachable from this node"
        );
        return Err(Refused::new(
            RefusalCode::Unavailable,
            why,
            "upgrade that member, or let it be reached once, then post it again; the breaker closes by itself when its window \
             has passed, and a person may restrict and reinstate meanwhile",
        ));
    }
    let (by, reason) = signed(&caller, Some(reset.by), reset.reason)?;
    commit(&state, key, BreakerReset { by, reason }.into()).await
}
