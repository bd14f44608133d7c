//! The development cluster's nodes: separate `muster node` processes on loopback, started, killed and asked.

use super::children::{Child, spawn};
use super::nats::User;
use super::ports;
use crate::api::Api;
use crate::cluster::{ClusterFiles, ClusterPlan, NatsAccess, NodePlan, init};
use crate::context::Context;
use crate::files::write_secret;
use anyhow::{Context as _, Result, bail};
use events::ids::{NodeId, RegionName};
use nodes::api::shapes::{Role, Status};
use nodes::entropy::OsEntropy;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// The nodes of one cluster, killed when dropped.
pub struct DevCluster {
    pub files: ClusterFiles,
    pub context: Context,
    pub api: Api,
    muster: PathBuf,
    nodes: BTreeMap<NodeId, DevNode>,
}

/// Has a node send its part of every trace.
fn send_traces(config: &Path, endpoint: &str) -> Result<()> {
    let text = crate::files::read_text(config)?;
    let endpoint = toml::Value::String(endpoint.to_owned());
    write_secret(config, format!("{text}\n[telemetry]\notlp_endpoint = {endpoint}\n").as_bytes())
}

struct DevNode {
    config: PathBuf,
    log: PathBuf,
    /// None before its first start, and after it was killed or stopped.
    process: Option<Child>,
}

/// What a development cluster is made of.
pub struct DevClusterPlan<'a> {
    /// The `muster` program that the nodes run.
    pub muster: &'a Path,
    pub dir: &'a Path,
    pub nodes: u64,
    pub region: &'a RegionName,
    pub nats_url: String,
    /// The nodes' user at the nats-server.
    pub nats_user: &'a User,
    pub heartbeat_millis: u32,
    /// Where traces go by OTLP over gRPC.
    pub otlp: Option<&'a str>,
}

impl DevCluster {
    /// Writes the cluster's files; starts nothing yet, so that a factory can burn for it offline.
    pub fn lay_out(plan: &DevClusterPlan<'_>) -> Result<Self> {
        let count = usize::try_from(plan.nodes).context("too many nodes")?;
        let ports = ports::free(2 * count)?;
        let planned = (1..=plan.nodes).zip(ports.chunks(2)).map(|(id, ports)| NodePlan {
            id,
            region: plan.region.clone(),
            host: "127.0.0.1".to_owned(),
            peers_port: ports[0].port(),
            api_port: ports[1].port(),
        });
        let login = (plan.nats_user.name.clone(), Zeroizing::new(plan.nats_user.password.clone()));
        let cluster_plan = ClusterPlan {
            nodes: planned.collect(),
            nats: NatsAccess { urls: vec![plan.nats_url.clone()], login: Some(login), authority: None },
            terminal_nats: vec![plan.nats_url.clone()],
            heartbeat_millis: plan.heartbeat_millis,
        };
        let files = init(plan.dir, &cluster_plan, &OsEntropy, crate::cli::this_year())?;
        if let Some(endpoint) = plan.otlp {
            files.node_configs.iter().try_for_each(|config| send_traces(config, endpoint))?;
        }
        let context = Context::load(Some(&files.context))?;
        let api = Api::of(&context)?;
        let nodes = cluster_plan.nodes.iter().zip(&files.node_configs).map(|(node, config)| {
            let known = DevNode {
                config: config.clone(),
                log: plan.dir.join(format!("node-{}.log", node.id)),
                process: None,
            };
            (node.id, known)
        });
        let nodes = nodes.collect();
        Ok(DevCluster { files, context, api, muster: plan.muster.to_owned(), nodes })
    }

    /// Starts every node that does not run, and waits until all of them follow one leader, which it returns.
    pub async fn launch(&mut self) -> Result<NodeId> {
        let ids: Vec<NodeId> = self.ids().collect();
        for id in ids {
            if self.node(id)?.process.is_none() {
                self.start(id)?;
            }
        }
        self.wait_until_ready().await
    }

    /// Ids of all nodes, running or not.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.keys().copied()
    }

    /// Where a node keeps its log.
    pub fn data_directory(&self, node: NodeId) -> Result<PathBuf> {
        let config = &self.node(node)?.config;
        Ok(config.parent().unwrap_or(Path::new("")).join("data"))
    }

    /// What every node says of itself, the silent ones left out.
    pub async fn statuses(&self) -> Vec<Status> {
        let answers = self.api.get_from_each::<Status>("/v1/status").await;
        answers.into_iter().filter_map(|(_, answer)| answer.ok()).collect()
    }

    /// The node that leads and that a majority follows.
    pub async fn leader(&self) -> Option<NodeId> {
        let statuses = self.statuses().await;
        let leader = statuses.iter().find(|status| status.role == Role::Leader)?.node;
        let followers = statuses.iter().filter(|status| status.leader == Some(leader)).count();
        (2 * followers > self.nodes.len()).then_some(leader)
    }

    /// Waits until every node answers, follows the same leader and has applied what founded the cluster.
    pub async fn wait_until_ready(&mut self) -> Result<NodeId> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.still_running()?;
            let statuses = self.statuses().await;
            let leader = statuses.first().and_then(|status| status.leader);
            let founded = |status: &Status| status.leader == leader && status.stamp.as_millis() > 0;
            if let Some(leader) = leader
                && statuses.len() == self.nodes.len()
                && statuses.iter().all(founded)
            {
                return Ok(leader);
            }
            if Instant::now() > deadline {
                let seen: Vec<_> = statuses
                    .iter()
                    .map(|s| format!("{} {:?} leader {:?}", s.name, s.role, s.leader))
                    .collect();
                bail!(
                    "the nodes follow no common leader after {READY_WITHIN:?}; they say: {}",
                    seen.join("; ")
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: NodeId) -> Result<()> {
        self.take_process(node)?.kill()
    }

    /// SIGTERM, and waits for the node's own end.
    pub async fn stop(&mut self, node: NodeId) -> Result<()> {
        let status = self.take_process(node)?.stop(STOP_WITHIN).await?;
        if status.success() { Ok(()) } else { bail!("node {node} ended with {status} after SIGTERM") }
    }

    /// Starts a node, for the first time or again, with the configuration and data that it has.
    pub fn start(&mut self, node: NodeId) -> Result<()> {
        let muster = self.muster.clone();
        let known = self.node_mut(node)?;
        let mut command = Command::new(muster);
        command.arg("node").arg("--config").arg(&known.config);
        known.process = Some(spawn(&format!("node {node}"), command, &known.log)?);
        Ok(())
    }

    /// An error with the end of its log if a node has ended by itself.
    pub fn still_running(&mut self) -> Result<()> {
        self.nodes.values_mut().filter_map(|node| node.process.as_mut()).try_for_each(Child::still_running)
    }

    /// Waits until every node has applied what any of them has committed by now; returns what they say then.
    pub async fn settle(&self) -> Result<Vec<Status>> {
        let deadline = Instant::now() + READY_WITHIN;
        let target = self.statuses().await.iter().filter_map(|status| status.committed).max().unwrap_or(0);
        loop {
            let statuses = self.statuses().await;
            if statuses.len() == self.nodes.len() && statuses.iter().all(|status| status.applied >= target) {
                return Ok(statuses);
            }
            if Instant::now() > deadline {
                let applied: Vec<_> =
                    statuses.iter().map(|s| format!("{} at {}", s.name, s.applied)).collect();
                bail!(
                    "not all nodes have applied index {target} after {READY_WITHIN:?}: {}",
                    applied.join(", ")
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn node(&self, node: NodeId) -> Result<&DevNode> {
        self.nodes.get(&node).with_context(|| format!("there is no node {node}"))
    }

    fn take_process(&mut self, node: NodeId) -> Result<Child> {
        self.node_mut(node)?.process.take().with_context(|| format!("node {node} does not run"))
    }

    fn node_mut(&mut self, node: NodeId) -> Result<&mut DevNode> {
        self.nodes.get_mut(&node).with_context(|| format!("there is no node {node}"))
    }
}
