//! Handing the leadership over: before a planned stop, by an operator's word, or because the clock is off.

use crate::raft::MusterRaft;
use events::ids::NodeId;
use openraft::async_runtime::watch::WatchReceiver;
use std::time::Duration;

/// Asks the voter whose log is furthest to lead; does nothing if this node does not lead or is alone. Returns whom
/// it asked.
pub async fn hand_over(raft: &MusterRaft) -> Option<NodeId> {
    hand_over_to(raft, None).await
}

/// As [`hand_over`], to the voter that is named.
pub async fn hand_over_to(raft: &MusterRaft, named: Option<NodeId>) -> Option<NodeId> {
    let successor = successor(raft, named)?;
    tracing::info!(successor, "handing the leadership over");
    match raft.trigger().transfer_leader(successor).await {
        Ok(()) => Some(successor),
        Err(stopped) => {
            tracing::warn!(%stopped, "cannot hand the leadership over");
            None
        }
    }
}

/// Hands over and waits until another node leads, at most `within`. False if this node still leads after that.
pub async fn step_down(raft: &MusterRaft, within: Duration) -> bool {
    if hand_over(raft).await.is_none() {
        return !raft.is_leader();
    }
    let own = *raft.node_id();
    let wait = raft.wait(Some(within));
    let elsewhere = wait
        .metrics(|metrics| metrics.current_leader.is_some_and(|leader| leader != own), "another node leads");
    elsewhere.await.is_ok()
}

fn successor(raft: &MusterRaft, named: Option<NodeId>) -> Option<NodeId> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    if !metrics.state.is_leader() {
        return None;
    }
    let voters: Vec<NodeId> = metrics.membership_config.voter_ids().collect();
    let replication = metrics.replication.as_ref()?;
    let others = replication.iter().filter(|(node, _)| {
        **node != metrics.id && voters.contains(node) && named.is_none_or(|named| named == **node)
    });
    others.max_by_key(|(_, matched)| matched.as_ref().map(|log_id| log_id.index)).map(|(node, _)| *node)
}
