//! Operators' HTTPS on every node: reads come from this node's fold, writes go through the same door as everything
//! else, to whoever leads. Every request needs the operators' token.
//!
//! ```text
//!   TLS ─▶ token ─▶ path, query, body (extract) ─┬─▶ reads, status          this node's fold
//!                                                └─▶ factory, codes, people  Proposer ─▶ outcome ─▶ answer
//! ```

mod cluster;
mod codes;
mod extract;
mod factory;
mod import;
mod people;
mod reads;
mod refusal;
pub mod shapes;
mod status;

use crate::config::{NodeConfig, Secret};
use crate::entropy::Entropy;
use crate::leader::automation::AutomationSwitch;
use crate::leader::clock_guard::ClockGuard;
use crate::peers::tls::{TlsError, certificates, private_key, provider};
use crate::peers::watch::PeerReports;
use crate::peers::{PeerCounters, PeerTransport};
use crate::proposer::Proposer;
use crate::raft::MusterRaft;
use crate::shared_projector::SharedProjector;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use events::keyring::Keyring;
use refusal::Refused;
use rustls::ServerConfig;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A body, in bytes, where nothing else is said.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// A manifest's or an issue of codes' body, in bytes.
const LARGE_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Requests under way get so long when the node stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// What the API stands on.
pub struct ApiDeps {
    pub config: Arc<NodeConfig>,
    pub raft: MusterRaft,
    pub projector: SharedProjector,
    pub proposer: Proposer,
    pub keyring: Arc<Keyring>,
    pub entropy: Arc<dyn Entropy>,
    pub transport: Arc<dyn PeerTransport>,
    pub reports: watch::Receiver<Arc<PeerReports>>,
    pub automation: AutomationSwitch,
    pub clock_guard: Arc<ClockGuard>,
    pub peer_counters: Arc<PeerCounters>,
    /// Counters of other parts, by name.
    pub more_counters: Arc<dyn Fn() -> BTreeMap<String, u64> + Send + Sync>,
}

#[derive(Clone)]
struct ApiState(Arc<StateInner>);

struct StateInner {
    deps: ApiDeps,
    token: Secret,
    counters: ApiCounters,
}

#[derive(Default)]
struct ApiCounters {
    requests: AtomicU64,
    unauthorized: AtomicU64,
}

impl std::ops::Deref for ApiState {
    type Target = StateInner;

    fn deref(&self) -> &StateInner {
        &self.0
    }
}

impl ApiCounters {
    fn read(&self) -> [(&'static str, u64); 2] {
        [
            ("api_requests", self.requests.load(Ordering::Relaxed)),
            ("api_unauthorized", self.unauthorized.load(Ordering::Relaxed)),
        ]
    }
}

/// The API of one node, serving until [`ApiServer::stop`].
pub struct ApiServer {
    handle: Handle<SocketAddr>,
    task: JoinHandle<()>,
}

impl ApiServer {
    /// Serves on a socket that is bound already.
    pub fn start(listener: std::net::TcpListener, deps: ApiDeps) -> Result<Self, ApiError> {
        let tls = tls(&deps.config.api.certificate, &deps.config.api.key)?;
        let app = router(deps);
        let handle = Handle::new();
        let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(tls))?
            .handle(handle.clone())
            .serve(app.into_make_service());
        let task = tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the operators' API stopped");
            }
        });
        Ok(ApiServer { handle, task })
    }

    /// Takes nothing new and waits for what is under way.
    pub async fn stop(self) {
        self.handle.graceful_shutdown(Some(DRAIN_WITHIN));
        let _ = self.task.await;
    }
}

/// Why the API does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

fn tls(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, ApiError> {
    let unfit = |e: rustls::Error| TlsError::Unfit { file: certificate.to_owned(), why: e.to_string() };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(certificates(certificate)?, private_key(key)?)
        .map_err(unfit)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn router(deps: ApiDeps) -> Router {
    let token = deps.config.api.token.clone();
    let state = ApiState(Arc::new(StateInner { deps, token, counters: ApiCounters::default() }));
    let large = Router::new()
        .route("/v1/manifests", post(import::manifest))
        .route("/v1/codes", get(reads::codes).post(codes::issue))
        .layer(DefaultBodyLimit::max(LARGE_BODY_BYTES_MAX));
    Router::new()
        .route("/v1/status", get(status::status))
        .route("/v1/devices", get(reads::devices))
        .route("/v1/devices/{id}", get(reads::device))
        .route("/v1/devices/{id}/story", get(reads::story))
        .route("/v1/devices/{id}/operations", post(people::order))
        .route("/v1/flags", get(reads::flags))
        .route("/v1/flags/{id}/clear", post(people::clear_flag))
        .route("/v1/licenses", get(reads::licenses))
        .route("/v1/sources", get(reads::sources))
        .route("/v1/lots", get(reads::lots).post(factory::create_lot))
        .route("/v1/stations", post(factory::certify_station))
        .route("/v1/stations/{id}/revoke", post(factory::revoke_station))
        .route("/v1/codes/void", post(codes::void))
        .route("/v1/leader/transfer", post(cluster::transfer_leader))
        .route("/v1/snapshot", post(cluster::snapshot))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .merge(large)
        .fallback(|| async { Refused::not_found("this path") })
        .layer(from_fn_with_state(state.clone(), extract::require_token))
        .with_state(state)
}
