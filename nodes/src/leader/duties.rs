//! What only a leader does, and every node is ready to do: it ticks when nothing else happens, orders what the fold
//! wants, and names the cluster in its first event.
//!
//! Everything it proposes goes through the same door as what a person or a terminal causes; the fold drops what is
//! proposed twice, so a leader that does not know what its predecessor did simply does it again.

use super::automation::AutomationSwitch;
use crate::proposer::Proposer;
use crate::raft::MusterRaft;
use crate::raft::leadership::Leadership;
use crate::shared_projector::{Caused, SharedProjector};
use events::ids::ClusterId;
use events::limits::BATCH_EVENTS_MAX;
use events::vocabulary::{ClusterCreated, Event, OperationOrdered, Tick};
use openraft::async_runtime::watch::WatchReceiver;
use projector::{Effect, WantOperation};
use std::time::Duration;
use tokio::sync::broadcast;

/// A tick is committed when nothing else was for this long, so that timers run.
pub const TICK_AFTER: Duration = Duration::from_secs(1);

pub struct Duties {
    pub raft: MusterRaft,
    pub proposer: Proposer,
    pub projector: SharedProjector,
    pub automation: AutomationSwitch,
    pub cluster: ClusterId,
    /// The interval that the first event grants, in milliseconds.
    pub heartbeat_millis: u32,
}

impl Duties {
    /// Waits to lead, and leads until another does; for ever.
    pub async fn run(self) {
        loop {
            let wait = self.raft.wait(None);
            let leads = wait.metrics(
                |metrics| matches!(Leadership::of(metrics), Leadership::Here { .. }),
                "this node leads and knows all that was committed",
            );
            if leads.await.is_err() {
                return;
            }
            tracing::info!("this node leads");
            self.lead().await;
            tracing::info!("this node does not lead any more");
        }
    }

    async fn lead(&self) {
        let mut effects = self.projector.effects();
        let mut applied = self.projector.applied();
        let mut server = self.raft.server_metrics();
        self.name_the_cluster().await;
        self.order(self.projector.read(|fold| fold.wanted_operations())).await;
        loop {
            if !Leadership::now(&self.raft).is_here() {
                return;
            }
            tokio::select! {
                caused = effects.recv() => self.order(self.wanted(caused)).await,
                moved = tokio::time::timeout(TICK_AFTER, applied.changed()) => match moved {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    Err(_idle) => self.tick().await,
                },
                changed = server.changed() => if changed.is_err() { return },
            }
        }
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

    fn wanted(&self, caused: Result<Caused, broadcast::error::RecvError>) -> Vec<WantOperation> {
        match caused {
            Ok(Caused { effect: Effect::Want(wanted), .. }) => vec![wanted],
            Ok(Caused { effect: Effect::Dispatch { .. } | Effect::Notice(_), .. }) => Vec::new(),
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
