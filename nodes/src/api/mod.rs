//! Operators' HTTPS on every node: reads come from this node's fold, writes go through the same door as everything
//! else, to whoever leads.
//!
//! ```text
//!   TLS (serve) ─▶ who (access) ─▶ number, time (limits) ─▶ right ─▶ path, query, body (extract)
//!                                                                      ├─▶ reads, status, live     this node's fold
//!                                                                      └─▶ licenses, people, factory, codes
//!                                                                            write: Proposer ─▶ outcome ─▶ answer
//! ```
//!
//! The OpenAPI document is made of the same table as the router ([`routes`]), so that neither can lack what the other
//! has. Health needs nobody's name; everything else does.

mod access;
mod cluster;
mod codes;
mod cursor;
mod early;
mod evidence;
mod extract;
mod factory;
mod hall;
mod health;
mod import;
mod licenses;
mod limits;
mod live;
mod metrics;
pub mod openapi;
mod people;
mod reads;
mod refusal;
mod routes;
mod serve;
pub mod shapes;
mod shares;
mod status;
mod updates;
mod write;

pub use early::EarlyHealth;

use crate::bus::BusHealth;
use crate::config::{ApiConfig, NodeConfig};
use crate::entropy::Entropy;
use crate::ingress::IngressLevels;
use crate::leader::automation::AutomationSwitch;
use crate::leader::clock_guard::ClockGuard;
use crate::leader::notary::Notary;
use crate::node::room::Room;
use crate::peers::tls::TlsError;
use crate::peers::watch::PeerReports;
use crate::peers::{PeerCounters, PeerTransport};
use crate::proposer::Proposer;
use crate::raft::MusterRaft;
use crate::shared_projector::SharedProjector;
use crate::storage::archive::Archive;
use crate::telemetry::measures::Measures;
use crate::webhooks::WebhookReadings;
use axum_server::Handle;
use events::ids::LogIndex;
use events::keyring::Keyring;
use hyper_util::rt::TokioTimer;
use limits::Places;
use openraft::async_runtime::watch::WatchReceiver;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Requests under way get so long when the node stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);
/// An answer waits so long for this node to apply what it tells of; then it tells what it knows.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(2);
/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 32;

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
    /// Whether what this node takes in can be committed now.
    pub serving: watch::Receiver<bool>,
    pub room: watch::Receiver<Room>,
    pub bus: watch::Receiver<BusHealth>,
    /// Whether this node is in the NATS queue group.
    pub joined: watch::Receiver<bool>,
    pub measures: Arc<Measures>,
    /// Counters of other parts, by name.
    pub more_counters: Arc<dyn Fn() -> BTreeMap<String, u64> + Send + Sync>,
    /// Entries that this node's log lacks of history.
    pub missing_history: watch::Receiver<u64>,
    /// Of such history, entries that no signed checkpoint vouched for yet.
    pub unproven_history: watch::Receiver<u64>,
    /// How deliveries to webhooks go.
    pub webhooks: WebhookReadings,
    /// Who signs the head of the log.
    pub notary: Arc<Notary>,
    /// The history on this node's disk, for proofs.
    pub history: Arc<Archive>,
    /// How full ingress is.
    pub ingress_levels: Arc<dyn Fn() -> IngressLevels + Send + Sync>,
}

#[derive(Clone)]
struct ApiState(Arc<StateInner>);

struct StateInner {
    deps: ApiDeps,
    counters: ApiCounters,
    places: Places,
    /// The node is about to stop: whoever sends it work should send it elsewhere.
    draining: Arc<AtomicBool>,
    /// The node stops: what has no end of its own ends.
    stopping: CancellationToken,
}

#[derive(Default)]
struct ApiCounters {
    requests: AtomicU64,
    unauthorized: AtomicU64,
    forbidden: AtomicU64,
    busy: AtomicU64,
    share_taken: AtomicU64,
    timed_out: AtomicU64,
}

impl std::ops::Deref for ApiState {
    type Target = StateInner;

    fn deref(&self) -> &StateInner {
        &self.0
    }
}

impl ApiState {
    /// Waits a little until this node applied `index`, so that an answer tells of what was just done.
    async fn caught_up(&self, index: LogIndex) {
        let mut applied = self.deps.projector.applied();
        let reached = applied.wait_for(|applied| *applied >= index);
        let _ = tokio::time::timeout(CATCH_UP_WITHIN, reached).await;
    }
}

impl ApiCounters {
    fn read(&self) -> [(&'static str, u64); 6] {
        [
            ("api_requests", self.requests.load(Ordering::Relaxed)),
            ("api_unauthorized", self.unauthorized.load(Ordering::Relaxed)),
            ("api_forbidden", self.forbidden.load(Ordering::Relaxed)),
            ("api_busy", self.busy.load(Ordering::Relaxed)),
            ("api_share_taken", self.share_taken.load(Ordering::Relaxed)),
            ("api_timed_out", self.timed_out.load(Ordering::Relaxed)),
        ]
    }
}

/// Whether the files of the API's TLS are what they should be.
pub fn check_tls(config: &ApiConfig) -> Result<(), ApiError> {
    serve::tls(config).map(drop)
}

/// The API of one node, serving until [`ApiServer::stop`].
pub struct ApiServer {
    handle: Handle<SocketAddr>,
    task: JoinHandle<()>,
    leadership: JoinHandle<()>,
    draining: Arc<AtomicBool>,
    stopping: CancellationToken,
}

impl ApiServer {
    /// Serves on a socket that is bound already.
    pub fn start(listener: std::net::TcpListener, deps: ApiDeps) -> Result<Self, ApiError> {
        let limits = &deps.config.api.limits;
        let door = serve::Door::new(serve::tls(&deps.config.api)?, limits.connections);
        let places = Places::new(limits);
        let leadership =
            tokio::spawn(tell_leadership(deps.raft.clone(), deps.projector.clone(), deps.measures.clone()));
        let stopping = CancellationToken::new();
        let (counters, draining) = (ApiCounters::default(), Arc::<AtomicBool>::default());
        let inner =
            StateInner { deps, counters, places, draining: draining.clone(), stopping: stopping.clone() };
        let state = ApiState(Arc::new(inner));
        let app = routes::router(state);
        let handle = Handle::new();
        let mut server = axum_server::from_tcp(listener)?
            .acceptor(door)
            .handle(handle.clone())
            .first_request_timeout(serve::HEAD_WITHIN);
        let http = server.http_builder();
        http.http1().timer(TokioTimer::new()).header_read_timeout(serve::HEAD_WITHIN);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(serve::HEAD_WITHIN)
            .keep_alive_timeout(serve::HEAD_WITHIN);
        let task = tokio::spawn(async move {
            if let Err(error) = server.serve(app.into_make_service()).await {
                tracing::error!(%error, "the operators' API stopped");
            }
        });
        Ok(ApiServer { handle, task, leadership, draining, stopping })
    }

    /// From here on the node says that it is not ready; everything else goes on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Takes nothing new and waits for what is under way.
    pub async fn stop(self) {
        self.leadership.abort();
        self.stopping.cancel();
        self.handle.graceful_shutdown(Some(DRAIN_WITHIN));
        let _ = self.task.await;
    }
}

/// Tells watchers who leads, and counts how often that changed.
async fn tell_leadership(raft: MusterRaft, projector: SharedProjector, measures: Arc<Measures>) {
    let mut server = raft.server_metrics();
    let mut last = (None, 0);
    loop {
        let now = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.current_leader, metrics.current_term)
        };
        if now.1 != last.1 {
            measures.elections.inc_by(now.1.saturating_sub(last.1));
        }
        if now != last {
            projector.feed().tell_leadership(now.0, now.1);
            last = now;
        }
        if server.changed().await.is_err() {
            return;
        }
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

/// A name under which the API's own certificate can be verified, for who asks a node on its own machine.
pub fn server_name(certificate: &std::path::Path) -> Result<String, TlsError> {
    let chain = crate::peers::tls::certificates(certificate)?;
    let unfit = |why: &str| TlsError::Unfit { file: certificate.to_owned(), why: why.to_owned() };
    let leaf = chain.first().ok_or_else(|| unfit("there is none"))?;
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|e| unfit(&e.to_string()))?;
    let name = leaf.valid_dns_names().next().map(ToOwned::to_owned);
    name.ok_or_else(|| unfit("it names no host"))
}
