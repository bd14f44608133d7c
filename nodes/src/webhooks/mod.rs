//! What changed, told to other systems by HTTP: CloudEvents, signed, in the log's order, at least once.
//!
//! ```text
//!   feed (kept, then live) ──▶ courier, one per webhook, on the leader ──POST──▶ receiver
//!                                 │ delivered up to this log index
//!                                 ▼
//!                              cursors ──▶ a file of this node, and the peers' copies: the next leader goes on there
//! ```
//!
//! Invariants: the fold tells the feed and never waits, so a receiver that is slow or dead slows nobody but its own
//! courier; what waits for it is what the feed keeps, and what it missed is told in one event; an event keeps its id
//! however often and by whichever node it is sent.

mod counters;
mod courier;
mod cursors;
pub mod event;
mod receiver;
mod receivers_digest;
mod sharing;
mod signature;
#[cfg(test)]
mod tests;

pub use counters::{WebhookCounters, WebhookReading, WebhookReadings};
pub use cursors::{CURSORS_FILE, Cursors};
pub use receiver::{Answer, Receiver, ReceiverError};
pub use receivers_digest::receivers_digest;
pub use signature::{SigningSecret, UnfitSecret};

use crate::clock::Clock;
use crate::config::WebhookConfig;
use crate::entropy::Entropy;
use crate::peers::{PeerAddress, PeerTransport};
use crate::raft::leadership::LeadershipWatch;
use crate::shared_projector::SharedProjector;
use courier::Courier;
use events::ids::ClusterId;
use sharing::Sharing;
use std::sync::Arc;
use tokio::task::JoinSet;

/// What webhooks are made of.
pub struct WebhookDeps {
    pub cluster: ClusterId,
    pub hooks: Vec<WebhookConfig>,
    pub leadership: LeadershipWatch,
    pub projector: SharedProjector,
    pub cursors: Arc<Cursors>,
    pub transport: Arc<dyn PeerTransport>,
    pub peers: Vec<PeerAddress>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// All webhooks of one node; they run while it leads.
pub struct Webhooks {
    leadership: LeadershipWatch,
    projector: SharedProjector,
    cursors: Arc<Cursors>,
    sharing: Sharing,
    couriers: Vec<Courier>,
}

impl Webhooks {
    /// Refuses receivers to which nothing could be sent.
    pub fn new(deps: WebhookDeps) -> Result<Self, ReceiverError> {
        let WebhookDeps { cluster, hooks, leadership, projector, cursors, transport, peers, clock, entropy } =
            deps;
        let couriers = hooks.into_iter().map(|hook| {
            Ok(Courier {
                cluster,
                receiver: Arc::new(Receiver::open(&hook)?),
                counters: Arc::new(WebhookCounters::new(&hook.name)),
                hook: Arc::new(hook),
                projector: projector.clone(),
                cursors: cursors.clone(),
                clock: clock.clone(),
                entropy: entropy.clone(),
            })
        });
        let couriers = couriers.collect::<Result<_, ReceiverError>>()?;
        let sharing = Sharing { cursors: cursors.clone(), transport, peers };
        Ok(Webhooks { leadership, projector, cursors, sharing, couriers })
    }

    /// Delivers while this node leads; for ever.
    pub async fn run(mut self) {
        while self.leadership.leads().await && self.lead(self.leadership.clone()).await {}
    }

    /// Until another node leads; false if raft ended.
    async fn lead(&self, mut leadership: LeadershipWatch) -> bool {
        // Who led before may have come further than it told this node.
        self.sharing.exchange().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(self.sharing.clone().run());
        for courier in &self.couriers {
            tasks.spawn(courier.clone().run());
        }
        let raft_runs = leadership.follows().await;
        tasks.shutdown().await;
        self.sharing.exchange().await;
        raft_runs
    }

    /// Keeps on the disk how far deliveries came, whoever leads; for ever.
    pub fn keep_cursors(&self) -> impl Future<Output = ()> + Send + use<> {
        self.cursors.clone().keep()
    }

    /// A way to read how deliveries go while this runs.
    #[must_use]
    pub fn readings(&self) -> WebhookReadings {
        let (leadership, projector, cursors) =
            (self.leadership.clone(), self.projector.clone(), self.cursors.clone());
        let counters: Vec<_> = self.couriers.iter().map(|courier| courier.counters.clone()).collect();
        Arc::new(move || {
            let leads = leadership.is_here();
            let waiting = |name: &str| match cursors.all().get(name) {
                Some(&cursor) if leads => projector.feed().kept_after(cursor),
                _ => 0,
            };
            counters.iter().map(|counters| counters.read(waiting(counters.name()))).collect()
        })
    }
}
