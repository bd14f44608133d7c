//! (c) Three `muster node` processes, one nats-server, real TLS between the nodes, and terminals that a factory burned.

use super::Plan;
use super::load::{Connection, Pace, Request, send};
use super::terminals::{Terminal, ticket_of};
use anyhow::{Context as _, Result, anyhow};
use events::envelope::Ticket;
use events::envelope::ticket::encode_hello;
use events::ids::RegionName;
use events::keyring::ClusterPublic;
use ops::dev::attack::connect;
use ops::dev::cluster::{DevCluster, DevClusterPlan};
use ops::dev::factory::{Burned, burn_lot};
use ops::dev::nats::{self, NatsServer, Permissions};
use ops::dev::stage::{import, issue_codes};
use ops::dev::{crowd, ports, sources};
use provisioning::ceremony::load_cluster_public;
use provisioning::lot::load_firmware;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// NATS connections of the load generator, for every system alike.
pub const CONNECTIONS: usize = 2;
/// The shortest interval that a cluster may grant: admission enforces it, and the terminals are many enough to keep it.
const HEARTBEAT_MILLIS: u32 = 100;
const TICKET_WITHIN: Duration = Duration::from_secs(30);
const HELLO_AGAIN_AFTER: Duration = Duration::from_millis(200);

pub struct Stage {
    pub cluster: DevCluster,
    pub public: ClusterPublic,
    /// By connection.
    pub terminals: Vec<Vec<Terminal>>,
    pub connections: Vec<Connection>,
    _nats: NatsServer,
}

impl Stage {
    pub async fn set_up(plan: &Plan, dir: &Path) -> Result<Self> {
        let region: RegionName = "home".parse().context("a fixed name")?;
        let address = *ports::free(1)?.first().context("no free port")?;
        let url = format!("nats://{address}");
        let nodes_user = sources::user(sources::NODES, Permissions::Nodes);
        let mut cluster = DevCluster::lay_out(&DevClusterPlan {
            muster: &plan.muster,
            dir: &dir.join("cluster"),
            nodes: 3,
            region: &region,
            nats_url: url.clone(),
            nats_user: &nodes_user,
            heartbeat_millis: HEARTBEAT_MILLIS,
            otlp: None,
        })?;
        let public = load_cluster_public(&cluster.files.public)?;
        let burned = burn(dir.join("factory"), public.clone(), plan.terminals).await?;

        let mut users = vec![nodes_user];
        users.extend((0..CONNECTIONS).map(|number| sources::crowd_user(&source(number), &token(number))));
        let nats =
            nats::start(&plan.nats_server, &dir.join("muster"), address, region.as_str(), &users).await?;
        cluster.launch().await?;
        import(&cluster.api, &burned).await?;
        let codes = issue_codes(&cluster.api, dir, plan.terminals).await?;
        cluster.settle().await?;

        let mut connections = Vec::new();
        for (number, user) in users[1..].iter().enumerate() {
            let client = connect(&url, user).await?;
            connections.push(Connection::open(client, format!("*.{}.>", token(number))).await?);
        }
        let terminals = boot(&burned, &codes, &region)?;
        Ok(Stage { cluster, public, terminals, connections, _nats: nats })
    }

    /// A ticket, which is equal for everybody. Nodes may not listen yet, or be without a leader for a moment.
    pub async fn hello(&mut self) -> Result<Ticket> {
        let give_up = Instant::now() + TICKET_WITHIN;
        loop {
            match self.hello_once().await {
                Err(_) if Instant::now() < give_up => tokio::time::sleep(HELLO_AGAIN_AFTER).await,
                asked => return asked,
            }
        }
    }

    async fn hello_once(&mut self) -> Result<Ticket> {
        let terminal = &self.terminals[0][0];
        let hello = vec![terminal.request("hello", 0, encode_hello(terminal.device))];
        let none = vec![];
        let lists: Vec<_> =
            std::iter::once(hello).chain((1..CONNECTIONS).map(|_| none.clone())).map(Arc::new).collect();
        let sent = self.send(&lists, Pace::Window(CONNECTIONS, Duration::from_secs(1))).await?;
        let answer = sent[0].answers[0].as_ref().context("a hello was not answered")?;
        ticket_of(&answer.payload)
    }

    /// Sends over this stage's connections.
    pub async fn send(&mut self, lists: &[Arc<Vec<Request>>], pace: Pace) -> Result<Vec<super::load::Sent>> {
        let (connections, sent) = send(std::mem::take(&mut self.connections), lists, pace).await?;
        self.connections = connections;
        Ok(sent)
    }

    /// Where the first node keeps its log.
    pub fn log_folder(&self) -> Result<PathBuf> {
        let first = self.cluster.ids().next().context("a cluster without nodes")?;
        Ok(self.cluster.data_directory(first)?.join(nodes::node::core::LOG_FOLDER))
    }
}

fn source(connection: usize) -> String {
    format!("bench-{connection}")
}

fn token(connection: usize) -> String {
    format!("b{connection}")
}

/// Burning waits for the disk all the time, so it has a thread of its own.
async fn burn(dir: PathBuf, public: ClusterPublic, count: u32) -> Result<Burned> {
    tokio::task::spawn_blocking(move || burn_lot(&dir, &public, count, |_| {})).await.context("burning")?
}

/// Boot checks cost milliseconds of P-384 each: all cores at once. Terminal n belongs to connection n modulo all.
fn boot(burned: &Burned, codes: &[String], region: &RegionName) -> Result<Vec<Vec<Terminal>>> {
    let firmware = load_firmware(&burned.firmware)?;
    let firmware = &firmware;
    let boot_all = |connection: usize| -> Result<Vec<Terminal>> {
        let subject = format!("muster.v1.{region}.up.{}", source(connection));
        let own = burned.terminals.iter().zip(codes).skip(connection).step_by(CONNECTIONS);
        own.map(|(terminal, code)| {
            let spec = crowd::spec(terminal, Some(code))?;
            Terminal::boot(spec, terminal.record, firmware, &subject, &token(connection))
        })
        .collect()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..CONNECTIONS).map(|connection| scope.spawn(move || boot_all(connection))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<Terminal>>>| {
            thread.join().map_err(|_| anyhow!("a boot check panicked"))?
        };
        threads.into_iter().map(join).collect()
    })
}
