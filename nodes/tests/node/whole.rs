//! Whole nodes: real sockets between peers, real TLS, a bus in memory.

use crate::support::authority::Authority;
use crate::support::members::{config, give_birth, lot_created, timers};
use crate::support::{CLUSTER, PATIENCE, in_time};
use events::ids::{ClusterId, NodeId};
use events::keyring::Keyring;
use nodes::api::shapes::Transferring;
use nodes::bus::MemBus;
use nodes::clock::SystemClock;
use nodes::config::NodeConfig;
use nodes::entropy::{EntropyRng, OsEntropy};
use nodes::node::{Node, NodeDeps, NodeError};
use nodes::raft::leadership::Leadership;
use nodes::storage::disk::OsDisk;
use openraft::async_runtime::watch::WatchReceiver;
use projector::Outcome;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

pub struct House {
    dir: TempDir,
    authority: Authority,
    ports: Vec<u16>,
    bus: Arc<MemBus>,
}

impl House {
    /// What believes the nodes' certificates.
    pub fn http(&self) -> reqwest::Client {
        crate::support::served::client(&self.authority, None)
    }

    pub fn new(count: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = held.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let house = House { dir, authority: Authority::new(), ports, bus: Arc::new(MemBus::new()) };
        house.write_keyring(CLUSTER);
        for node in 1..=count as NodeId {
            give_birth(&house.config(node).data_directory, node);
        }
        house
    }

    fn write_keyring(&self, cluster: ClusterId) {
        let keyring = Keyring::generate(&mut EntropyRng(&OsEntropy), cluster);
        std::fs::write(self.dir.path().join("keyring.json"), keyring.to_json().as_bytes()).unwrap();
    }

    /// From now on every configuration names another port of this node's; the old one is held, so that nobody takes it.
    async fn move_node(&mut self, node: NodeId) -> TcpListener {
        let port = &mut self.ports[usize::try_from(node).unwrap() - 1];
        let old = in_time("the port of a node that stopped", async {
            loop {
                match TcpListener::bind(("127.0.0.1", *port)) {
                    Ok(old) => return old,
                    // Its last connections end a moment after it.
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let old = old.await;
        *port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        old
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Lays every node's certificate and key beside its data, for processes that have no [`House`].
    pub fn write_members(&self) {
        for node in 1..=self.ports.len() as NodeId {
            self.config(node);
        }
    }

    pub fn config(&self, node: NodeId) -> NodeConfig {
        let count = self.ports.len() as NodeId;
        let mut config = config(self.dir.path(), node, count, timers());
        let own = self.dir.path().join(node.to_string());
        config.keyring = self.dir.path().join("keyring.json");
        config.peers = self.authority.member_files(&own, (CLUSTER, node), &self.authority);
        config.api.certificate = config.peers.certificate.clone();
        config.api.key = config.peers.key.clone();
        for member in &mut config.members {
            let port = self.ports[usize::try_from(member.id).unwrap() - 1];
            member.address = format!("127.0.0.1:{port}");
            if member.id == node {
                config.peers.listen = member.address.parse().unwrap();
            }
        }
        config
    }

    /// All nodes, once they serve and know the cluster's name.
    pub async fn start_all(&self) -> Vec<Node> {
        let mut nodes = Vec::new();
        for node in 1..=self.ports.len() as NodeId {
            nodes.push(self.start(self.config(node)).await.unwrap());
        }
        for node in &nodes {
            let mut serving = node.core().serving();
            in_time("readiness to serve", serving.wait_for(|serving| *serving)).await.unwrap();
            let mut applied = node.core().projector().applied();
            in_time("the cluster's name", async {
                while node.core().projector().read(|fold| fold.cluster().is_none()) {
                    applied.changed().await.unwrap();
                }
            })
            .await;
        }
        nodes
    }

    async fn start(&self, config: NodeConfig) -> Result<Node, NodeError> {
        let deps = NodeDeps {
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(OsEntropy),
            disk: Arc::new(OsDisk),
            bus: self.bus.clone(),
        };
        in_time("a node's start", Node::start(config, deps)).await
    }
}

pub async fn awaits_leader(node: &Node) -> NodeId {
    let wait = node.core().raft().wait(None);
    let known = wait.metrics(
        |metrics| matches!(Leadership::of(metrics), Leadership::Here { .. } | Leadership::Elsewhere(_)),
        "a leader",
    );
    in_time("a leader", known).await.unwrap().current_leader.unwrap()
}

fn term(node: &Node) -> u64 {
    node.core().raft().metrics().borrow_watched().current_term
}

#[tokio::test(flavor = "multi_thread")]
async fn three_whole_nodes_form_a_cluster_hand_over_on_a_planned_stop_and_take_the_stopped_one_back() {
    let house = House::new(3);
    let mut nodes = house.start_all().await;
    let leader = awaits_leader(&nodes[0]).await;
    let at = usize::try_from(leader).unwrap() - 1;
    let stopped = nodes.remove(at);
    let term_before = term(&nodes[0]);
    in_time("a planned stop", stopped.stop()).await.unwrap();
    assert!(
        nodes.iter().any(|node| term(node) > term_before),
        "the leadership was handed over before the stop ended"
    );
    // The third one may hear of it a moment later.
    let heard = nodes[0].core().raft().wait(None);
    let heard =
        heard.metrics(|metrics| metrics.current_leader.is_some_and(|heir| heir != leader), "the heir");
    in_time("word of the heir", heard).await.unwrap();
    let outcomes =
        in_time("a commit of two", nodes[0].core().proposer().propose_events(&[lot_created(1)])).await;
    let outcomes = outcomes.unwrap();
    assert_eq!(outcomes.events, [Outcome::Accepted]);

    let back = house.start(house.config(leader)).await.unwrap();
    let mut applied = back.core().projector().applied();
    in_time("what it missed", applied.wait_for(|index| *index >= outcomes.index)).await.unwrap();
    assert_eq!(term(&back), term_before + 1, "one hand-over, and coming back disturbed nobody");
    nodes.push(back);
    for node in nodes {
        in_time("a stop", node.stop()).await.unwrap();
    }
}

/// Addresses are in the first entry of the log, for ever; what the configurations say wins.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_on_after_every_member_moved_and_the_configurations_were_edited() {
    let mut house = House::new(3);
    for node in house.start_all().await {
        in_time("a stop", node.stop()).await.unwrap();
    }
    let mut old = Vec::new();
    for node in 1..=3 {
        old.push(house.move_node(node).await);
    }
    let nodes = house.start_all().await;
    let leader = awaits_leader(&nodes[0]).await;
    let follower = nodes.iter().find(|node| node.core().raft().node_id() != &leader).unwrap();
    let outcomes =
        in_time("a forwarded commit", follower.core().proposer().propose_events(&[lot_created(1)])).await;
    let outcomes = outcomes.unwrap();
    assert_eq!(outcomes.events, [Outcome::Accepted]);
    for node in &nodes {
        let mut applied = node.core().projector().applied();
        in_time("the entry", applied.wait_for(|index| *index >= outcomes.index)).await.unwrap();
    }
    for old in old {
        old.set_nonblocking(true).unwrap();
        let called = old.accept().err().map(|error| error.kind());
        assert_eq!(called, Some(std::io::ErrorKind::WouldBlock), "nobody calls where the member was");
    }
    for node in nodes {
        in_time("a stop", node.stop()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_clusters_keyring_refuses_by_name() {
    let house = House::new(1);
    let other = ClusterId::from_bytes([9; 16]);
    house.write_keyring(other);
    let error = house.start(house.config(1)).await.err().unwrap().to_string();
    for expected in ["keyring.json", &other.to_string(), &CLUSTER.to_string(), "give it the keyring of"] {
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_clusters_or_nodes_data_refuses_by_name() {
    let house = House::new(2);
    let node = house.start(house.config(1)).await.unwrap();
    node.stop().await.unwrap();

    let mut config = house.config(2);
    config.data_directory = house.config(1).data_directory;
    let error = house.start(config).await.err().unwrap().to_string();
    assert!(error.contains("belongs to node 1") && error.contains("this is node 2"), "{error}");

    let mut config = house.config(1);
    let other = ClusterId::from_bytes([9; 16]);
    config.cluster = other;
    let keyring = house.dir.path().join("keyring.json");
    let text = std::fs::read_to_string(&keyring).unwrap();
    std::fs::write(&keyring, text.replace(&CLUSTER.to_string(), &other.to_string())).unwrap();
    let error = house.start(config).await.err().unwrap().to_string();
    for expected in [CLUSTER.to_string(), other.to_string(), "data-1".to_owned()] {
        assert!(error.contains(&expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_cannot_share_a_data_directory() {
    let house = House::new(1);
    let first = house.start(house.config(1)).await.unwrap();
    let mut second = house.config(1);
    second.peers.listen = "127.0.0.1:0".parse().unwrap();
    let error = house.start(second).await.err().unwrap().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_asks_any_node_to_move_the_leadership() {
    let house = House::new(3);
    let nodes = house.start_all().await;
    let leader = awaits_leader(&nodes[0]).await;
    let asked = nodes.iter().find(|node| node.core().raft().node_id() != &leader).unwrap();
    let http = house.http();
    let url = format!("https://localhost:{}/v1/leader/transfer", asked.api_address().port());
    let answer =
        http.post(url).bearer_auth(crate::support::served::TOKEN).json(&serde_json::json!({})).send();
    let moving: Transferring = in_time("an answer", answer).await.unwrap().json().await.unwrap();
    assert_eq!(moving.from, leader);
    let wait = asked.core().raft().wait(Some(PATIENCE));
    wait.current_leader(moving.to, "the heir leads").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_data_directory_was_wiped_does_not_begin_again_under_its_old_id() {
    let house = House::new(1);
    let node = house.start(house.config(1)).await.unwrap();
    node.stop().await.unwrap();
    let data = house.config(1).data_directory;
    std::fs::remove_dir_all(&data).unwrap();
    let error = house.start(house.config(1)).await.err().unwrap().to_string();
    for expected in ["birth.json", "node 1 has lived before", "gone for good"] {
        assert!(error.contains(expected), "{expected} in: {error}");
    }
}
