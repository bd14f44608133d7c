//! What only a leader does, and every node is ready to do: it ticks when nothing else happens, orders what the fold
//! wants, names the cluster in its first event, has the head of the log signed at an interval,
//! and wraps secrets anew under a newer key.
//!
//! Everything it proposes goes through the same door as what a person or a terminal causes; the fold drops what is
//! proposed twice, so a leader that does not know what its predecessor did simply does it again.

use super::automation::AutomationSwitch;
use super::notary::Notary;
use super::rewrap::{self, Rewrapper};
use crate::proposer::Proposer;
use crate::raft::leadership::LeadershipWatch;
use crate::shared_projector::{Caused, SharedProjector};
use events::ids::{ClusterId, LogIndex, Slot};
use events::limits::BATCH_EVENTS_MAX;
use events::vocabulary::{ClusterCreated, Event, OperationOrdered, Tick};
use projector::{Effect, WantOperation};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// A tick is committed when nothing else was for this long, so that timers run.
pub const TICK_AFTER: Duration = Duration::from_secs(1);
/// How often a leader looks whether anything was committed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A checkpoint that could not be made is tried again after this long.
const CHECKPOINT_AGAIN_AFTER: Duration = Duration::from_secs(1);

pub struct Duties {
    pub leadership: LeadershipWatch,
    pub proposer: Proposer,
    pub projector: SharedProjector,
    pub automation: AutomationSwitch,
    pub cluster: ClusterId,
    /// The interval that the first event grants, in milliseconds.
    pub heartbeat_millis: u32,
    pub notary: Arc<Notary>,
    pub rewrapper: Rewrapper,
    /// A checkpoint is signed this often; none is never.
    pub checkpoint_every: Option<Duration>,
}

impl Duties {
    /// Waits to lead, and leads until another does; for ever.
    pub async fn run(mut self) {
        while self.leadership.leads().await {
            tracing::info!("this node leads");
            self.lead(self.leadership.clone()).await;
            tracing::info!("this node does not lead any more");
        }
    }

    async fn lead(&self, mut leadership: LeadershipWatch) {
        let mut effects = self.projector.effects();
        self.name_the_cluster().await;
        self.order(self.projector.read(|fold| fold.wanted_operations())).await;
        let mut checkpoint_due = self.checkpoint_due();
        let (mut rewrap_from, mut rewrap_at) = (0, Instant::now());
        // Looked at, not waited for: whoever waits for each entry is woken for each.
        let (mut applied, mut quiet_since) = (self.applied(), Instant::now());
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = until(Some(rewrap_at)) => {
                    let (from, rest) = self.rewrap(rewrap_from).await;
                    (rewrap_from, rewrap_at) = (from, Instant::now() + rest);
                }
                () = until(checkpoint_due) => {
                    self.sign().await;
                    checkpoint_due = self.checkpoint_due();
                }
                caused = effects.recv() => self.order(self.wanted(caused)).await,
                now = look.tick() => {
                    let before = std::mem::replace(&mut applied, self.applied());
                    if before != applied {
                        quiet_since = now;
                    } else if now.duration_since(quiet_since) >= TICK_AFTER {
                        self.tick().await;
                    }
                }
                _ = leadership.follows() => return,
            }
        }
    }

    fn applied(&self) -> LogIndex {
        self.projector.read(|fold| fold.applied())
    }

    /// The first event of every log.
    async fn name_the_cluster(&self) {
        if self.projector.read(|fold| fold.cluster().is_some()) {
            return;
        }
        let created =
            ClusterCreated { cluster: self.cluster, generation: 1, heartbeat_millis: self.heartbeat_millis };
        self.propose(vec![created.into()]).await;
    }

    async fn tick(&self) {
        // An order that was wanted and got lost on the way is found again here.
        self.name_the_cluster().await;
        let wanted = self.projector.read(|fold| fold.wanted_operations());
        if wanted.is_empty() || !self.automation.is_running() {
            self.propose(vec![Tick {}.into()]).await;
        } else {
            self.order(wanted).await;
        }
    }

    /// When the next checkpoint is due; a while from now at least, so that a refusal is not repeated without rest.
    fn checkpoint_due(&self) -> Option<Instant> {
        let every = self.checkpoint_every?;
        Some(Instant::now() + self.notary.due_within(every).max(every.min(CHECKPOINT_AGAIN_AFTER)))
    }

    /// One step from this slot on; where the next one begins, and how long until then.
    async fn rewrap(&self, from: Slot) -> (Slot, Duration) {
        if !self.notary.members_know() {
            return (from, rewrap::AGAIN_AFTER);
        }
        match self.rewrapper.step(from).await {
            Ok(Some(next)) => (next, rewrap::REST),
            Ok(None) => (0, rewrap::FROM_THE_FIRST_AFTER),
            Err(error) => {
                tracing::warn!(%error, "secrets were not wrapped anew");
                (from, rewrap::AGAIN_AFTER)
            }
        }
    }

    async fn sign(&self) {
        match self.notary.checkpoint().await {
            Ok(signed) => tracing::debug!(size = signed.size, index = signed.index, "signed a checkpoint"),
            Err(error) => tracing::warn!(%error, "no checkpoint was signed"),
        }
    }

    fn wanted(&self, caused: Result<Caused, broadcast::error::RecvError>) -> Vec<WantOperation> {
        match caused {
            Ok(Caused { effect: Effect::Want(wanted), .. }) => vec![wanted],
            Ok(Caused {
                effect: Effect::Dispatch { .. } | Effect::Notice(_) | Effect::Compare(_), ..
            }) => Vec::new(),
            // Some were missed: ask the fold for all.
            Err(_) => self.projector.read(|fold| fold.wanted_operations()),
        }
    }

    async fn order(&self, wanted: Vec<WantOperation>) {
        if !self.automation.is_running() {
            return;
        }
        for some in wanted.chunks(BATCH_EVENTS_MAX) {
            let orders = some.iter().map(|want| {
                let WantOperation { kind, device, cause, expires } = want.clone();
                OperationOrdered { kind, device, cause, expires }.into()
            });
            self.propose(orders.collect()).await;
        }
    }

    async fn propose(&self, events: Vec<Event>) {
        match self.proposer.propose_events(&events).await {
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a leader's own batch was not committed"),
        }
    }
}

/// Waits until then; for ever without a time.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
