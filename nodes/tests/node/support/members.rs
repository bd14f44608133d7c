//! A cluster of cores on temporary disks, wired in memory.

use super::hands::OffsetClock;
use super::wire::{Line, Switchboard};
use super::{CLUSTER, in_time, keyring};
use events::ids::{LogIndex, LotId, NodeId};
use events::keyring::Keyring;
use events::vocabulary::shared::Wrapped;
use events::vocabulary::{Event, LotCreated};
use nodes::config::{
    AccessRole, ApiConfig, ApiLimits, ApiToken, Limits, LogFormat, MemberConfig, NatsConfig, NatsLogin,
    NodeConfig, PeersConfig, RaftTimers, TelemetryConfig, TokenDigest, WebhookConfig,
};
use nodes::entropy::OsEntropy;
use nodes::node::NodeError;
use nodes::node::core::{Core, CoreDeps};
use nodes::peers::PeerTransport;
use nodes::raft::leadership::Leadership;
use nodes::storage::birth::Birth;
use nodes::storage::disk::{Disk, OsDisk};
use nodes::storage::error::StorageError;
use nodes::telemetry::measures::Measures;
use projector::StateDigest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

pub struct Members {
    pub dir: TempDir,
    pub board: Arc<Switchboard>,
    pub clocks: BTreeMap<NodeId, Arc<OffsetClock>>,
    keyring: Arc<Keyring>,
    count: NodeId,
    timers: RaftTimers,
    disks: BTreeMap<NodeId, Arc<dyn Disk>>,
    measures: BTreeMap<NodeId, Arc<Measures>>,
    webhooks: Vec<WebhookConfig>,
    running: BTreeMap<NodeId, Core>,
}

pub fn timers() -> RaftTimers {
    RaftTimers {
        heartbeat_ms: 40,
        election_ms_min: 200,
        election_ms_max: 400,
        proposal_ms_max: 10_000,
        snapshot_entries: 1_000_000,
        keep_entries: 0,
    }
}

impl Members {
    /// Members 1 to `count`, all running, with a log that begins with the cluster's name.
    pub async fn start(count: NodeId) -> Self {
        Members::start_with(count, timers()).await
    }

    pub async fn start_with(count: NodeId, timers: RaftTimers) -> Self {
        Members::begin(timers, on_one_disk(count, OsDisk), vec![]).await
    }

    pub async fn on_disk(count: NodeId, disk: impl Disk) -> Self {
        Members::begin(timers(), on_one_disk(count, disk), vec![]).await
    }

    /// Members that tell others what changed.
    pub async fn telling(count: NodeId, webhooks: Vec<WebhookConfig>) -> Self {
        Members::begin(timers(), on_one_disk(count, OsDisk), webhooks).await
    }

    /// Whoever is opened from now on tells these.
    pub fn tell(&mut self, webhooks: Vec<WebhookConfig>) {
        self.webhooks = webhooks;
    }

    /// Members, each on a disk of its own.
    pub async fn start_on(timers: RaftTimers, disks: BTreeMap<NodeId, Arc<dyn Disk>>) -> Self {
        Members::begin(timers, disks, vec![]).await
    }

    async fn begin(
        timers: RaftTimers,
        disks: BTreeMap<NodeId, Arc<dyn Disk>>,
        webhooks: Vec<WebhookConfig>,
    ) -> Self {
        let count = disks.len() as NodeId;
        let mut members = Members {
            dir: TempDir::new().unwrap(),
            board: Arc::default(),
            clocks: (1..=count).map(|node| (node, Arc::default())).collect(),
            keyring: Arc::new(keyring()),
            count,
            timers,
            disks,
            measures: (1..=count).map(|node| (node, Arc::default())).collect(),
            webhooks,
            running: BTreeMap::new(),
        };
        for node in 1..=count {
            give_birth_on(&*members.disks[&node], &members.data(node), node);
            members.open(node).await;
        }
        members.all_named().await;
        members
    }

    /// Waits until every member applied the event that names the cluster; nothing else counts before it.
    async fn all_named(&self) {
        for (_, core) in self.all() {
            let mut applied = core.projector().applied();
            in_time("the cluster's name", async {
                while core.projector().read(|fold| fold.cluster().is_none()) {
                    applied.changed().await.unwrap();
                }
            })
            .await;
        }
    }

    /// Opens a member's disk and plugs it in.
    pub async fn open(&mut self, node: NodeId) {
        in_time("the disk that its last life held", async {
            loop {
                match self.try_open(node).await {
                    // An abandoned life lets go of its folder when the last of its tasks ends.
                    Err(NodeError::Storage(StorageError::InUse { .. })) => tokio::task::yield_now().await,
                    opened => return opened.unwrap(),
                }
            }
        })
        .await;
    }

    /// As [`Members::open`], for a disk that may be refused.
    pub async fn try_open(&mut self, node: NodeId) -> Result<(), NodeError> {
        let core = Core::open(self.core_deps(node)).await?;
        self.board.plug_in(node, core.receiver());
        core.run();
        self.running.insert(node, core);
        Ok(())
    }

    /// What a member's core is made of.
    pub fn core_deps(&self, node: NodeId) -> CoreDeps {
        let config = NodeConfig {
            webhooks: self.webhooks.clone(),
            ..config(self.dir.path(), node, self.count, self.timers.clone())
        };
        CoreDeps {
            config: Arc::new(config),
            keyring: self.keyring.clone(),
            clock: self.clocks[&node].clone(),
            entropy: Arc::new(OsEntropy),
            disk: self.disks[&node].clone(),
            transport: self.transport(node),
            measures: self.measures[&node].clone(),
        }
    }

    /// What a member counts, over all its lives.
    pub fn measures(&self, node: NodeId) -> &Measures {
        &self.measures[&node]
    }

    /// Where a member keeps everything.
    pub fn data(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(format!("data-{node}"))
    }

    /// Ends a member without a word to the others.
    pub async fn kill(&mut self, node: NodeId) {
        self.board.unplug(node);
        self.running.remove(&node).unwrap().close().await.unwrap();
    }

    /// Forgets a member that failed, as the end of its process would.
    pub fn abandon(&mut self, node: NodeId) {
        self.board.unplug(node);
        self.running.remove(&node);
    }

    /// From its next life on a member has this disk.
    pub fn give_disk(&mut self, node: NodeId, disk: Arc<dyn Disk>) {
        self.disks.insert(node, disk);
    }

    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// What members get that are opened from now on.
    pub fn give_keyring(&mut self, keyring: Keyring) {
        self.keyring = Arc::new(keyring);
    }

    /// A member's end of the wire.
    pub fn transport(&self, node: NodeId) -> Arc<dyn PeerTransport> {
        Arc::new(Line { own: node, board: self.board.clone() })
    }

    pub fn core(&self, node: NodeId) -> &Core {
        &self.running[&node]
    }

    pub fn all(&self) -> impl Iterator<Item = (NodeId, &Core)> {
        self.running.iter().map(|(node, core)| (*node, core))
    }

    /// Waits until one of the running members leads and the others know it.
    pub async fn leader(&self) -> NodeId {
        in_time("a leader", async {
            let mut leaders = Vec::new();
            for (node, core) in self.all() {
                let wait = core.raft().wait(None);
                let metrics = wait
                    .metrics(
                        |metrics| match Leadership::of(metrics) {
                            Leadership::Here { .. } => true,
                            Leadership::Elsewhere(leader) => self.running.contains_key(&leader.node),
                            Leadership::HereSoon | Leadership::Nobody => false,
                        },
                        "a leader that is here",
                    )
                    .await;
                leaders.push((node, metrics.unwrap().current_leader.unwrap()));
            }
            leaders[0].1
        })
        .await
    }

    pub async fn a_follower(&self) -> NodeId {
        let leader = self.leader().await;
        self.all().map(|(node, _)| node).find(|node| *node != leader).unwrap()
    }

    /// Waits until every running member applied `index`.
    pub async fn all_applied(&self, index: LogIndex) {
        for (node, core) in self.all() {
            let mut applied = core.projector().applied();
            in_time(&format!("index {index} at node {node}"), async {
                applied.wait_for(|applied| *applied >= index).await.map(drop)
            })
            .await
            .unwrap();
        }
    }

    /// The digests of all running members at one fixed index.
    pub fn digests_at(&self, index: LogIndex) -> Vec<Option<StateDigest>> {
        let at =
            |core: &Core| core.projector().digests().iter().find(|at| at.index == index).map(|at| at.digest);
        self.all().map(|(_, core)| at(core)).collect()
    }
}

fn on_one_disk(count: NodeId, disk: impl Disk) -> BTreeMap<NodeId, Arc<dyn Disk>> {
    let disk: Arc<dyn Disk> = Arc::new(disk);
    (1..=count).map(|node| (node, disk.clone())).collect()
}

/// Lays a node's birth into its data directory, as `muster cluster init` does.
pub fn give_birth(data: &Path, node: NodeId) {
    give_birth_on(&OsDisk, data, node);
}

fn give_birth_on(disk: &dyn Disk, data: &Path, node: NodeId) {
    Birth::fresh(CLUSTER, node, 1, &OsEntropy).lay_down(disk, data).unwrap();
}

pub fn lot(number: u32) -> LotId {
    LotId::from_bytes(number.to_be_bytes())
}

/// A lot with this number came to be.
pub fn lot_created(number: u32) -> Event {
    LotCreated {
        lot: lot(number),
        sku: format!("box {number}"),
        required: vec![],
        optional: vec![],
        threshold: 0,
        tamper_key: Wrapped { key: 1, salt: [0; 16], sealed: vec![0; 48] },
    }
    .into()
}

/// The configuration of a member whose wire is not a socket.
pub fn config(dir: &Path, node: NodeId, count: NodeId, raft: RaftTimers) -> NodeConfig {
    let member = |id: NodeId| MemberConfig {
        id,
        name: format!("node-{id}"),
        region: "home".parse().unwrap(),
        address: format!("node-{id}:1"),
    };
    let nowhere = dir.join("nowhere");
    NodeConfig {
        cluster: CLUSTER,
        node,
        name: format!("node-{node}"),
        region: "home".parse().unwrap(),
        data_directory: dir.join(format!("data-{node}")),
        keyring: nowhere.clone(),
        factory_keys: vec![],
        update_keys: vec![],
        peers: PeersConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            authority: nowhere.clone(),
            certificate: nowhere.clone(),
            key: nowhere.clone(),
        },
        members: (1..=count).map(member).collect(),
        nats: NatsConfig { urls: vec![], login: NatsLogin::Anonymous, ca_file: None },
        api: ApiConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            certificate: nowhere.clone(),
            key: nowhere,
            tokens: vec![ApiToken {
                name: "admin".to_owned(),
                role: AccessRole::Admin,
                digest: TokenDigest::of("0123456789abcdef0123456789abcdef"),
            }],
            client_authority: None,
            clients: vec![],
            limits: ApiLimits::default(),
        },
        webhooks: vec![],
        raft,
        limits: Limits {
            heartbeat_ms: 1_000,
            queue_messages: 64,
            parked_per_source: 4,
            activations_parallel: 1,
            disk_reserve_bytes: 1_000_000,
            checkpoint_ms: 0,
        },
        retention: None,
        telemetry: TelemetryConfig {
            otlp_endpoint: None,
            ca_file: None,
            trace_ratio: 1.0,
            format: LogFormat::Human,
            filter: "info".to_owned(),
        },
    }
}
