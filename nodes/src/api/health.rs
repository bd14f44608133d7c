//! Whether this node lives, and of what use it is now. Asked without a token, by whoever starts, stops and balances: nothing
//! of devices is told.
//!
//! | path | asked by | says |
//! |---|---|---|
//! | `/health/live` | whoever starts it again | to start it again would not help |
//! | `/health/api` | whoever sends operators to it | it reads what is committed, and can have something committed |
//! | `/health/ready` | whoever counts on it for terminals | that, and what terminals send reaches it by NATS |

use super::ApiState;
use super::shapes::{Live, Ready, WhyNot, WhyNotCode};
use crate::bus::BusHealth;
use crate::node::room::Room;
use crate::raft::leadership::Leadership;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use openraft::async_runtime::watch::WatchReceiver;
use std::sync::atomic::Ordering;

/// The process answers and raft runs. A node without a quorum lives: to restart it would not help.
#[utoipa::path(get, path = "/health/live", tag = "health", security(()),
    responses((status = 200, body = Live), (status = 503, body = Live)))]
pub(super) async fn live(State(state): State<ApiState>) -> (StatusCode, Json<Live>) {
    let stopped = state.deps.raft.metrics().borrow_watched().running_state.clone();
    match stopped {
        Ok(()) => (StatusCode::OK, Json(Live { live: true, why: None })),
        Err(error) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(Live { live: false, why: Some(error.to_string()) }))
        }
    }
}

/// It leads with a majority, or follows a leader that answers, not too far behind: what operators ask is answered, also while
/// no terminal can be heard.
#[utoipa::path(get, path = "/health/api", tag = "health", security(()),
    responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub(super) async fn api(State(state): State<ApiState>) -> (StatusCode, Json<Ready>) {
    answer(judge_api(&state))
}

/// As `/health/api`, and NATS carries messages and brings this node its share of them.
#[utoipa::path(get, path = "/health/ready", tag = "health", security(()),
    responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub(super) async fn ready(State(state): State<ApiState>) -> (StatusCode, Json<Ready>) {
    answer(judge(&state))
}

fn answer(ready: Ready) -> (StatusCode, Json<Ready>) {
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ready))
}

/// Whether it counts as ingress.
pub(super) fn judge(state: &ApiState) -> Ready {
    let mut judged = judge_api(state);
    judged.why_not.extend(bus_in_the_way(&state.deps.bus.borrow()));
    // A node that cannot commit leaves the group: then that is what is in the way.
    if judged.why_not.is_empty() && !*state.deps.joined.borrow() {
        judged.why_not.push(WhyNot {
            code: WhyNotCode::NotJoined,
            message: "it has not joined the NATS queue group".to_owned(),
            what_to_do: "wait a second; if it stays so, the node's log says why".to_owned(),
        });
    }
    Ready { ready: judged.why_not.is_empty(), ..judged }
}

fn bus_in_the_way(health: &BusHealth) -> Option<WhyNot> {
    let (message, what_to_do) = match health {
        BusHealth::Connected => return None,
        BusHealth::Disconnected => {
            ("NATS cannot be reached".to_owned(), "see that a NATS server of `nats.urls` runs")
        }
        BusHealth::Refused(why) => (
            why.clone(),
            "mend what it says: this node's login in `nats`, its user's rights, or the server's version",
        ),
        #[allow(unreachable_patterns, reason = "the bus may learn more states of health")]
        other => (format!("{other:?}"), "look at the NATS server"),
    };
    Some(WhyNot { code: WhyNotCode::NoBus, message, what_to_do: what_to_do.to_owned() })
}

fn judge_api(state: &ApiState) -> Ready {
    let deps = &state.deps;
    let metrics = deps.raft.metrics().borrow_watched().clone();
    let applied = deps.projector.read(|fold| fold.applied());
    let leadership = Leadership::of(&metrics);
    let lag_entries = known_committed(state, &metrics).saturating_sub(applied);
    let mut why_not = Vec::new();
    let mut say = |code, message: String, what_to_do: &str| {
        why_not.push(WhyNot { code, message, what_to_do: what_to_do.to_owned() });
    };
    if state.draining.load(Ordering::Relaxed) {
        say(WhyNotCode::Draining, "the node is about to stop".to_owned(), "ask another node");
    }
    if let Err(error) = &metrics.running_state {
        say(WhyNotCode::Stopped, error.to_string(), "read the node's log, and start it again");
    } else if !deps.room.borrow().is_enough() {
        let Room { free_bytes, reserve_bytes } = *deps.room.borrow();
        let message = format!("{free_bytes} bytes are left on the disk, less than {reserve_bytes}");
        say(WhyNotCode::NoRoom, message, "make room; it goes on by itself");
    } else {
        match leadership {
            Leadership::Nobody => {
                let message = "no node leads, as far as this one knows".to_owned();
                say(
                    WhyNotCode::NoLeader,
                    message,
                    "see that a majority of the members runs and reaches each other",
                );
            }
            Leadership::Here { .. } | Leadership::HereSoon | Leadership::Elsewhere(_)
                if !*deps.serving.borrow() =>
            {
                let message = match metrics.current_leader {
                    Some(leader) if leader == deps.config.node => {
                        "it leads, but no majority answers, or its clock is off those of the others"
                            .to_owned()
                    }
                    leader => format!("the leader (node {}) does not answer", leader.unwrap_or_default()),
                };
                say(WhyNotCode::NoQuorum, message, "see that the members reach each other, and their clocks");
            }
            Leadership::Here { .. } | Leadership::HereSoon | Leadership::Elsewhere(_) => {}
        }
    }
    let bound = deps.config.api.limits.ready_lag_entries;
    if lag_entries > bound {
        let message = format!("{lag_entries} entries behind, more than {bound}");
        say(WhyNotCode::Lagging, message, "wait: it catches up by itself");
    }
    Ready { ready: why_not.is_empty(), why_not, leader: metrics.current_leader, applied, lag_entries }
}

/// The highest index that this node knows to be committed: by its leader's word, or by what another applied.
fn known_committed(state: &ApiState, metrics: &openraft::RaftMetrics<crate::raft::types::TypeConfig>) -> u64 {
    let told = metrics.cluster_committed.map_or(0, |log_id| log_id.index);
    let reports = state.deps.reports.borrow();
    let peers = reports.values().filter_map(|report| report.status.as_ref()).map(|status| status.applied);
    peers.max().unwrap_or(0).max(told)
}
