//! Software update: a signed offer comes in, its signature is checked, and a rollout begins; people pause, resume and
//! abort it. Each is idempotent by its rollout id.

use super::ApiState;

use super::extract::{Id, Write};
use super::refusal::Refused;
use super::shapes::{Base64, CreateUpdate, Refusal, SwitchUpdate, UpdateDone, UpdateList};
use super::write::{believed, done, propose_one, signed};
use axum::Json;
use axum::extract::State;
use events::identity::key::PublicKey;
use events::ids::RolloutId;
use events::update::SignedOffer;
use events::vocabulary::{Event, RequestKeyed, UpdateAborted, UpdateCreated, UpdatePaused, UpdateResumed};
use projector::view::RolloutView;

/// Rollouts of one answer.
const LIST_MAX: usize = 100;

const UNCHECKED: &str = "this node is not told which update keys the terminals pin (`update_keys`): under another key the rollout \
                         stays pending for ever";

type Answer = Result<Json<UpdateDone>, Refused>;

/// Rollouts, the newest first.
#[utoipa::path(get, path = "/v1/updates", tag = "updates",
    responses((status = 200, body = UpdateList), (status = "default", body = Refusal)))]
pub(super) async fn list(State(state): State<ApiState>) -> Result<Json<UpdateList>, Refused> {
    let list = state.deps.projector.read(|fold| {
        let mut newest = fold.rollouts().rev();
        UpdateList { updates: newest.by_ref().take(LIST_MAX).collect(), left_out: newest.count() as u64 }
    });
    Ok(Json(list))
}

/// One rollout: its phase, and what the terminals made of it.
#[utoipa::path(get, path = "/v1/updates/{id}", tag = "updates", params(("id" = RolloutId, Path)),
    responses((status = 200, body = RolloutView), (status = "default", body = Refusal)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Id(id): Id<RolloutId>,
) -> Result<Json<RolloutView>, Refused> {
    let found = state.deps.projector.read(|fold| fold.rollout(&id));
    found.map(Json).ok_or_else(|| Refused::not_found(id))
}

/// Starts a rollout. A newer version takes the place of the one that is under way for the same lots.
#[utoipa::path(post, path = "/v1/updates", tag = "updates", request_body = CreateUpdate,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = UpdateDone), (status = "default", body = Refusal)))]
pub(super) async fn create(
    State(state): State<ApiState>,
    Write { body, caller, key, .. }: Write<CreateUpdate>,
) -> Answer {
    let malformed = |field: &str, e: &dyn std::fmt::Display| Refused::malformed(format!("`{field}`: {e}"));
    let update_key = update_key(&state, &body.update_key)?;
    let offer = SignedOffer::parse(&body.offer.0).map_err(|e| malformed("offer", &e))?;
    let offer = offer.verify(&[update_key]).map_err(|e| malformed("offer", &e))?;
    let (by, reason) = signed(&caller, body.by, body.reason)?;
    let event = UpdateCreated { offer: body.offer.0.clone(), rules: body.rules, by, reason };
    let Json(done) = commit(&state, key, offer.rollout, event.into()).await?;
    let warning = state.deps.config.update_keys.is_empty().then(|| UNCHECKED.to_owned());
    Ok(Json(UpdateDone { warning, ..done }))
}

/// The update key that a request names, if the terminals pin it as far as this node was told.
fn update_key(state: &ApiState, given: &Base64) -> Result<PublicKey, Refused> {
    believed("update_key", given, &state.deps.config.update_keys, || {
        (
            "the update key is none of those that this node's configuration names: no terminal would take the offer",
            "sign it under a key that the terminals pin; once they pin this one, add it to `update_keys` of every node",
        )
    })
}

/// Nobody is told anew until it is resumed.
#[utoipa::path(post, path = "/v1/updates/{id}/pause", tag = "updates", request_body = SwitchUpdate,
    params(("id" = RolloutId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = UpdateDone), (status = "default", body = Refusal)))]
pub(super) async fn pause(
    State(state): State<ApiState>,
    Id(rollout): Id<RolloutId>,
    Write { body, caller, key, .. }: Write<SwitchUpdate>,
) -> Answer {
    let (by, reason) = signed(&caller, body.by, body.reason)?;
    commit(&state, key, rollout, UpdatePaused { rollout, by, reason }.into()).await
}

/// The end of a pause; its phase begins anew.
#[utoipa::path(post, path = "/v1/updates/{id}/resume", tag = "updates", request_body = SwitchUpdate,
    params(("id" = RolloutId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = UpdateDone), (status = "default", body = Refusal)))]
pub(super) async fn resume(
    State(state): State<ApiState>,
    Id(rollout): Id<RolloutId>,
    Write { body, caller, key, .. }: Write<SwitchUpdate>,
) -> Answer {
    let (by, reason) = signed(&caller, body.by, body.reason)?;
    commit(&state, key, rollout, UpdateResumed { rollout, by, reason }.into()).await
}

/// It is offered to nobody any more, for ever.
#[utoipa::path(post, path = "/v1/updates/{id}/abort", tag = "updates", request_body = SwitchUpdate,
    params(("id" = RolloutId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = UpdateDone), (status = "default", body = Refusal)))]
pub(super) async fn abort(
    State(state): State<ApiState>,
    Id(rollout): Id<RolloutId>,
    Write { body, caller, key, .. }: Write<SwitchUpdate>,
) -> Answer {
    let (by, reason) = signed(&caller, body.by, body.reason)?;
    commit(&state, key, rollout, UpdateAborted { rollout, by, reason }.into()).await
}

async fn commit(state: &ApiState, key: Option<RequestKeyed>, rollout: RolloutId, event: Event) -> Answer {
    let (outcomes, outcome) = propose_one(state, key, event).await?;
    let done = done(outcomes.index, &outcome)?;
    let update = state.deps.projector.read(|fold| fold.rollout(&rollout));
    Ok(Json(UpdateDone { index: done.index, duplicate: done.duplicate, rollout, update, warning: None }))
}
