//! What an operator asks of the cluster itself.

use super::ApiState;
use super::extract::Body;
use super::refusal::Refused;
use super::shapes::{RefusalCode, TransferLeader, Transferring, Triggered};
use crate::leader::transfer;
use crate::peers::{PeerReply, PeerRequest};
use crate::raft::leadership::Leadership;
use axum::Json;
use axum::extract::State;
use std::time::Duration;

const HAND_OVER_WITHIN: Duration = Duration::from_secs(3);

/// The leader, wherever it is, asks another voter to lead.
pub(super) async fn transfer_leader(
    State(state): State<ApiState>,
    Body(request): Body<TransferLeader>,
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

/// This node makes a snapshot.
pub(super) async fn snapshot(State(state): State<ApiState>) -> Result<Json<Triggered>, Refused> {
    let triggered = state.deps.raft.trigger().snapshot().await;
    triggered.map_err(|stopped| unavailable(stopped.to_string()))?;
    Ok(Json(Triggered { node: state.deps.config.node }))
}

fn unavailable(why: String) -> Refused {
    Refused::new(RefusalCode::Unavailable, why, "look at the status, and try again")
}
