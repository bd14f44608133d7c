//! How a cluster begins: the member with the lowest id proposes the first membership, once every member said that
//! its log is empty. A member that has a log, or that hears of one, waits for the leader instead.

use crate::config::NodeConfig;
use crate::peers::watch::PeerReports;
use crate::raft::MusterRaft;
use crate::raft::types::PeerNode;
use events::ids::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

pub(super) async fn form_cluster(
    raft: MusterRaft,
    config: Arc<NodeConfig>,
    mut reports: watch::Receiver<Arc<PeerReports>>,
) {
    let lowest = config.members.first().is_some_and(|member| member.id == config.node);
    if !lowest {
        return;
    }
    loop {
        match raft.is_initialized().await {
            Ok(false) => {}
            Ok(true) | Err(_) => return,
        }
        if reports.changed().await.is_err() {
            return;
        }
        let round = reports.borrow_and_update().clone();
        if somebody_has_a_log(&round) {
            tracing::info!("another member has a log: waiting for the leader");
            return;
        }
        if all_are_empty(&round, config.members.len()) {
            match raft.initialize(membership(&config)).await {
                Ok(()) => tracing::info!(members = config.members.len(), "formed the cluster"),
                Err(error) => tracing::warn!(%error, "cannot form the cluster"),
            }
        }
    }
}

fn somebody_has_a_log(reports: &PeerReports) -> bool {
    reports.values().filter_map(|report| report.status.as_ref()).any(|status| status.initialized)
}

fn all_are_empty(reports: &PeerReports, members: usize) -> bool {
    reports.len() + 1 == members && reports.values().all(|report| report.reachable)
}

fn membership(config: &NodeConfig) -> BTreeMap<NodeId, PeerNode> {
    let node = |member: &crate::config::MemberConfig| PeerNode {
        peers_address: member.address.clone(),
        name: member.name.clone(),
        region: member.region.to_string(),
    };
    config.members.iter().map(|member| (member.id, node(member))).collect()
}
