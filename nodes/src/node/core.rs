//! The part of a node that needs no sockets: disk, fold, raft, and who watches over them. Everything it says to other
//! members goes through a [`PeerTransport`], everything they say comes through its [`PeerService`].

use super::NodeError;
use super::addresses::AsConfigured;
use super::backfill::Backfilling;
use super::doubts::Doubts;
use super::form::form_cluster;
use super::last_words::LastWords;
use super::mending::Mending;
use super::opening::{archive, log_options, open_disk, segment_keys};
use super::refold;
use super::retention::Retaining;
use super::room::{Room, RoomWatch};
use super::scrubbing::Scrubbing;
use super::vouching::Vouching;
use crate::clock::Clock;
use crate::config::NodeConfig;
use crate::entropy::Entropy;
use crate::leader::automation::AutomationSwitch;
use crate::leader::clock_guard::ClockGuard;
use crate::leader::duties::Duties;
use crate::leader::levels::{LEVELS_FILE, MemberLevels};
use crate::leader::notary::Notary;
use crate::leader::rewrap::Rewrapper;
use crate::leader::serving::Serving;
use crate::leader::transfer;
use crate::leader::watchman::Watchman;
use crate::peers::watch::{PeerReports, PeerWatch};
use crate::peers::{PeerAddress, PeerService, PeerTransport};
use crate::proposer::{Proposer, ProposerDeps};
use crate::raft::MusterRaft;
use crate::raft::inbound::Inbound;
use crate::raft::leadership::LeadershipWatch;
use crate::raft::log_store::LogStore;
use crate::raft::network::Network;
use crate::raft::purging::{Purging, Transfers};
use crate::raft::receive::Receiver;
use crate::raft::settings::settings;
use crate::raft::snapshotting::{Grown, Snapshotting};
use crate::shared_projector::SharedProjector;
use crate::storage::archive::Archive;
use crate::storage::backfill::BackfillPlace;
use crate::storage::disk::Disk;
use crate::storage::error::Poisoned;
use crate::storage::gaps::{BACKFILL_FOLDER, GapBook};
use crate::storage::scrub::Scrub;
use crate::telemetry::measures::Measures;
use crate::webhooks::{CURSORS_FILE, Cursors, WebhookDeps, WebhookReadings, Webhooks};
use events::keyring::Keyring;
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use projector::Projector;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The folder of the log within the data directory.
pub const LOG_FOLDER: &str = "log";
/// The folder of snapshots within the data directory.
pub const SNAPSHOT_FOLDER: &str = "snapshots";

/// A peer must have entries on its disk within this time, in milliseconds, however short the election timeout is.
const APPEND_MS_MIN: u64 = 2_000;

#[derive(Clone)]
pub struct CoreDeps {
    pub config: Arc<NodeConfig>,
    pub keyring: Arc<Keyring>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub disk: Arc<dyn Disk>,
    pub transport: Arc<dyn PeerTransport>,
    pub measures: Arc<Measures>,
}

pub struct Core {
    config: Arc<NodeConfig>,
    raft: MusterRaft,
    leadership: LeadershipWatch,
    store: LogStore,
    projector: SharedProjector,
    proposer: Proposer,
    receiver: Arc<Receiver>,
    watch: PeerWatch,
    transport: Arc<dyn PeerTransport>,
    clock_guard: Arc<ClockGuard>,
    automation: AutomationSwitch,
    notary: Arc<Notary>,
    keyring: Arc<Keyring>,
    entropy: Arc<dyn Entropy>,
    /// Beside the one that peers read, so that neither moves the other's place.
    history: Arc<Archive>,
    serving: watch::Sender<bool>,
    transfers: Transfers,
    grown: Grown,
    /// Run until the core is closed or dropped.
    tasks: Mutex<JoinSet<()>>,
    /// The first watcher that ended although it never should.
    ended: watch::Sender<Option<&'static str>>,
    gaps: Arc<GapBook>,
    /// Taken when the core runs.
    backfilling: Mutex<Option<Backfilling>>,
    webhooks: Mutex<Option<Webhooks>>,
    webhook_readings: WebhookReadings,
    retaining: Mutex<Option<Retaining>>,
    scrubbing: Mutex<Option<Scrubbing>>,
    room: watch::Sender<Room>,
    disk: Arc<dyn Disk>,
}

impl Core {
    /// Opens the disk and recovers the state; nothing is said to other members before [`Core::run`].
    pub async fn open(deps: CoreDeps) -> Result<Self, NodeError> {
        let CoreDeps { config, keyring, clock, entropy, disk, transport, measures } = deps;
        let transport: Arc<dyn PeerTransport> = Arc::new(AsConfigured::new(transport, &config.members));
        let projector = SharedProjector::measured(Projector::new(), measures.clone());
        let keys = segment_keys(&config, &keyring)?;
        let history = Arc::new(archive(&config, &keyring, disk.clone())?);
        let (log, machine, shelf, gaps) = open_disk(
            &config,
            history.clone(),
            keys.clone(),
            disk.clone(),
            entropy.clone(),
            projector.clone(),
            measures.clone(),
        )
        .await?;
        let machine = refold::from_peers(machine, &*transport, &config, &*entropy).await?;
        let machine = refold::check_state(&config, history.clone(), &log, machine, &gaps).await?;
        let store = LogStore::new(log).noting(gaps.clone());
        let retaining = Retaining::of(&config, &keys, &disk, &clock, &measures, &gaps);
        let room = watch::Sender::new(Room::unknown(config.limits.disk_reserve_bytes));
        let own_log = log_options(&config, segment_keys(&config, &keyring)?);
        let backfill_dir = config.data_directory.join(BACKFILL_FOLDER);
        let vouching = Vouching {
            gaps: gaps.clone(),
            history: history.clone(),
            projector: projector.clone(),
            cluster: config.cluster,
            checkpoint_key: keyring.checkpoint_key.public(),
        };
        let backfilling = Backfilling {
            transport: transport.clone(),
            peers: peers_of(&config),
            place: BackfillPlace::new(disk.clone(), entropy.clone(), &own_log, backfill_dir),
            gaps: gaps.clone(),
            room: room.subscribe(),
            vouching: vouching.clone(),
            measures: measures.clone(),
            doubts: Doubts::default(),
        };
        let webhook_disk = disk.clone();
        let scrub = |folder, keys| {
            let (disk, dir) = (disk.clone(), config.data_directory.join(folder));
            Arc::new(Scrub { disk, dir, keys })
        };
        let own = scrub(LOG_FOLDER, segment_keys(&config, &keyring)?);
        let mending = Mending {
            own: own.clone(),
            log: store.log().clone(),
            transport: transport.clone(),
            peers: peers_of(&config),
            entropy: entropy.clone(),
            room: room.subscribe(),
            vouching,
            doubts: Doubts::default(),
        };
        let scrubbing = Scrubbing {
            fetched: scrub(BACKFILL_FOLDER, segment_keys(&config, &keyring)?),
            own,
            log: store.log().clone(),
            gaps: gaps.clone(),
            measures: measures.clone(),
            mending,
            snapshots: shelf.clone(),
        };
        let archive = archive(&config, &keyring, disk.clone())?;
        let timers = &config.raft;
        let transfers = Transfers::default();
        let network = Network {
            own: config.node,
            transport: transport.clone(),
            append_within: Duration::from_millis(timers.election_ms_max.max(APPEND_MS_MIN)),
            transfers: transfers.clone(),
        };
        let settings = settings(config.cluster, timers).map_err(|e| NodeError::Timers(e.to_string()))?;
        let grown = machine.grown();
        let raft = MusterRaft::build(config.node, settings, network, store.clone(), machine)
            .await
            .map_err(|e| NodeError::Recovery(e.to_string()))?;

        let leadership = LeadershipWatch::start(&raft);
        let clock_guard = Arc::new(ClockGuard::new(clock.clone(), config.members.len()));
        let proposer = Proposer::new(
            ProposerDeps {
                node: config.node,
                raft: raft.clone(),
                projector: projector.clone(),
                transport: transport.clone(),
                clock_guard: clock_guard.clone(),
                within: Duration::from_millis(timers.proposal_ms_max),
                attempt_within: Duration::from_millis(timers.election_ms_max.max(timers.proposal_ms_max / 5)),
            },
            entropy.as_ref(),
        );
        let watch = PeerWatch::start(peers_of(&config), transport.clone(), clock.clone());
        let webhook_cursors =
            Arc::new(Cursors::open(webhook_disk, config.data_directory.join(CURSORS_FILE))?);
        let webhooks = Webhooks::new(WebhookDeps {
            cluster: config.cluster,
            hooks: config.webhooks.clone(),
            leadership: leadership.clone(),
            projector: projector.clone(),
            cursors: webhook_cursors.clone(),
            transport: transport.clone(),
            peers: peers_of(&config),
            clock: clock.clone(),
            entropy: entropy.clone(),
        })?;
        let heard = config.data_directory.join(LEVELS_FILE);
        let levels = MemberLevels::open(peers_of(&config).iter().map(|peer| peer.node), disk.clone(), heard)?;
        let serving = watch::Sender::new(false);
        let notary = Notary {
            cluster: config.cluster,
            key: keyring.checkpoint_key.clone(),
            projector: projector.clone(),
            proposer: proposer.clone(),
            levels: Arc::new(levels),
            serving: serving.subscribe(),
        };
        let receiver = Receiver {
            raft: raft.clone(),
            proposer: proposer.clone(),
            projector: projector.clone(),
            clock,
            clock_guard: clock_guard.clone(),
            reports: watch.reports(),
            inbound: Inbound::new(shelf),
            log: store.log().clone(),
            archive: Arc::new(archive),
            webhook_cursors,
        };
        Ok(Core {
            room,
            disk,
            config,
            raft,
            leadership,
            store,
            projector,
            proposer,
            receiver: Arc::new(receiver),
            watch,
            transport,
            clock_guard,
            automation: AutomationSwitch::default(),
            notary: Arc::new(notary),
            keyring,
            entropy,
            history,
            serving,
            transfers,
            grown,
            tasks: Mutex::default(),
            ended: watch::Sender::new(None),
            gaps,
            backfilling: Mutex::new(Some(backfilling)),
            webhook_readings: webhooks.readings(),
            webhooks: Mutex::new(Some(webhooks)),
            retaining: Mutex::new(retaining),
            scrubbing: Mutex::new(Some(scrubbing)),
        })
    }

    /// Lets raft and its watchers run.
    pub fn run(&self) {
        self.raft.run();
        let mut tasks = self.tasks.lock();
        tasks.spawn(form_cluster(self.raft.clone(), self.config.clone(), self.reports()));
        let watchman = Watchman {
            raft: self.raft.clone(),
            projector: self.projector.clone(),
            clock_guard: self.clock_guard.clone(),
            automation: self.automation.clone(),
            reports: self.reports(),
            levels: self.notary.levels.clone(),
            cluster: self.config.cluster,
            checkpoint_key: self.notary.key.public(),
        };
        tasks.spawn(self.must_not_end("watchman", watchman.run()));
        let serving = Serving {
            raft: self.raft.clone(),
            leadership: self.leadership.clone(),
            clock_guard: self.clock_guard.clone(),
            reports: self.reports(),
            room: self.room(),
            applied: self.projector.applied(),
            quorum_within: Duration::from_millis(2 * self.config.raft.election_ms_max),
        };
        tasks.spawn(self.must_not_end("serving", serving.run(self.serving.clone())));
        let purging = Purging {
            raft: self.raft.clone(),
            transfers: self.transfers.clone(),
            keep_entries: self.config.raft.keep_entries,
        };
        tasks.spawn(self.must_not_end("purging", purging.run()));
        let snapshotting = Snapshotting {
            raft: self.raft.clone(),
            grown: self.grown.clone(),
            entries: self.config.raft.snapshot_entries,
        };
        tasks.spawn(self.must_not_end("snapshots", snapshotting.run()));
        let duties = Duties {
            leadership: self.leadership.clone(),
            proposer: self.proposer.clone(),
            projector: self.projector.clone(),
            automation: self.automation.clone(),
            cluster: self.config.cluster,
            heartbeat_millis: self.config.limits.heartbeat_ms,
            notary: self.notary.clone(),
            rewrapper: Rewrapper {
                keyring: self.keyring.clone(),
                entropy: self.entropy.clone(),
                projector: self.projector.clone(),
                proposer: self.proposer.clone(),
            },
            checkpoint_every: (self.config.limits.checkpoint_ms > 0)
                .then(|| Duration::from_millis(self.config.limits.checkpoint_ms)),
        };
        tasks.spawn(self.must_not_end("duties", duties.run()));
        if let Some(backfilling) = self.backfilling.lock().take() {
            tasks.spawn(self.must_not_end("backfill", backfilling.run()));
        }
        if let Some(webhooks) = self.webhooks.lock().take() {
            tasks.spawn(self.must_not_end("cursors of webhooks", webhooks.keep_cursors()));
            tasks.spawn(self.must_not_end("webhooks", webhooks.run()));
        }
        let (disk, dir) = (self.disk.clone(), self.config.data_directory.clone());
        tasks.spawn(self.must_not_end("room", RoomWatch { disk, dir, room: self.room.clone() }.run()));
        if let Some(scrubbing) = self.scrubbing.lock().take() {
            // It ends with a check that is told to stop, or with the process.
            tasks.spawn(scrubbing.run());
        }
        if let Some(retaining) = self.retaining.lock().take() {
            tasks.spawn(self.must_not_end("retention", retaining.run()));
        }
    }

    /// A watcher that ends or panics ends the node: a leader without its duties looks healthy and is not.
    fn must_not_end(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let last_words = LastWords { name, ended: self.ended.clone() };
        async move {
            let _last_words = last_words;
            task.await;
        }
    }

    /// What answers the other members.
    #[must_use]
    pub fn receiver(&self) -> Arc<dyn PeerService> {
        self.receiver.clone()
    }

    #[must_use]
    pub fn raft(&self) -> &MusterRaft {
        &self.raft
    }

    #[must_use]
    pub fn projector(&self) -> &SharedProjector {
        &self.projector
    }

    #[must_use]
    pub fn proposer(&self) -> &Proposer {
        &self.proposer
    }

    /// The wire to the other members, each at its configured address.
    #[must_use]
    pub fn transport(&self) -> Arc<dyn PeerTransport> {
        self.transport.clone()
    }

    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Arc<PeerReports>> {
        self.watch.reports()
    }

    /// Whether what this node takes in can be committed now.
    #[must_use]
    pub fn serving(&self) -> watch::Receiver<bool> {
        self.serving.subscribe()
    }

    /// How much room is left to the log.
    #[must_use]
    pub fn room(&self) -> watch::Receiver<Room> {
        self.room.subscribe()
    }

    /// What this node's log lacks of history.
    #[must_use]
    pub fn gaps(&self) -> &Arc<GapBook> {
        &self.gaps
    }

    /// How deliveries to webhooks go.
    #[must_use]
    pub fn webhook_readings(&self) -> &WebhookReadings {
        &self.webhook_readings
    }

    #[must_use]
    pub fn automation(&self) -> &AutomationSwitch {
        &self.automation
    }

    /// The history on this node's disk.
    #[must_use]
    pub fn history(&self) -> &Arc<Archive> {
        &self.history
    }

    /// Who signs the head of the log.
    #[must_use]
    pub fn notary(&self) -> &Arc<Notary> {
        &self.notary
    }

    #[must_use]
    pub fn clock_guard(&self) -> &Arc<ClockGuard> {
        &self.clock_guard
    }

    /// Resolves once storage, raft or a watcher failed.
    pub async fn failed(&self) -> NodeError {
        let (mut leadership, mut ended) = (self.leadership.clone(), self.ended.subscribe());
        // The cause before what it causes: a poisoned disk stops raft, and that ends the watchers.
        tokio::select! {
            biased;
            poisoned = self.store.log().poison().failed() => match &poisoned {
                Poisoned::Failed(_) => NodeError::DiskFailed(poisoned.to_string()),
                Poisoned::Condemned(_) => NodeError::Condemned(poisoned.to_string()),
            },
            () = leadership.ended() => {
                let last_words = self.raft.metrics().borrow_watched().running_state.clone();
                NodeError::Failed(last_words.map_or_else(|e| e.to_string(), |()| "raft stopped".to_owned()))
            }
            Ok(name) = ended.wait_for(Option::is_some) => {
                NodeError::Failed(format!("{} ended, which it must not; see the log above", name.unwrap_or("a task")))
            }
        }
    }

    /// Hands the leadership over, if this node has it and there is somebody to take it.
    pub async fn step_down(&self, within: Duration) {
        let reports = self.reports().borrow().clone();
        if self.raft.is_leader() && !transfer::step_down(&self.raft, &reports, within).await {
            tracing::warn!("stopping as leader: nobody took over in time");
        }
    }

    /// Stops raft and closes the disk.
    pub async fn close(self) -> Result<(), NodeError> {
        self.tasks.lock().abort_all();
        let stopped = self.raft.shutdown().await;
        self.store.close().await.map_err(NodeError::io)?;
        stopped.map_err(|e| NodeError::Failed(e.to_string()))
    }
}

pub(super) fn peers_of(config: &NodeConfig) -> Vec<PeerAddress> {
    let others = config.members.iter().filter(|member| member.id != config.node);
    others.map(|member| PeerAddress { node: member.id, address: member.address.clone() }).collect()
}
