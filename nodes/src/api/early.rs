//! What a node says of its health before its log is open, which a repair can make a long time: it lives, and is not ready.
//! Whoever starts and stops nodes would else take it for dead, and end its repair again and again.

use super::ApiError;
use super::refusal::Refused;
use super::serve::{self, Door};
use super::shapes::{Live, Ready, RefusalCode, WhyNot, WhyNotCode};
use crate::config::ApiConfig;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use axum_server::Handle;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinHandle;

/// An answer that is under way is finished.
const END_WITHIN: Duration = Duration::from_millis(200);

/// Answers about health alone, until [`EarlyHealth::stop`].
pub struct EarlyHealth {
    handle: Handle<SocketAddr>,
    task: JoinHandle<()>,
}

impl EarlyHealth {
    /// Serves on a socket that the API takes over later.
    pub fn start(listener: std::net::TcpListener, config: &ApiConfig) -> Result<Self, ApiError> {
        let door = Door::new(serve::tls(config)?, config.limits.connections);
        let handle = Handle::new();
        let server = axum_server::from_tcp(listener)?
            .acceptor(door)
            .handle(handle.clone())
            .first_request_timeout(serve::HEAD_WITHIN);
        let task = tokio::spawn(async move {
            if let Err(error) = server.serve(router().into_make_service()).await {
                tracing::error!(%error, "nobody is told about this node's health");
            }
        });
        Ok(EarlyHealth { handle, task })
    }

    pub async fn stop(self) {
        self.handle.graceful_shutdown(Some(END_WITHIN));
        let _ = self.task.await;
    }
}

const OPENING: &str = "the log is being opened, or repaired from the other members";

fn router() -> Router {
    let live = async || Json(Live { live: true, why: Some(OPENING.to_owned()) });
    let ready = async || (StatusCode::SERVICE_UNAVAILABLE, Json(not_ready()));
    let rest = async || Refused::new(RefusalCode::Unavailable, OPENING, "ask another node, or again later");
    Router::new()
        .route("/health/live", get(live))
        .route("/health/api", get(ready))
        .route("/health/ready", get(ready))
        .fallback(rest)
}

fn not_ready() -> Ready {
    let why_not = WhyNot {
        code: WhyNotCode::Starting,
        message: OPENING.to_owned(),
        what_to_do: "wait; the node's log tells how far it is".to_owned(),
    };
    Ready { ready: false, why_not: vec![why_not], leader: None, applied: 0, lag_entries: 0 }
}
