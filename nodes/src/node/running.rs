//! A running node: its start and its end, each in the order that loses nothing.

use super::core::{Core, CoreDeps};
use super::counters::ingress_by_name;
use super::desk::Desk;
use super::repair::Repair;
use super::{NodeError, keyring};
use crate::api::{ApiDeps, ApiServer, EarlyHealth};
use crate::bus::{Bus, NatsBus, NatsOptions};
use crate::clock::{Clock, SystemClock};
use crate::config::NodeConfig;
use crate::entropy::{Entropy, OsEntropy};
use crate::ingress::{Ingress, IngressDeps, IngressHandle, IngressLimits};
use crate::peers::tls::PeerTls;
use crate::peers::{PeerCounters, PeerServer, PeerService, PeerTransport, TonicTransport};
use crate::storage::disk::{Disk, OsDisk};
use crate::telemetry::measures::{MeasuredDisk, Measures};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// The doors through which a node touches the world; simulation puts others in place.
#[derive(Clone)]
pub struct NodeDeps {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub disk: Arc<dyn Disk>,
    pub bus: Arc<dyn Bus>,
}

impl NodeDeps {
    /// The operating system's, and the NATS servers that the configuration names.
    pub async fn system(config: &NodeConfig) -> Result<Self, NodeError> {
        let name = format!("muster node {} ({})", config.node, config.name);
        let bus = NatsBus::connect(&NatsOptions { config: config.nats.clone(), name }).await?;
        Ok(NodeDeps {
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(OsEntropy),
            disk: Arc::new(OsDisk),
            bus: Arc::new(bus),
        })
    }
}

/// A running node.
pub struct Node {
    core: Core,
    peers: PeerServer,
    ingress: IngressHandle,
    api: ApiServer,
    api_address: SocketAddr,
    hand_over_within: Duration,
}

impl Node {
    /// Starts a node; everything it needs is checked before anything is served.
    pub async fn start(config: NodeConfig, deps: NodeDeps) -> Result<Self, NodeError> {
        let config = Arc::new(config);
        let keyring = Arc::new(keyring::load(&config)?);
        let tls = PeerTls::load(&config.peers)?;
        let peers_listener = listen("peers", config.peers.listen).await?;
        let api_listener = listen("operators", config.api.listen).await?.into_std().map_err(NodeError::io)?;
        let api_address = api_listener.local_addr().map_err(NodeError::io)?;
        let early = EarlyHealth::start(api_listener.try_clone().map_err(NodeError::io)?, &config.api)?;

        let connect_within = Duration::from_millis(config.raft.election_ms_max);
        let transport: Arc<dyn PeerTransport> =
            Arc::new(TonicTransport::new(config.cluster, config.node, tls.client, connect_within));
        let measures = Arc::new(Measures::default());
        let bus_health = deps.bus.health();
        let core_deps = CoreDeps {
            config: config.clone(),
            keyring: keyring.clone(),
            clock: deps.clock.clone(),
            entropy: deps.entropy.clone(),
            disk: Arc::new(MeasuredDisk { disk: deps.disk.clone(), measures: measures.clone() }),
            measures: measures.clone(),
            transport,
        };
        let peer_counters = Arc::new(PeerCounters::default());
        let serve_peers = |service| {
            PeerServer::start(
                peers_listener,
                tls.server,
                (config.cluster, config.node),
                config.members.iter().map(|member| member.id).collect(),
                peer_counters.clone(),
                service,
            )
        };
        let (core, peers) = match Core::open(core_deps.clone()).await {
            Ok(core) => {
                let peers = serve_peers(core.receiver());
                (core, peers)
            }
            Err(failed) => open_repaired(failed, core_deps, serve_peers).await?,
        };
        core.run();

        let ingress = Ingress::start(IngressDeps {
            bus: deps.bus,
            projector: core.projector().clone(),
            log: Arc::new(core.proposer().clone()),
            keyring: keyring.clone(),
            clock: deps.clock,
            entropy: deps.entropy.clone(),
            node: config.node,
            limits: IngressLimits::from(&config.limits),
            serving: core.serving(),
        });
        let (counters, levels) = (ingress.counters_reader(), ingress.levels_reader());
        early.stop().await;
        let api = ApiServer::start(
            api_listener,
            ApiDeps {
                config: config.clone(),
                raft: core.raft().clone(),
                projector: core.projector().clone(),
                proposer: core.proposer().clone(),
                keyring,
                entropy: deps.entropy,
                transport: core.transport(),
                reports: core.reports(),
                automation: core.automation().clone(),
                clock_guard: core.clock_guard().clone(),
                peer_counters,
                serving: core.serving(),
                room: core.room(),
                bus: bus_health,
                joined: ingress.joined(),
                measures,
                more_counters: Arc::new(move || ingress_by_name(&counters())),
                missing_history: core.gaps().missing(),
                unproven_history: core.gaps().unproven(),
                webhooks: core.webhook_readings().clone(),
                notary: core.notary().clone(),
                history: core.history().clone(),
                ingress_levels: Arc::new(levels),
            },
        )?;
        let hand_over_within = Duration::from_millis(2 * config.raft.election_ms_max);
        tracing::info!(node = config.node, cluster = %config.cluster, %api_address, "the node runs");
        Ok(Node { core, peers, ingress, api, api_address, hand_over_within })
    }

    /// Where the operators' API listens.
    #[must_use]
    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// The part of the node that needs no sockets.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Resolves once the node cannot go on.
    pub async fn failed(&self) -> NodeError {
        self.core.failed().await
    }

    /// Answers what was taken in, hands the leadership over, and closes the disk.
    pub async fn stop(self) -> Result<(), NodeError> {
        self.api.drain();
        self.ingress.drain().await;
        self.core.step_down(self.hand_over_within).await;
        self.api.stop().await;
        let closed = self.core.close().await;
        self.peers.stop().await;
        closed
    }
}

/// Repairs the log if that is what keeps the core from opening, and opens it; the peers' wire serves what is intact
/// meanwhile, and the core afterwards.
async fn open_repaired(
    failed: NodeError,
    deps: CoreDeps,
    serve_peers: impl FnOnce(Arc<dyn PeerService>) -> PeerServer,
) -> Result<(Core, PeerServer), NodeError> {
    let Some(repair) = Repair::after(failed, &deps).await? else {
        // An earlier process had done all but the last step.
        let core = Core::open(deps).await?;
        let peers = serve_peers(core.receiver());
        return Ok((core, peers));
    };
    let desk = Arc::new(Desk::new(repair.service()?));
    let peers = serve_peers(desk.clone());
    repair.run().await?;
    let core = Core::open(deps).await?;
    desk.hand_over(core.receiver());
    Ok((core, peers))
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address).await.map_err(|e| NodeError::Listen { what, address, why: e.to_string() })
}
