//! What this node says of itself and of the others.

use super::ApiState;
use super::shapes::{AutomationView, ClockView, DigestAt, MemberView, Refusal, Role, Status};
use crate::config::MemberConfig;
use crate::leader::automation::Automation;
use crate::leader::clock_guard::ClockVerdict;
use crate::peers::watch::PeerReports;
use crate::raft::types::TypeConfig;
use crate::webhooks::receivers_digest;
use axum::Json;
use axum::extract::State;
use data_encoding::BASE64;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{RaftMetrics, ServerState};
use std::collections::BTreeMap;

/// What this node says of itself and its cluster.
#[utoipa::path(get, path = "/v1/status", tag = "cluster",
    responses((status = 200, body = Status), (status = "default", body = Refusal)))]
pub(super) async fn status(State(state): State<ApiState>) -> Json<Status> {
    let deps = &state.deps;
    let metrics = deps.raft.metrics();
    let metrics = metrics.borrow_watched().clone();
    let (applied, stamp, counts, breaker) =
        deps.projector.read(|fold| (fold.applied(), fold.stamp(), fold.counts(), fold.breaker()));
    let digests: Vec<DigestAt> = deps.projector.digests().into_iter().map(DigestAt::from).collect();
    let reports = deps.reports.borrow().clone();
    let own = deps.config.own_member();
    Json(Status {
        cluster: deps.config.cluster,
        node: deps.config.node,
        name: own.name.clone(),
        region: own.region.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role: role(&metrics),
        leader: metrics.current_leader,
        term: metrics.current_term,
        last_log: metrics.last_log_index,
        committed: metrics.cluster_committed.map(|log_id| log_id.index),
        applied,
        stamp,
        snapshot: metrics.snapshot.map(|log_id| log_id.index),
        digest: digests.last().copied(),
        digests,
        automation: automation(&deps.automation.now()),
        breaker,
        clock: clock(deps.clock_guard.verdict()),
        members: deps.config.members.iter().map(|member| view(&state, member, &reports, applied)).collect(),
        webhook_receivers: Some(receivers_digest(&deps.config.webhooks)),
        counts,
        counters: counters(&state),
    })
}

fn role(metrics: &RaftMetrics<TypeConfig>) -> Role {
    match metrics.state {
        _ if metrics.running_state.is_err() => Role::Stopped,
        ServerState::Leader => Role::Leader,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Stopped,
    }
}

fn automation(automation: &Automation) -> AutomationView {
    match automation {
        Automation::Running => AutomationView { running: true, why: None },
        Automation::Stopped { peer, index, own, theirs } => stopped(format!(
            "at index {index} this node's state has digest {own}, and that of node {peer} {theirs}"
        )),
        Automation::LogDiffers(difference) => {
            let signed = &difference.checkpoint;
            stopped(format!(
                "the checkpoint at log index {} is of {} entries with root {}, and this node's have root {}: run \
                 `muster log verify` on every member's log",
                signed.index,
                signed.size,
                BASE64.encode(&signed.root),
                BASE64.encode(&difference.own)
            ))
        }
        Automation::CheckpointForged { index, why } => {
            stopped(format!("the checkpoint at log index {index} is not the cluster's: {why}"))
        }
    }
}

fn stopped(why: String) -> AutomationView {
    AutomationView { running: false, why: Some(why) }
}

fn clock(verdict: ClockVerdict) -> ClockView {
    match verdict {
        ClockVerdict::Unjudged => ClockView::Unjudged,
        ClockVerdict::Agrees => ClockView::Agrees,
        ClockVerdict::Off { by_millis } => ClockView::Off { by_millis },
    }
}

fn view(state: &ApiState, member: &MemberConfig, reports: &PeerReports, applied: u64) -> MemberView {
    let own = member.id == state.deps.config.node;
    let report = reports.get(&member.id);
    let status = report.and_then(|report| report.status.as_ref());
    MemberView {
        id: member.id,
        name: member.name.clone(),
        region: member.region.to_string(),
        address: member.address.clone(),
        reachable: own || report.is_some_and(|report| report.reachable),
        why: report.and_then(|report| report.why.clone()),
        applied: if own { Some(applied) } else { status.map(|status| status.applied) },
        ahead_millis: report.and_then(|report| report.ahead_millis),
        round_trip_micros: report.and_then(|report| report.round_trip_micros),
        version: if own {
            Some(env!("CARGO_PKG_VERSION").to_owned())
        } else {
            status.map(|status| status.version.clone())
        },
    }
}

fn counters(state: &ApiState) -> BTreeMap<String, u64> {
    let mut counters = (state.deps.more_counters)();
    let own = state.counters.read();
    let peers = state.deps.peer_counters.read();
    counters.extend(own.into_iter().chain(peers).map(|(name, count)| (name.to_owned(), count)));
    counters
}
