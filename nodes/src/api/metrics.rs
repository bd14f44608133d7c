//! `GET /metrics`: see [`crate::telemetry::metrics`].

use super::ApiState;
use super::refusal::Refused;
use super::shapes::{Refusal, RefusalCode};
use crate::telemetry::metrics::{Readings, text};
use crate::webhooks::receivers_digest;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use openraft::async_runtime::watch::WatchReceiver;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is counted and measured, as OpenMetrics text. No label names a device, a license or a source.
#[utoipa::path(get, path = "/metrics", tag = "cluster",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"),
        (status = "default", body = Refusal)))]
pub(super) async fn metrics(State(state): State<ApiState>) -> Result<Response, Refused> {
    let deps = &state.deps;
    let mut counters = (deps.more_counters)();
    counters.extend(state.counters.read().map(|(name, count)| (name.to_owned(), count)));
    counters.extend(deps.peer_counters.read().into_iter().map(|(name, count)| (name.to_owned(), count)));
    let readings = Readings {
        counters,
        raft: deps.raft.metrics().borrow_watched().clone(),
        applied: deps.projector.read(|fold| fold.applied()),
        counts: deps.projector.read(|fold| fold.counts()),
        ready: super::health::judge(&state).ready,
        bus: deps.bus.borrow().clone(),
        joined: *deps.joined.borrow(),
        automation: deps.automation.now(),
        breaker: deps.projector.read(|fold| fold.breaker()),
        data_directory: deps.config.data_directory.clone(),
        requests_under_way: state.places.requests.taken(),
        watchers: state.places.watchers.taken(),
        missing_history: *deps.missing_history.borrow(),
        unproven_history: *deps.unproven_history.borrow(),
        webhooks: (deps.webhooks)(),
        webhook_receivers: receivers_digest(&deps.config.webhooks),
        checkpoint_entries: deps
            .projector
            .read(|fold| fold.checkpoints().next_back().map_or(0, |last| last.size)),
        ingress: (deps.ingress_levels)(),
        measures: deps.measures.clone(),
    };
    // Sizes of files and the space that is left are asked of the disk.
    let text = tokio::task::spawn_blocking(move || text(readings)).await;
    let text = text.ok().and_then(Result::ok).ok_or_else(|| {
        Refused::new(RefusalCode::Unavailable, "the metrics cannot be written", "try again")
    })?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text).into_response())
}
