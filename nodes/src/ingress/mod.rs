//! The way of every message through a node: from the bus into a batch, and from its outcome to an answer.
//!
//! ```text
//!   bus ─▶ membership ─▶ intake ─▶ received ─┬─ hello ──────▶ ticket
//!                          ▲                 ├─ heartbeat ──▶ sessions, judge ─┐
//!                          │                 ├─ resume ─────▶ open ────────────┤
//!                        parked ◀─ wait ─────┼─ activation ─▶ gates ─▶ pool ───┼─▶ queue ─▶ batcher ─▶ log
//!                                            └─ tamper ─────▶ mac ─────────────┤              │
//!                                 refused ──▶ rejections ──▶ window ───────────┘           outcomes
//!   bus ◀─ egress::outbox ◀──────────────────── verdicts, grants, refusals ◀─── settle ◀──────┘
//! ```
//!
//! | file | its one thing |
//! |---|---|
//! | `intake`, `membership` | the loop that takes bursts from the queue group, and leaves it when it must |
//! | `received` | subject, inbox and size, checked before anything is read |
//! | `hello`, `activation/`, `resume`, `heartbeat`, `tamper`, `update` | one kind of message each |
//! | `sessions`, `opened` | session keys that are ready, heartbeats that are opened |
//! | `buckets`, `update_budget`, `parked`, `pool` | who speaks too fast, who waits for this node, where P-384 runs |
//! | `rejections`, `window` | what an attack leaves in the log |
//! | `under_way`, `answered` | who waits for the same work, and what it gave, so that it is done once |
//! | `queue`, `batcher`, `settle` | natural batching, and answers from outcomes |
//! | `desk`, `counters`, `trace` | what all of them share |
//!
//! Invariant: no bytes from outside make a node panic, grow its log beyond summaries, or its memory beyond bounds.

mod activation;
mod answered;
pub mod batcher;
pub mod buckets;
mod counters;
mod desk;
mod dispatcher;
mod failures;
mod grant;
mod heartbeat;
mod hello;
mod intake;
mod membership;
mod opened;
mod parked;
mod pool;
mod queue;
mod received;
mod recent;
mod rejections;
mod resume;
mod sessions;
mod settle;
mod tamper;
#[doc(hidden)]
pub mod testing;
mod trace;
mod under_way;
mod update;
mod update_budget;
mod window;

pub use batcher::Propose;
pub use counters::{IngressCounters, IngressLevels};

use self::buckets::Rate;
use self::failures::FAILURES;
use crate::bus::{Bus, Outgoing};
use crate::clock::Clock;
use crate::config::Limits;
use crate::egress::Outbox;
use crate::entropy::Entropy;
use crate::shared_projector::SharedProjector;
use answered::Answered;
use batcher::{Batcher, LogAccess};
use counters::Counters;
use desk::Desk;
use events::ids::NodeId;
use events::keyring::Keyring;
use events::limits::REJECTION_WINDOW_MILLIS;
use intake::{Intake, Signals};
use parked::Until;
use parking_lot::Mutex;
use pool::Pool;
use queue::QueueLimits;
use received::Received;
use recent::RecentDigests;
use rejections::RejectionCounts;
use settle::Answers;
use std::sync::Arc;
use std::time::Duration;
use tamper::TamperBook;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use under_way::UnderWay;

/// Refused activations that this node remembers, so that each counts as one guess.
const TRANSCRIPTS_KEPT: usize = 8_192;

/// Each step of an orderly end takes at most so long: longer than a proposal may.
const STEP_WITHIN: Duration = Duration::from_secs(8);

/// What ingress stands on.
pub struct IngressDeps {
    pub bus: Arc<dyn Bus>,
    pub projector: SharedProjector,
    pub log: Arc<dyn Propose>,
    pub keyring: Arc<Keyring>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub node: NodeId,
    pub limits: IngressLimits,
    /// Whether this node can commit. While it cannot, it is not in the queue group.
    pub serving: watch::Receiver<bool>,
}

/// Bounds of what is taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressLimits {
    /// Heartbeats that wait for the next batch.
    pub queue_messages: usize,
    /// Messages of one source that wait for this node to catch up.
    pub parked_per_source: usize,
    /// Threads on which P-384 runs.
    pub activations_parallel: usize,
    /// Activations that wait for them; each is refused as `UNAVAILABLE` above.
    pub activations_waiting: usize,
    /// Sessions whose keys are kept ready, about 2 KiB each; as many again may be half forgotten.
    pub sessions_kept: usize,
    /// What may come of one source without being authentic before it is tried no more.
    pub failures: Rate,
    /// Refusals are summed up over so long.
    pub window: Duration,
}

impl From<&Limits> for IngressLimits {
    fn from(limits: &Limits) -> Self {
        IngressLimits {
            queue_messages: limits.queue_messages,
            parked_per_source: limits.parked_per_source,
            activations_parallel: limits.activations_parallel,
            activations_waiting: 256 * limits.activations_parallel,
            sessions_kept: 131_072,
            failures: FAILURES,
            window: Duration::from_millis(REJECTION_WINDOW_MILLIS),
        }
    }
}

/// Ingress, not running yet.
pub struct Ingress;

/// A running ingress. Dropping it without [`IngressHandle::drain`] ends it without answering those who wait.
pub struct IngressHandle {
    desk: Arc<Desk>,
    joined: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    intake: JoinHandle<()>,
    window: JoinHandle<()>,
    batcher: JoinHandle<()>,
    outbox: JoinHandle<()>,
}

/// What admitting gave besides what the batch took.
#[derive(Default)]
struct Admitted {
    answers: Vec<Outgoing>,
    waiting: Vec<(Received, Until)>,
}

/// Whether a message that this node cannot judge yet goes on waiting (protocol.md rule 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    Waits,
    /// This node has applied all that was committed when the message came: now its judgement counts.
    CaughtUp,
    /// It waited long enough.
    Over,
}

impl Ingress {
    /// Starts to take messages, in the current tokio runtime.
    #[must_use]
    pub fn start(deps: IngressDeps) -> IngressHandle {
        let (outbox, writing) = Outbox::open(Arc::clone(&deps.bus));
        let (stop, stopped) = watch::channel(false);
        let limits = &deps.limits;
        let desk = Arc::new(Desk {
            node: deps.node,
            applied: deps.projector.applied(),
            projector: deps.projector.clone(),
            decoy: desk::make_decoy(&deps.keyring, &*deps.entropy),
            failures: failures::Failures::new(deps.limits.failures),
            lacking: Mutex::default(),
            keyring: deps.keyring,
            rejections: Mutex::new(RejectionCounts::new(deps.clock.now())),
            answered: Mutex::new(Answered::new()),
            activations_under_way: UnderWay::new(),
            resumes_under_way: UnderWay::new(),
            heartbeats_under_way: UnderWay::new(),
            tamper: Mutex::new(TamperBook::new()),
            refused_transcripts: Mutex::new(RecentDigests::new(TRANSCRIPTS_KEPT)),
            clock: Arc::clone(&deps.clock),
            entropy: Arc::clone(&deps.entropy),
            outbox,
            batcher: Batcher::new(QueueLimits::within_batch(limits.queue_messages)),
            engine: crate::crypto_engine::node_engine(),
            pool: Pool::new(limits.activations_parallel, limits.activations_waiting),
            counters: Counters::default(),
        });
        let boots = std::array::from_fn(|_| deps.entropy.number());
        let log = LogAccess { propose: deps.log, clock: deps.clock, node: deps.node, boots };
        let batcher = desk.batcher.run(log, Arc::new(Answers { desk: Arc::clone(&desk) }));
        let (is_member, joined) = watch::channel(false);
        let signals = Signals {
            serving: deps.serving,
            health: deps.bus.health(),
            applied: deps.projector.applied(),
            stop: stopped.clone(),
        };
        let intake = Intake::new(Arc::clone(&desk), deps.bus, limits, signals, is_member);
        IngressHandle {
            intake: tokio::spawn(intake.run()),
            window: tokio::spawn(window::run(Arc::clone(&desk), limits.window, stopped)),
            batcher,
            outbox: writing,
            joined,
            stop,
            desk,
        }
    }
}

impl IngressHandle {
    /// What happened since the start.
    #[must_use]
    pub fn counters(&self) -> IngressCounters {
        self.desk.read_counters()
    }

    /// Whether it is in the queue group with every kind of message.
    #[must_use]
    pub fn joined(&self) -> watch::Receiver<bool> {
        self.joined.clone()
    }

    /// A reader of the counters that outlives this handle's borrow.
    pub fn counters_reader(&self) -> impl Fn() -> IngressCounters + Send + Sync + 'static {
        let desk = Arc::downgrade(&self.desk);
        move || desk.upgrade().map(|desk| desk.read_counters()).unwrap_or_default()
    }

    /// The same for how full it is.
    pub fn levels_reader(&self) -> impl Fn() -> IngressLevels + Send + Sync + 'static {
        let desk = Arc::downgrade(&self.desk);
        move || desk.upgrade().map(|desk| desk.read_levels()).unwrap_or_default()
    }

    /// Leaves the queue group, answers everybody who was taken, and ends; within bounds even if bus or log hang.
    pub async fn drain(self) {
        self.stop.send_replace(true);
        let IngressHandle { desk, intake, window, batcher, outbox, stop: _stop, joined: _joined } = self;
        for task in [intake, window] {
            ended(task).await;
        }
        // Activations on the P-384 threads still go into a batch; grants come back to those threads.
        idle(&desk).await;
        desk.batcher.close();
        ended(batcher).await;
        idle(&desk).await;
        // The last handle of the outbox goes with the desk.
        drop(desk);
        ended(outbox).await;
    }
}

async fn idle(desk: &Arc<Desk>) {
    let desk = Arc::clone(desk);
    let waiting = tokio::task::spawn_blocking(move || desk.pool.wait_until_idle(STEP_WITHIN));
    if !waiting.await.unwrap_or(false) {
        tracing::warn!("P-384 work of this node did not end in time");
    }
}

async fn ended(mut task: JoinHandle<()>) {
    match timeout(STEP_WITHIN, &mut task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "a task of ingress did not end in order"),
        Err(_) => {
            task.abort();
            tracing::warn!("a task of ingress did not end in time");
        }
    }
}
