//! A whole muster in containers. Everything lies in one folder that is mounted at the same path everywhere, so that
//! configuration files mean the same inside and outside, and logs can be read from here.

use super::docker::{self, Network};
use events::ids::{DeviceId, LogIndex, NodeId, RegionName};
use events::vocabulary::shared::OperationKind;
use nodes::api::shapes::{OrderOperation, Ordered, Role, Status};
use nodes::entropy::OsEntropy;
use ops::api::Api;
use ops::cluster::{ClusterFiles, ClusterPlan, NatsAccess, NodePlan, init};
use ops::context::Context;
use ops::dev::agents::{AgentHome, AgentPlan, Said, acknowledged, read_said};
use ops::dev::crowd::{Crowd, CrowdPlan};
use ops::dev::factory::{Burned, burn_lot};
use ops::dev::tap::HeartbeatName;
use ops::dev::{evidence, sources, stage};
use ops::nats::{Permissions, config_text};
use provisioning::ceremony::load_cluster_public;
use provisioning::lot::load_firmware;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testcontainers::core::{Mount, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

const NODES: u8 = 3;
const AGENTS: usize = 2;
const HEARTBEAT_MILLIS: u32 = 1_000;
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);
/// The first node's host number in the peers' network.
const FIRST_NODE: u8 = 11;

/// What stands; containers and networks go when it is dropped.
pub struct World {
    // Dropped in this order: the crowd before its NATS, containers before their networks.
    pub crowd: Crowd,
    pub agents: Vec<Agent>,
    pub nodes: Vec<Node>,
    pub nats: Running,
    pub peers: Network,
    _terminals: Network,
    _bus: Network,
    files: ClusterFiles,
    pub api: Api,
    /// The entries of what an operator did and was told is done.
    orders: Mutex<BTreeSet<LogIndex>>,
    _dir: TempDir,
}

/// A container under the name by which `docker` knows it.
pub struct Running {
    pub name: String,
    _container: ContainerAsync<GenericImage>,
}

pub struct Node {
    pub id: NodeId,
    pub running: Running,
    data: PathBuf,
}

pub struct Agent {
    pub device: DeviceId,
    pub running: Running,
}

impl World {
    /// Stands with every terminal legitimate: [`AGENTS`] agents in containers, and the others in a crowd.
    pub async fn set_up(devices: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let run = format!("muster-{}-{}", std::process::id(), run_number());
        let [terminals, bus, peers] =
            ["terminals", "bus", "peers"].map(|what| Network::create(&format!("{run}-{what}")));
        let region: RegionName = "home".parse().unwrap();
        let nats_name = format!("{run}-nats");
        let nats_url = format!("nats://{nats_name}:4222");

        let nodes_user = sources::user(sources::NODES, Permissions::Nodes);
        let plan = ClusterPlan {
            nodes: (0..NODES).map(|n| node_plan(n, &peers, &region)).collect(),
            nats: NatsAccess {
                urls: vec![nats_url.clone()],
                login: Some((nodes_user.name.clone(), Zeroizing::new(nodes_user.password.clone()))),
                authority: None,
            },
            terminal_nats: vec![nats_url.clone()],
            heartbeat_millis: HEARTBEAT_MILLIS,
        };
        let files = init(&dir.path().join("cluster"), &plan, &OsEntropy, 2026).unwrap();
        let context = Context::load(Some(&files.context)).unwrap();
        let api = Api::of(&context).unwrap();
        let public = load_cluster_public(&files.public).unwrap();
        let burned = burn_in(dir.path(), public.clone(), devices).await;

        let mut users = vec![nodes_user, sources::crowd_user(sources::FLEET, sources::FLEET_TOKEN)];
        for (number, terminal) in (1..).zip(&burned.terminals[..AGENTS]) {
            users.push(sources::terminal_user(&sources::shop(number), terminal.device));
        }
        let config = dir.path().join("nats.conf");
        std::fs::write(&config, config_text("0.0.0.0:4222", region.as_str(), &users, None)).unwrap();
        let nats = GenericImage::new("muster-nats", &tag())
            .with_wait_for(WaitFor::message_on_stderr("Server is ready"))
            .with_cmd(["--config".to_owned(), config.display().to_string()]);
        let nats = Running::start(nats, &nats_name, &bus, dir.path()).await;
        terminals.connect(&nats.name, 2);

        let mut nodes = Vec::new();
        for (number, config) in (0..NODES).zip(&files.node_configs) {
            nodes.push(Node::start(&run, number, config, &bus, &peers, dir.path()).await);
        }
        wait_until_ready(&api).await;
        stage::import(&api, &burned).await.unwrap();
        let codes = stage::issue_codes(&api, dir.path(), devices).await.unwrap();

        let agent_plan = AgentPlan {
            binary: PathBuf::new(),
            region: region.clone(),
            nats_url,
            cluster_public: files.public.clone(),
            firmware: burned.firmware.clone(),
            traces: false,
        };
        let mut agents = Vec::new();
        for (number, code) in codes.iter().enumerate().take(AGENTS) {
            let home = AgentHome::set_up(&agent_plan, &burned.terminals[number], &users[2 + number]).unwrap();
            agents.push(Agent::start(&run, number, &home, code, &terminals, dir.path()).await);
        }
        let crowd = Crowd::start(CrowdPlan {
            nats_url: format!("nats://{}:4222", terminals.address(2)),
            user: &users[1],
            token: sources::FLEET_TOKEN,
            region: &region,
            cluster: &public,
            firmware: &load_firmware(&burned.firmware).unwrap(),
            terminals: &burned.terminals[AGENTS..],
            codes: &codes[AGENTS..],
        })
        .unwrap();
        let world = World {
            crowd,
            agents,
            nodes,
            nats,
            peers,
            _terminals: terminals,
            _bus: bus,
            files,
            api,
            orders: Mutex::default(),
            _dir: dir,
        };
        world.until("every terminal is legitimate", async || world.legitimate().await >= devices).await;
        world
    }

    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes.iter().find(|node| node.id == id).unwrap()
    }

    /// Takes the peers' network from a node, and so its voice; it still hears NATS.
    pub fn cut_off(&self, id: NodeId) {
        self.peers.disconnect(&self.node(id).running.name);
    }

    pub fn join_again(&self, id: NodeId) {
        self.peers.connect(&self.node(id).running.name, host_number(id));
    }

    pub async fn statuses(&self) -> Vec<Status> {
        statuses(&self.api).await
    }

    /// The node that leads; waits until there is one that a majority follows.
    pub async fn leader(&self) -> NodeId {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let statuses = self.statuses().await;
            let leads = statuses.iter().find(|status| status.role == Role::Leader).map(|status| status.node);
            let followers = statuses.iter().filter(|status| status.leader == leads).count();
            if let Some(leader) = leads.filter(|_| 2 * followers > usize::from(NODES)) {
                return leader;
            }
            assert!(Instant::now() < deadline, "no leader within {PATIENCE:?}: {statuses:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until terminals of the crowd have so many more acknowledgements than now.
    pub async fn beats(&self, more: u64) {
        let heard = || self.crowd.counters().heartbeats_acknowledged;
        let wanted = heard() + more;
        self.until("terminals are heard", async || heard() >= wanted).await;
    }

    /// An operator orders something; waits until it is acknowledged. Who asks again under the same key orders once.
    pub async fn order(&self) {
        let device = self.agents[0].device;
        let mut orders = self.orders.lock().await;
        let order = OrderOperation {
            kind: OperationKind::Notify,
            by: "ada".to_owned(),
            reason: format!("order {} while something fails", orders.len()),
            for_seconds: Some(3_600),
        };
        let path = format!("/v1/devices/{device}/operations");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.api.post::<_, Ordered>(&path, &order).await {
                Ok(ordered) => {
                    orders.insert(ordered.index);
                    return;
                }
                Err(error) => {
                    assert!(Instant::now() < deadline, "not ordered within {PATIENCE:?}: {error:#}")
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until all nodes answer and follow one leader.
    pub async fn ready(&self) {
        wait_until_ready(&self.api).await;
    }

    /// Silences the terminals, and looks for every acknowledgement in every node's log.
    pub async fn nothing_is_lost(mut self) {
        let crowd = self.crowd.stop().await.unwrap();
        let mut names: BTreeSet<HeartbeatName> = crowd.iter().map(|acknowledged| acknowledged.name).collect();
        let from_crowd = names.len();
        for agent in &self.agents {
            docker::stop(&agent.running.name);
            names.extend(agent.acknowledged());
        }
        assert!(from_crowd > 20 && names.len() > from_crowd, "{from_crowd} and {}", names.len());
        let statuses = self.settled().await;
        let data = self.nodes.iter().map(|node| (node.id, node.data.clone())).collect();
        let evidence = evidence::read(statuses, data, &self.files.keyring).await.unwrap();
        assert_eq!(evidence.found_in_every_log(&names), names.len());
        let orders = self.orders.into_inner();
        let has_all = |log: &evidence::LogEvidence| orders.is_subset(&log.orders);
        assert!(evidence.logs.iter().all(has_all), "{orders:?} in every log");
        let ends: Vec<_> = evidence.logs.iter().map(|log| log.digest_at_end).collect();
        assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
    }

    async fn settled(&self) -> Vec<Status> {
        self.ready().await;
        let target = self.statuses().await.iter().filter_map(|status| status.committed).max().unwrap();
        self.until("every node has applied what is committed", async || {
            let statuses = self.statuses().await;
            statuses.len() == usize::from(NODES) && statuses.iter().all(|status| status.applied >= target)
        })
        .await;
        self.statuses().await
    }

    async fn legitimate(&self) -> u32 {
        use events::vocabulary::shared::Legitimacy;
        let count = |status: &Status| status.counts.legitimacy.get(&Legitimacy::Legitimate).copied();
        self.statuses().await.iter().filter_map(count).max().unwrap_or(0)
    }

    /// Waits for what shows in the world only.
    pub async fn until(&self, what: &str, held: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !held().await {
            assert!(
                Instant::now() < deadline,
                "not within {PATIENCE:?}: {what}; {:?}; {:?}",
                self.crowd.counters(),
                self.statuses().await
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Running {
    async fn start(
        request: impl Into<testcontainers::ContainerRequest<GenericImage>>,
        name: &str,
        network: &Network,
        dir: &Path,
    ) -> Self {
        let path = dir.display().to_string();
        // The files are this user's, so the programs run as this user; the images' own user is as unprivileged.
        let user = docker_user(dir);
        let container = request
            .into()
            .with_container_name(name)
            .with_network(&network.name)
            .with_mount(Mount::bind_mount(path.clone(), path))
            .with_user(user)
            .with_startup_timeout(PATIENCE)
            .start()
            .await;
        let container = container.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Running { name: name.to_owned(), _container: container }
    }
}

impl Node {
    async fn start(run: &str, number: u8, config: &Path, bus: &Network, peers: &Network, dir: &Path) -> Self {
        let id = NodeId::from(number) + 1;
        let image = GenericImage::new("muster", &tag())
            .with_cmd(["node"])
            .with_env_var("MUSTER_NODE_CONFIG", config.display().to_string());
        let running = Running::start(image, &format!("{run}-node-{id}"), bus, dir).await;
        peers.connect(&running.name, host_number(id));
        let data = config.parent().unwrap().join("data");
        Node { id, running, data }
    }
}

impl Agent {
    /// Runs the agent, and types the code once it asks for one.
    async fn start(
        run: &str,
        number: usize,
        home: &AgentHome,
        code: &str,
        terminals: &Network,
        dir: &Path,
    ) -> Self {
        let config = home.config().display().to_string();
        let image = GenericImage::new("muster-agent", &tag())
            .with_cmd(["--json".to_owned(), "run".to_owned()])
            .with_env_var("MUSTER_AGENT_CONFIG", config);
        let name = format!("{run}-agent-{number}");
        let running = Running::start(image, &name, terminals, dir).await;
        let agent = Agent { device: home.device, running };
        let deadline = Instant::now() + PATIENCE;
        while !agent.said().contains(&Said::CodeNeeded) {
            assert!(Instant::now() < deadline, "{name} asks for no code: {:?}", agent.said());
            tokio::time::sleep(POLL).await;
        }
        let code_file = home.config().with_file_name("code.txt");
        std::fs::write(&code_file, code).unwrap();
        let code_file = code_file.display().to_string();
        docker::docker(&["exec", &name, "/usr/bin/muster-agent", "activate", "--code-file", &code_file]);
        agent
    }

    fn said(&self) -> Vec<Said> {
        read_said(&docker::docker(&["logs", &self.running.name]))
    }

    pub fn acknowledged(&self) -> BTreeSet<HeartbeatName> {
        acknowledged(self.said(), self.device)
    }
}

fn node_plan(number: u8, peers: &Network, region: &RegionName) -> NodePlan {
    let id = NodeId::from(number) + 1;
    NodePlan {
        id,
        region: region.clone(),
        host: peers.address(host_number(id)).to_string(),
        peers_port: 7400,
        api_port: 7500,
    }
}

fn host_number(id: NodeId) -> u8 {
    FIRST_NODE + u8::try_from(id).unwrap()
}

async fn burn_in(dir: &Path, public: events::keyring::ClusterPublic, devices: u32) -> Burned {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || burn_lot(&dir, &public, devices, |_| {})).await.unwrap().unwrap()
}

async fn statuses(api: &Api) -> Vec<Status> {
    let answers = api.get_from_each::<Status>("/v1/status").await;
    answers.into_iter().filter_map(|(_, answer)| answer.ok()).collect()
}

async fn wait_until_ready(api: &Api) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let statuses = statuses(api).await;
        let leader = statuses.first().and_then(|status| status.leader);
        let follows = |status: &Status| status.leader == leader && status.stamp.as_millis() > 0;
        if statuses.len() == usize::from(NODES) && leader.is_some() && statuses.iter().all(follows) {
            return;
        }
        assert!(Instant::now() < deadline, "the nodes follow no common leader: {statuses:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// The images' tag: what `./ops/test containers` built.
fn tag() -> String {
    std::env::var("MUSTER_IMAGE_TAG").unwrap_or_else(|_| "test".to_owned())
}

fn docker_user(dir: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let owner = std::fs::metadata(dir).unwrap();
    format!("{}:{}", owner.uid(), owner.gid())
}

fn run_number() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static RUNS: AtomicU32 = AtomicU32::new(0);
    RUNS.fetch_add(1, Ordering::Relaxed)
}
