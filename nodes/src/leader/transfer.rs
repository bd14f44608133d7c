//! Handing the leadership over: before a planned stop, by an operator's word, or because the clock is off.

use crate::leader::clock_guard::ClockVerdict;
use crate::peers::watch::PeerReports;
use crate::raft::MusterRaft;
use events::ids::{LogIndex, NodeId};
use openraft::async_runtime::watch::WatchReceiver;
use std::time::Duration;

/// Asks the voter whose log is furthest to lead; does nothing if this node does not lead, is alone, or knows of no
/// voter that may stamp: one whose clock is off is never asked (protocol.md rule 10). Returns whom it asked.
pub async fn hand_over(raft: &MusterRaft, reports: &PeerReports) -> Option<NodeId> {
    hand_over_to(raft, reports, None).await
}

/// As [`hand_over`], to the voter that is named.
pub async fn hand_over_to(raft: &MusterRaft, reports: &PeerReports, named: Option<NodeId>) -> Option<NodeId> {
    let successor = successor(raft, reports, named)?;
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
pub async fn step_down(raft: &MusterRaft, reports: &PeerReports, within: Duration) -> bool {
    if hand_over(raft, reports).await.is_none() {
        return !raft.is_leader();
    }
    let own = *raft.node_id();
    let wait = raft.wait(Some(within));
    let elsewhere = wait
        .metrics(|metrics| metrics.current_leader.is_some_and(|leader| leader != own), "another node leads");
    elsewhere.await.is_ok()
}

fn successor(raft: &MusterRaft, reports: &PeerReports, named: Option<NodeId>) -> Option<NodeId> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    if !metrics.state.is_leader() {
        return None;
    }
    let voters: Vec<NodeId> = metrics.membership_config.voter_ids().collect();
    let replication = metrics.replication.as_ref()?;
    let others = replication.iter().filter(|(node, _)| {
        **node != metrics.id
            && voters.contains(node)
            && named.is_none_or(|named| named == **node)
            && !clock_of(reports, **node).is_off()
    });
    let reachable = |node: &NodeId| reports.get(node).is_some_and(|report| report.reachable);
    let judged = |node: &NodeId| clock_of(reports, *node) == ClockVerdict::Agrees;
    let fitness = |node: &NodeId, index: Option<LogIndex>| (reachable(node), judged(node), index);
    others
        .max_by_key(|(node, matched)| fitness(node, matched.as_ref().map(|log_id| log_id.index)))
        .map(|(node, _)| *node)
}

/// What a peer last said of its own clock.
fn clock_of(reports: &PeerReports, node: NodeId) -> ClockVerdict {
    let status = reports.get(&node).and_then(|report| report.status.as_ref());
    status.map_or(ClockVerdict::Unjudged, |status| status.clock_verdict)
}
