//! Who leads, as far as this node knows.

use super::MusterRaft;
use super::types::TypeConfig;
use crate::peers::PeerAddress;
use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use openraft::type_config::alias::{CommittedLeaderIdOf, WatchReceiverOf};
use openraft::vote::RaftLeaderId;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// openraft publishes what a change of leadership is in two steps; within this time both are there.
const SETTLES_WITHIN: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// This node, and it applied the first entry of its term: it may stamp.
    Here {
        leader: CommittedLeaderIdOf<TypeConfig>,
    },
    /// This node, but the first entry of its term is not applied yet.
    HereSoon,
    Elsewhere(PeerAddress),
    Nobody,
}

impl Leadership {
    #[must_use]
    pub fn now(raft: &MusterRaft) -> Self {
        Leadership::of(&raft.metrics().borrow_watched())
    }

    #[must_use]
    pub fn of(metrics: &RaftMetrics<TypeConfig>) -> Self {
        let Some(leader) = metrics.current_leader else { return Leadership::Nobody };
        if leader != metrics.id {
            let node = metrics.membership_config.membership().get_node(&leader);
            return node.map_or(Leadership::Nobody, |node| {
                Leadership::Elsewhere(PeerAddress { node: leader, address: node.peers_address.clone() })
            });
        }
        if !metrics.state.is_leader() || !metrics.vote.is_committed() {
            return Leadership::Nobody;
        }
        let own = metrics.vote.leader_id().to_committed();
        match &metrics.last_applied {
            Some(applied) if *applied.committed_leader_id() == own => Leadership::Here { leader: own },
            _ => Leadership::HereSoon,
        }
    }

    #[must_use]
    pub fn is_here(&self) -> bool {
        matches!(self, Leadership::Here { .. } | Leadership::HereSoon)
    }
}

/// Tells who waits for it when the leadership changes, and wakes nobody for anything else: openraft's own metrics change
/// several times with each entry, and whoever waits on them is woken each time. Clones share it.
#[derive(Clone)]
pub struct LeadershipWatch(watch::Receiver<Leadership>);

impl LeadershipWatch {
    /// Follows this raft until it ends.
    #[must_use]
    pub fn start(raft: &MusterRaft) -> Self {
        let (publish, leadership) = watch::channel(Leadership::now(raft));
        tokio::spawn(follow(raft.metrics(), raft.server_metrics(), publish));
        LeadershipWatch(leadership)
    }

    /// Whether this node leads.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.0.borrow().is_here()
    }

    /// Resolves once this node leads and knows all that was committed; false if raft ended.
    pub async fn leads(&mut self) -> bool {
        self.0.wait_for(|now| matches!(now, Leadership::Here { .. })).await.is_ok()
    }

    /// Resolves once this node does not lead any more; false if raft ended.
    pub async fn follows(&mut self) -> bool {
        self.0.wait_for(|now| !now.is_here()).await.is_ok()
    }

    /// Resolves once the leadership is another than it was at the last call; false if raft ended.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }

    /// Resolves once raft ended.
    pub async fn ended(&mut self) {
        while self.changed().await {}
    }
}

async fn follow(
    mut all: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
    mut server: WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>,
    publish: watch::Sender<Leadership>,
) {
    let mut settled_at = Instant::now() + SETTLES_WITHIN;
    loop {
        let now = Leadership::of(&all.borrow_and_update());
        let soon = now == Leadership::HereSoon;
        publish.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        let unsettled = soon || Instant::now() < settled_at;
        let goes_on = tokio::select! {
            changed = server.changed() => {
                settled_at = Instant::now() + SETTLES_WITHIN;
                changed.is_ok()
            }
            changed = all.changed(), if unsettled => changed.is_ok(),
            () = sleep_until(settled_at), if unsettled && !soon => true,
        };
        if !goes_on {
            return;
        }
    }
}
