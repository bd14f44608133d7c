//! What an operator asks of the cluster itself.

use super::ApiState;
use super::extract::Write;
use super::refusal::Refused;
use super::shapes::{KeyUse, Refusal, RefusalCode, TransferLeader, Transferring, Triggered};
use crate::leader::transfer;
use crate::peers::{PeerReply, PeerRequest};
use crate::raft::leadership::Leadership;
use axum::Json;
use axum::extract::State;
use std::collections::BTreeMap;
use std::time::Duration;

const HAND_OVER_WITHIN: Duration = Duration::from_secs(3);

/// The leader, wherever it is, asks another voter to lead. It takes no `Idempotency-Key`: nothing is written to the log. With
/// `to` a repetition moves nothing more; without it, whoever leads by then is asked.
#[utoipa::path(post, path = "/v1/leader/transfer", tag = "cluster", request_body = TransferLeader,
    responses((status = 200, body = Transferring), (status = "default", body = Refusal)))]
pub(super) async fn transfer_leader(
    State(state): State<ApiState>,
    Write { body: request, .. }: Write<TransferLeader>,
) -> Result<Json<Transferring>, Refused> {
    let members = &state.deps.config.members;
    if let Some(to) = request.to
        && !members.iter().any(|member| member.id == to)
    {
        return Err(Refused::not_found(format!("node {to}")));
    }
    let asked = match Leadership::now(&state.deps.raft) {
        Leadership::Here { .. } | Leadership::HereSoon => {
            let reports = state.deps.reports.borrow().clone();
            let to = transfer::hand_over_to(&state.deps.raft, &reports, request.to).await;
            to.map(|to| Transferring { from: state.deps.config.node, to })
        }
        Leadership::Elsewhere(leader) => {
            let ask = PeerRequest::HandOver { to: request.to };
            match state.deps.transport.call(&leader, ask, HAND_OVER_WITHIN).await {
                Ok(PeerReply::HandOver { to }) => to.map(|to| Transferring { from: leader.node, to }),
                Ok(_) => None,
                Err(error) => return Err(unavailable(error.to_string())),
            }
        }
        Leadership::Nobody => None,
    };
    asked.map(Json).ok_or_else(|| unavailable("no node leads, or there is nobody to hand over to".to_owned()))
}

/// This node makes a snapshot. It takes no `Idempotency-Key`: nothing is written to the log, and another snapshot does no harm.
#[utoipa::path(post, path = "/v1/snapshot", tag = "cluster",
    responses((status = 200, body = Triggered), (status = "default", body = Refusal)))]
pub(super) async fn snapshot(State(state): State<ApiState>) -> Result<Json<Triggered>, Refused> {
    let triggered = state.deps.raft.trigger().snapshot().await;
    triggered.map_err(|stopped| unavailable(stopped.to_string()))?;
    Ok(Json(Triggered { node: state.deps.config.node }))
}

/// Under which keys the present state's secrets are wrapped: what a key must not be retired before.
#[utoipa::path(get, path = "/v1/keys", tag = "cluster",
    responses((status = 200, body = Vec<KeyUse>), (status = "default", body = Refusal)))]
pub(super) async fn keys(State(state): State<ApiState>) -> Result<Json<Vec<KeyUse>>, Refused> {
    // Counted in a copy, so that apply does not wait for it.
    let frozen = state.deps.projector.read(projector::Projector::freeze);
    let counted = tokio::task::spawn_blocking(move || frozen.wrapped_under()).await;
    let counted = counted.map_err(|error| unavailable(error.to_string()))?;
    let uses = |purpose: &str, counts: BTreeMap<u32, u64>| {
        let purpose = purpose.to_owned();
        counts.into_iter().map(move |(key, secrets)| KeyUse { purpose: purpose.clone(), key, secrets })
    };
    Ok(Json(uses("device", counted.device).chain(uses("session", counted.session)).collect()))
}

fn unavailable(why: String) -> Refused {
    Refused::new(RefusalCode::Unavailable, why, "look at the status, and try again")
}
