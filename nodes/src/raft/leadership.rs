//! Who leads, as far as this node knows.

use super::MusterRaft;
use super::types::TypeConfig;
use crate::peers::PeerAddress;
use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::type_config::alias::CommittedLeaderIdOf;
use openraft::vote::RaftLeaderId;

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
