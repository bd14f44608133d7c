//! How long a node with a large history takes to be back in service.
//!
//! ```text
//!   `muster log make` ─▶ log ─▶ folded up to its last snapshot ─▶ snapshot kept, as a node keeps it
//!                                                                        │
//!   the clock starts ─▶ open: log, snapshot, fold ─▶ run: the entries after the snapshot ─▶ it leads: the clock stops
//! ```
//!
//! The node is the only member of its cluster, so that nothing but its own disk and fold is waited for. Its files are in
//! the page cache, as after a crash of the process; sockets, TLS and NATS are left out.

use super::machine::Machine;
use super::replay;
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use events::ids::NodeId;
use events::keyring::Keyring;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use nodes::clock::SystemClock;
use nodes::config::NodeConfig;
use nodes::entropy::OsEntropy;
use nodes::node::core::{Core, CoreDeps, LOG_FOLDER, SNAPSHOT_FOLDER};
use nodes::peers::{PeerAddress, PeerError, PeerReply, PeerRequest, PeerTransport};
use nodes::raft::leadership::LeadershipWatch;
use nodes::raft::snapshot::{FileShelf, Snapshot, SnapshotShelf};
use nodes::raft::snapshot_bytes::SnapshotBytes;
use nodes::raft::tree::with_frontier;
use nodes::raft::types::{Membership, PeerNode, SnapshotMeta, StoredMembership, log_id};
use nodes::storage::archive::Archive;
use nodes::storage::disk::OsDisk;
use nodes::storage::snapshot_file::{SnapshotFiles, SnapshotOptions};
use ops::cluster::{ClusterPlan, NatsAccess, NodePlan, init};
use ops::offline::{Fold, Moment, open_logs, read_keyring};
use ops::spent::memory_bytes;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const NODE: NodeId = 1;
const NAME: &str = "node-1";
const REGION: &str = "home";
const ADDRESS: &str = "nobody:1";
/// In which certificates begin that nobody will look at.
const YEAR: i32 = 2026;

/// How much history there is.
#[derive(Clone, Debug)]
pub struct RestartPlan {
    pub muster: PathBuf,
    pub devices: u32,
    pub heartbeats: u64,
    /// Entries since the last snapshot: a node makes one every 5,000 by default.
    pub behind: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct RestartReport {
    #[serde(flatten)]
    machine: Machine,
    pub devices: u32,
    pub heartbeats: u64,
    pub log_bytes: u64,
    pub snapshot_bytes: u64,
    /// Folded after the snapshot.
    pub entries_behind: u64,
    /// Until log and snapshot are read and the fold stands.
    pub open_seconds: f64,
    /// Until the node leads and has applied all that was committed.
    pub in_service_seconds: f64,
    pub memory_bytes: u64,
}

/// Makes the history and restarts a node on it. `say` tells people what is going on.
pub async fn run(plan: &RestartPlan, say: &dyn Fn(&str)) -> Result<RestartReport> {
    let dir = replay::own_directory()?;
    let data = dir.path().join("data");
    say(&format!("making a log of {} devices and {} heartbeats", plan.devices, plan.heartbeats));
    let log = replay::make_log(&plan.muster, plan.devices, plan.heartbeats, 256, &data)?;
    let keyring = Arc::new(read_keyring(&log.keyring)?);
    say("folding it up to its last snapshot");
    let stands_at = log.last.saturating_sub(plan.behind);
    let (kept, snapshot_bytes) = {
        let (data, keyring) = (data.clone(), keyring.clone());
        tokio::task::spawn_blocking(move || keep_snapshot(&data, &keyring, stands_at)).await??
    };
    say(&format!("restarting a node with {} entries after its snapshot", log.last - kept));

    let config = Arc::new(config(dir.path(), &data, &keyring)?);
    let began = Instant::now();
    let core = Core::open(CoreDeps {
        config,
        keyring,
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(OsEntropy),
        disk: Arc::new(OsDisk),
        transport: Arc::new(NoPeers),
        measures: Arc::default(),
    })
    .await?;
    let open_seconds = began.elapsed().as_secs_f64();
    core.run();
    let leads = LeadershipWatch::start(core.raft()).leads().await;
    let in_service_seconds = began.elapsed().as_secs_f64();
    let applied = core.projector().read(|fold| fold.applied());
    ensure!(
        leads && applied > log.last,
        "the node leads at entry {applied}, but its log ends with {}",
        log.last
    );
    let memory_bytes = memory_bytes().context("the kernel does not tell our memory")?;
    core.close().await?;
    Ok(RestartReport {
        machine: Machine::this(),
        devices: plan.devices,
        heartbeats: plan.heartbeats,
        log_bytes: log.bytes,
        snapshot_bytes,
        entries_behind: log.last - kept,
        open_seconds,
        in_service_seconds,
        memory_bytes,
    })
}

/// What a node would have done at this entry. Its index, and how many bytes its state has.
fn keep_snapshot(data: &Path, keyring: &Keyring, at: u64) -> Result<(u64, u64)> {
    let mut fold = Fold::new(open_logs(&[data.to_path_buf()], keyring)?);
    let mut last = None;
    while let Some(folded) = fold.next_up_to(Moment::Index(at))? {
        last = Some((folded.term, folded.index));
    }
    let (term, applied) = last.context("the log holds no entry")?;
    let keys = || keyring.segment_keys().context("the keyring's keys for segments");
    let frontier = Archive::new(Arc::new(OsDisk), vec![data.join(LOG_FOLDER)], keys()?).frontier(applied)?;
    let state = with_frontier(fold.projector().freeze().to_snapshot(), frontier.as_ref());
    let bytes = state.len() as u64;
    let member =
        PeerNode { peers_address: ADDRESS.to_owned(), name: NAME.to_owned(), region: REGION.to_owned() };
    let membership = Membership::new(vec![BTreeSet::from([NODE])], BTreeMap::from([(NODE, member)]))?;
    let options = SnapshotOptions {
        dir: data.join(SNAPSHOT_FOLDER),
        cluster: keyring.cluster,
        node: NODE,
        keys: keys()?,
        reserve_bytes: 0,
    };
    let shelf = FileShelf(SnapshotFiles::open(Arc::new(OsDisk), Arc::new(OsEntropy), options)?);
    shelf.keep(&Snapshot {
        meta: SnapshotMeta {
            last_log_id: Some(log_id(term, applied)),
            last_membership: StoredMembership::new(Some(log_id(0, 0)), membership),
        },
        data: SnapshotBytes::Here(Bytes::from(state)),
    })?;
    Ok((applied, bytes))
}

impl RestartReport {
    #[must_use]
    pub fn text(&self) -> String {
        let RestartReport { devices, heartbeats, entries_behind, open_seconds, in_service_seconds, .. } =
            self;
        format!(
            "{}\n\n{devices} devices, {heartbeats} heartbeats, {} MB of log, {} MB of snapshot, {entries_behind} entries after it\n\
             open after {open_seconds:.2} s, in service after {in_service_seconds:.2} s, {} MB of memory",
            self.machine,
            self.log_bytes / 1_000_000,
            self.snapshot_bytes / 1_000_000,
            self.memory_bytes / 1_000_000,
        )
    }
}

/// There is nobody else.
struct NoPeers;

impl PeerTransport for NoPeers {
    fn call<'a>(
        &'a self,
        to: &'a PeerAddress,
        _: PeerRequest,
        _: Duration,
    ) -> BoxFuture<'a, Result<PeerReply, PeerError>> {
        let error = PeerError::Unreachable { node: to.node, why: String::from("there are no peers") };
        std::future::ready(Err(error)).boxed()
    }
}

/// As `muster cluster init` writes it, but for whose data it is.
fn config(dir: &Path, data: &Path, keyring: &Keyring) -> Result<NodeConfig> {
    let region = REGION.parse().context("a fixed name")?;
    let node = NodePlan { id: NODE, region, host: String::from("127.0.0.1"), peers_port: 1, api_port: 2 };
    let plan = ClusterPlan {
        nodes: vec![node],
        nats: NatsAccess { urls: vec![String::from("nats://127.0.0.1:4222")], login: None, authority: None },
        terminal_nats: vec![],
        heartbeat_millis: 60_000,
    };
    let files = init(&dir.join("cluster"), &plan, &OsEntropy, YEAR)?;
    let written = NodeConfig::load(files.node_configs.first().context("a cluster without nodes")?)?;
    Ok(NodeConfig { cluster: keyring.cluster, data_directory: data.to_path_buf(), ..written })
}
