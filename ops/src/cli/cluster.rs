//! `muster cluster`: a new cluster's files, and how a running one is.

use super::Global;
use crate::cluster::{ClusterPlan, NatsAccess, NodePlan, certify_again, init};
use crate::exit::{NOT_HELD, UNREACHABLE, USAGE, answered, coded};
use crate::output::Table;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use events::ids::RegionName;
use nodes::api::shapes::{ClockView, DigestAt, Status};
use nodes::clock::{Clock, SystemClock};
use nodes::entropy::OsEntropy;
use projector::view::BreakerView;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

#[derive(Subcommand)]
pub(crate) enum ClusterCommand {
    /// Lay out a new cluster: keys, certificates and one configuration file a node
    Init(InitArguments),
    /// Make a member's certificate and key anew, with the cluster's own authority: before one ends, or for another host
    Certify(CertifyArguments),
    /// Let somebody ask the cluster: a certificate that names the role, and a context file beside it
    Enrol(super::enrol::EnrolArguments),
    /// Ask every node how it is: leader, lag, digests, counts
    ///
    /// Exit code 0: a majority names one leader, states are equal and automation runs. 3: no node answers, or no leader is
    /// agreed on. 5: digests differ, or automation stopped. A single node that does not answer, or webhooks that differ, are
    /// said and do not change the code.
    Status,
}

/// Make a member's certificate and key anew. The node takes both at its next start; restart one node after the other.
///
/// Needs `ca.key`, which is kept off all nodes. Peers believe the name `node-<n>.<cluster>.muster` in it, operators the host.
#[derive(Args)]
pub(crate) struct CertifyArguments {
    /// Where `ca.key`, `ca.pem` and `context.json` of `muster cluster init` lie
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The member's id
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,
    /// Where operators reach it: a host name or an address
    #[arg(long, value_name = "HOST")]
    host: String,
    /// Folder for the new `node.pem` and `node.key`; older ones in it are kept beside them as `.old`
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Lay out a new cluster: its identity and keyring, a certificate authority with one certificate a node, one
/// configuration file a node, the operator's token, and the context file that other commands read.
///
/// Each node's data directory holds its birth file, which its first start consumes: a node whose data was lost does not
/// begin again under its old id. Nothing is started. Copy `nodes/<n>` with `keyring.json`, `ca.pem` and `nats.password` to each machine, keep
/// `operator.token` (nodes know its digest), `ca.key` and a copy of `keyring.json` off all of them, and start `muster node --config
/// nodes/<n>/node.toml` there.
#[derive(Args)]
pub(crate) struct InitArguments {
    /// Directory for the cluster's files; must not hold a cluster yet
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Number of nodes on this host; for several hosts give --host once a node instead
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "host")]
    nodes: u16,
    /// Where peers and operators reach a node, and its region: HOST or HOST@REGION; once for each node
    #[arg(long, value_name = "HOST[@REGION]")]
    host: Vec<String>,
    /// Region of nodes whose --host names none
    #[arg(long, value_name = "NAME", default_value = "home")]
    region: RegionName,
    /// Peers' port of the first node; nodes on the same host count up from it
    #[arg(long, value_name = "PORT", default_value_t = 7400)]
    peers_port: u16,
    /// API port of the first node; nodes on the same host count up from it
    #[arg(long, value_name = "PORT", default_value_t = 7500)]
    api_port: u16,
    /// NATS servers, version 2.12.7 or newer
    #[arg(long, value_name = "URL", required = true, value_delimiter = ',')]
    nats: Vec<String>,
    /// The nodes' NATS user
    #[arg(long, value_name = "NAME", requires = "nats_password_file")]
    nats_user: Option<String>,
    /// File that holds the password of the nodes' NATS user
    #[arg(long, value_name = "FILE", requires = "nats_user")]
    nats_password_file: Option<PathBuf>,
    /// Who signs the NATS servers' certificates (PEM); nodes then speak to them encrypted only
    #[arg(long, value_name = "FILE")]
    nats_ca: Option<PathBuf>,
    /// The interval at which devices beat, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    heartbeat_ms: u32,
}

pub(crate) async fn run(global: &Global, command: ClusterCommand) -> Result<()> {
    match command {
        ClusterCommand::Init(arguments) => run_init(global, &arguments),
        ClusterCommand::Certify(arguments) => run_certify(global, &arguments),
        ClusterCommand::Enrol(arguments) => super::enrol::run(global, &arguments),
        ClusterCommand::Status => status(global).await,
    }
}

#[derive(Serialize)]
struct Initialised {
    cluster: events::ids::ClusterId,
    context: PathBuf,
    public: PathBuf,
    keyring: PathBuf,
    nodes: Vec<PathBuf>,
}

fn run_init(global: &Global, arguments: &InitArguments) -> Result<()> {
    let files = init(&arguments.dir, &arguments.plan()?, &OsEntropy, this_year())?;
    let said = Initialised {
        cluster: files.cluster,
        context: files.context,
        public: files.public,
        keyring: files.keyring,
        nodes: files.node_configs,
    };
    global.format().print(&said, |said| {
        let starts: Vec<_> =
            said.nodes.iter().map(|config| format!("  muster node --config {}", config.display())).collect();
        format!(
            "Cluster {}\nStart its nodes:\n{}\nThen look at it:\n  muster cluster status --context {}",
            said.cluster,
            starts.join("\n"),
            said.context.display()
        )
    })
}

#[derive(Serialize)]
struct CertifiedAnew {
    node: u64,
    certificate: PathBuf,
    key: PathBuf,
}

fn run_certify(global: &Global, arguments: &CertifyArguments) -> Result<()> {
    let (certificate, key) =
        certify_again(&arguments.dir, arguments.node, &arguments.host, &arguments.out, this_year())?;
    let said = CertifiedAnew { node: arguments.node, certificate, key };
    global.format().print(&said, |said| {
        format!(
            "node {}: {} and {}\nGive the node both, and start it again: one node after the other",
            said.node,
            said.certificate.display(),
            said.key.display()
        )
    })
}

impl InitArguments {
    fn plan(&self) -> Result<ClusterPlan> {
        let hosts: Vec<String> = match self.host.as_slice() {
            [] => vec!["127.0.0.1".to_owned(); usize::from(self.nodes)],
            named => named.to_vec(),
        };
        if hosts.is_empty() || hosts.len() > 9 {
            return Err(coded(USAGE, format!("a cluster has 1 to 9 nodes, got {}", hosts.len())));
        }
        let mut nodes: Vec<NodePlan> = Vec::new();
        for (id, text) in (1..).zip(&hosts) {
            let (host, region) = match text.split_once('@') {
                Some((host, region)) => {
                    (host, region.parse().map_err(|e| coded(USAGE, format!("--host {text}: {e}")))?)
                }
                None => (text.as_str(), self.region.clone()),
            };
            let same_host =
                u16::try_from(nodes.iter().filter(|node| node.host == host).count()).unwrap_or(u16::MAX);
            let port = |first: u16| {
                first
                    .checked_add(same_host)
                    .ok_or_else(|| coded(USAGE, format!("no port is left above {first}")))
            };
            let (peers_port, api_port) = (port(self.peers_port)?, port(self.api_port)?);
            nodes.push(NodePlan { id, region, host: host.to_owned(), peers_port, api_port });
        }
        let login = match (&self.nats_user, &self.nats_password_file) {
            (Some(user), Some(file)) => {
                let password = Zeroizing::new(crate::files::read_text(file)?);
                Some((user.clone(), Zeroizing::new(password.trim().to_owned())))
            }
            _ => None,
        };
        let authority = self.nats_ca.as_deref().map(authority_in).transpose()?;
        Ok(ClusterPlan {
            nodes,
            nats: NatsAccess { urls: self.nats.clone(), login, authority },
            terminal_nats: self.nats.clone(),
            heartbeat_millis: self.heartbeat_ms,
        })
    }
}

/// The text of a file that the nodes will read as authorities.
fn authority_in(file: &Path) -> Result<String> {
    nodes::peers::tls::roots(file).map_err(|unfit| coded(USAGE, format!("--nats-ca: {unfit}")))?;
    crate::files::read_text(file)
}

/// The civil year in UTC; certificates are good for some years from it.
pub fn this_year() -> i32 {
    SystemClock::default().now().to_string().get(..4).and_then(|year| year.parse().ok()).unwrap_or(2026)
}

/// One node's answer, or why there is none.
#[derive(Serialize)]
struct NodeStatus {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct ClusterStatus {
    /// What a majority of all nodes agrees on; none while there is no leader.
    leader: Option<u64>,
    /// Every node that answered has the same digest at the latest index that they have in common.
    digests_equal: bool,
    /// Every node that answered would tell the same receivers of webhooks.
    webhooks_equal: bool,
    nodes: Vec<NodeStatus>,
}

async fn status(global: &Global) -> Result<()> {
    let api = global.api()?;
    let answers = api.get_from_each::<Status>("/v1/status").await;
    let nodes: Vec<NodeStatus> = answers
        .into_iter()
        .map(|(url, answer)| match answer {
            Ok(status) => NodeStatus { url, status: Some(status), error: None },
            Err(error) => NodeStatus { url, status: None, error: Some(format!("{error:#}")) },
        })
        .collect();
    let reached: Vec<&Status> = nodes.iter().filter_map(|node| node.status.as_ref()).collect();
    let (leader, digests_equal) = (agreed_leader(&reached, nodes.len()), digests_agree(&reached));
    let verdict = Verdict {
        anybody: !reached.is_empty(),
        leader: leader.is_some(),
        differ: digests_differ(&reached),
        runs: reached.iter().all(|status| status.automation.running && !status.breaker.open),
    };
    let webhooks_equal = tell_the_same(reached.iter().copied().filter_map(told));
    let said = ClusterStatus { leader, digests_equal, webhooks_equal, nodes };
    global.format().print(&said, human_status).context("printing the status")?;
    verdict.trouble().map_or(Ok(()), |(code, why)| Err(answered(code, why)))
}

/// What the exit code goes by.
#[derive(Clone, Copy)]
struct Verdict {
    anybody: bool,
    leader: bool,
    differ: bool,
    /// Automation, at every node that answered.
    runs: bool,
}

impl Verdict {
    /// The exit code of what is wrong, and a word on it; the worst counts.
    fn trouble(self) -> Option<(i32, &'static str)> {
        match self {
            Verdict { anybody: false, .. } => {
                Some((UNREACHABLE, "no node answered; are they started (`muster node --config …`)?"))
            }
            Verdict { leader: false, .. } => {
                Some((UNREACHABLE, "no leader is agreed on: nothing can be decided now"))
            }
            Verdict { differ: true, .. } => Some((NOT_HELD, "state digests differ")),
            Verdict { runs: false, .. } => Some((NOT_HELD, "automation stopped")),
            Verdict { anybody: true, leader: true, differ: false, runs: true } => None,
        }
    }
}

/// The leader that a majority names.
fn agreed_leader(answered: &[&Status], nodes: usize) -> Option<u64> {
    let candidates = answered.iter().filter_map(|status| status.leader);
    candidates.clone().find(|leader| 2 * candidates.clone().filter(|other| other == leader).count() > nodes)
}

/// Whether all of one level have the same digest at the latest fixed index that all of them know. Nodes of different
/// levels are not compared: a rolling upgrade is under way.
fn digests_agree(answered: &[&Status]) -> bool {
    let level = |status: &Status| status.digests.last().map(|at| at.level);
    let levels: BTreeSet<Option<u16>> = answered.iter().map(|status| level(status)).collect();
    let of_level = |wanted| answered.iter().copied().filter(move |status| level(status) == wanted).collect();
    !answered.is_empty()
        && levels.iter().all(|&wanted| {
            let nodes: Vec<&Status> = of_level(wanted);
            level_agrees(&nodes)
        })
}

/// Whether two nodes of one level have different digests at one index.
fn digests_differ(answered: &[&Status]) -> bool {
    differ(answered.iter().flat_map(|status| &status.digests))
}

fn differ<'a>(digests: impl Iterator<Item = &'a DigestAt> + Clone) -> bool {
    let all = || digests.clone();
    all().any(|one| {
        all().any(|other| (one.level, one.index) == (other.level, other.index) && one.digest != other.digest)
    })
}

fn tell_the_same<'a>(told: impl Iterator<Item = (u32, &'a str)>) -> bool {
    told.map(|(receivers, _)| receivers).collect::<BTreeSet<_>>().len() <= 1
}

fn level_agrees(nodes: &[&Status]) -> bool {
    let Some((first, others)) = nodes.split_first() else { return true };
    let knows = |status: &&Status, at: &DigestAt| status.digests.iter().any(|other| other.index == at.index);
    let common = first.digests.iter().rev().find(|at| others.iter().all(|status| knows(status, at)));
    let Some(at) = common else { return others.is_empty() };
    others.iter().all(|status| status.digests.contains(at))
}

fn human_status(said: &ClusterStatus) -> String {
    let mut table = Table::with_head(&[
        "node",
        "role",
        "term",
        "committed",
        "applied",
        "digest",
        "clock",
        "automation",
        "version",
    ]);
    let mut trouble = String::new();
    for node in &said.nodes {
        let Some(status) = &node.status else {
            trouble.push_str(&format!(
                "{} does not answer: {}\n",
                node.url,
                node.error.as_deref().unwrap_or("")
            ));
            continue;
        };
        let digest = status.digest.map_or_else(
            || "none yet".to_owned(),
            |at| format!("{:.12}@{}", at.digest.to_string(), at.index),
        );
        let clock = match status.clock {
            ClockView::Unjudged => "unjudged".to_owned(),
            ClockView::Agrees => "agrees".to_owned(),
            ClockView::Off { by_millis } => format!("off by {by_millis} ms"),
        };
        let runs = status.automation.running && !status.breaker.open;
        let automation = if runs { "running" } else { "stopped" };
        table.row([
            format!("{} ({})", status.name, status.region),
            format!("{:?}", status.role).to_lowercase(),
            status.term.to_string(),
            status.committed.map_or_else(|| "-".to_owned(), |index| index.to_string()),
            status.applied.to_string(),
            digest,
            clock,
            automation.to_owned(),
            status.version.clone(),
        ]);
        if let Some(why) = &status.automation.why {
            trouble.push_str(&format!("{}: automation stopped: {why}\n", status.name));
        }
        if status.breaker.open {
            let BreakerView { restricted, limit, window_millis, .. } = status.breaker;
            trouble.push_str(&format!(
                "{}: automation stopped at the breaker: it restricted {restricted} devices within {} minutes, and may \
                 {limit}; look at `muster flag list`, then `muster operation reset-breaker --reason …`\n",
                status.name,
                window_millis / 60_000
            ));
        }
    }
    let head = match said.nodes.iter().find_map(|node| node.status.as_ref()) {
        Some(status) => format!("cluster {}, log time {}\n", status.cluster, status.stamp),
        None => String::new(),
    };
    let leader = match said.leader {
        Some(leader) => format!("leader: node {leader}\n"),
        None => "leader: none agreed on\n".to_owned(),
    };
    let reached: Vec<&Status> = said.nodes.iter().filter_map(|node| node.status.as_ref()).collect();
    let digests = match (said.digests_equal, digests_differ(&reached)) {
        (_, true) => "STATE DIGESTS DIFFER\n",
        (false, false) => "the nodes' digests have no index in common yet\n",
        (true, false) => "",
    };
    let webhooks = match said.webhooks_equal {
        true => String::new(),
        false => human_receivers(said.nodes.iter().filter_map(|node| node.status.as_ref()).filter_map(told)),
    };
    let counts =
        said.nodes.iter().find_map(|node| node.status.as_ref()).map_or_else(String::new, human_counts);
    format!("{head}{leader}{table}{digests}{webhooks}{trouble}{counts}")
}

/// Whom a node would tell, and its name; none of an older node, which does not say.
fn told(status: &Status) -> Option<(u32, &str)> {
    Some((status.webhook_receivers?, &status.name))
}

/// Which nodes would tell the same receivers.
fn human_receivers<'a>(told: impl Iterator<Item = (u32, &'a str)>) -> String {
    let mut alike: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (receivers, node) in told {
        alike.entry(receivers).or_default().push(node);
    }
    let groups: Vec<String> = alike.values().map(|names| names.join(", ")).collect();
    format!(
        "WEBHOOKS DIFFER between {}: another leader would tell others; give every node the same [[webhooks]]\n",
        groups.join(" and ")
    )
}

fn human_counts(status: &Status) -> String {
    let counts = &status.counts;
    let legitimacy: Vec<_> =
        counts.legitimacy.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let flags: Vec<_> = counts.flags.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let of_them = if legitimacy.is_empty() { String::new() } else { format!(" ({})", legitimacy.join(", ")) };
    format!(
        "devices: {}{of_them}\nheartbeats: {}\nopen flags: {}\n",
        counts.burned,
        counts.heartbeats,
        if flags.is_empty() { "none".to_owned() } else { flags.join(", ") }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_a_cluster_that_cannot_decide_from_one_that_must_be_looked_at() {
        let well = Verdict { anybody: true, leader: true, differ: false, runs: true };
        let code = |verdict: Verdict| verdict.trouble().map(|(code, _)| code);
        assert_eq!(code(well), None);
        assert_eq!(code(Verdict { differ: true, ..well }), Some(NOT_HELD));
        assert_eq!(code(Verdict { runs: false, ..well }), Some(NOT_HELD));
        assert_eq!(code(Verdict { leader: false, runs: false, ..well }), Some(UNREACHABLE));
        assert_eq!(code(Verdict { anybody: false, leader: false, ..well }), Some(UNREACHABLE));
    }

    #[test]
    fn digests_differ_at_one_index_of_one_level_and_not_because_none_is_in_common() {
        let at = |level, index, byte| DigestAt { level, index, digest: projector::StateDigest([byte; 32]) };
        assert!(!differ([at(6, 64, 1), at(6, 64, 1), at(6, 128, 2)].iter()));
        assert!(!differ([at(5, 64, 1), at(6, 64, 2)].iter()), "an upgrade is under way");
        assert!(differ([at(6, 64, 1), at(6, 128, 2), at(6, 128, 3)].iter()));
    }

    #[test]
    fn nodes_that_would_tell_other_receivers_are_named_by_whom_they_agree_with() {
        let alike = [(7, "node-1"), (7, "node-2")];
        assert!(tell_the_same(alike.into_iter()) && tell_the_same(std::iter::empty()));
        let differing = [(7, "node-1"), (0, "node-2"), (7, "node-3")];
        assert!(!tell_the_same(differing.into_iter()));
        let said = human_receivers(differing.into_iter());
        assert!(said.starts_with("WEBHOOKS DIFFER between node-2 and node-1, node-3:"), "{said}");
    }
}
