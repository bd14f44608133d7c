//! A state that is folded again although this node's own history is not whole: what it lacks is read from peers.
//!
//! A snapshot of another level cannot be gone on from, and raft sees nothing at or below the purge floor.

use super::NodeError;
use super::core::{SNAPSHOT_FOLDER, peers_of};
use super::doubts::Doubts;
use super::opening::blocking;
use super::ranges::fetch;
use crate::config::NodeConfig;
use crate::entropy::Entropy;
use crate::peers::PeerTransport;
use crate::raft::machine::Machine;
use crate::storage::archive::Archive;
use crate::storage::error::StorageError;
use crate::storage::gaps::GapBook;
use crate::storage::log::DurableLog;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Brings the state to the purge floor with entries that peers know committed. Where no peer in reach has the next one, the
/// state stays below.
///
/// What the fold refuses ends the start, since the state may hold a part of it. So another start begins with another peer.
pub(super) async fn from_peers(
    mut machine: Machine,
    transport: &dyn PeerTransport,
    config: &NodeConfig,
    entropy: &dyn Entropy,
) -> Result<Machine, NodeError> {
    let (mut peers, mut doubts) = (peers_of(config), Doubts::default());
    let count = peers.len().max(1);
    peers.rotate_left(entropy.number() as usize % count);
    let mut refused = BTreeSet::new();
    while let Some(from) = machine.below_floor() {
        let asked = doubts.order(peers.iter().filter(|peer| !refused.contains(&peer.node)));
        let Some((peer, mut entries)) = fetch(transport, asked, from).await else { break };
        let follow = entries.iter().zip(from..).take_while(|(entry, index)| entry.at.index == *index).count();
        entries.truncate(follow);
        if entries.is_empty() {
            doubts.refuse(peer);
            refused.insert(peer);
            continue;
        }
        refused.clear();
        tracing::info!(from, peer, "the state is read again from a peer's history");
        let taken =
            tokio::task::spawn_blocking(move || machine.take_history(entries).map(|()| machine)).await;
        let taken = taken.map_err(|error| NodeError::Failed(error.to_string()))?;
        let refused =
            |error| NodeError::Recovery(format!("entries from {from} on that node {peer} gave: {error}"));
        machine = taken.map_err(refused)?;
    }
    Ok(machine)
}

/// Refuses a state that raft cannot go on from, and finds the tree of the log if it is not known.
pub(super) async fn check_state(
    config: &Arc<NodeConfig>,
    history: Arc<Archive>,
    log: &Arc<DurableLog>,
    machine: Machine,
    gaps: &GapBook,
) -> Result<Machine, NodeError> {
    // A tree of what peers altered would dispute every checkpoint, and nothing would ever tell who is right.
    let is_unproven = *gaps.unproven().borrow() > 0;
    let (dir, log) = (config.data_directory.join(SNAPSHOT_FOLDER), log.clone());
    blocking(move || {
        if let Some(next) = machine.below_floor().filter(|_| machine.folds_anew()) {
            return Err(NodeError::Recovery(format!(
                "no snapshot in {} is of this version's level, and entry {next} of the history, from which the state would \
                 be folded again, is neither here nor with a peer in reach. Nothing was lost: start this node once a peer \
                 answers, or with the version that it had",
                dir.display()
            )));
        }
        refuse_gap(&log, &machine, dir)?;
        machine.know_tree((!is_unproven).then_some(&*history))?;
        Ok(machine)
    })
    .await
}

/// A damaged newest snapshot is passed over for the one before it, but raft sees no entry at or below the purge floor:
/// a state that stands below it would skip what lies between.
fn refuse_gap(log: &DurableLog, machine: &Machine, dir: PathBuf) -> Result<(), StorageError> {
    let (found, floor) = (machine.applied_index(), log.standing().floor.map_or(0, |floor| floor.index));
    if found < floor { Err(StorageError::SnapshotBelowFloor { dir, found, floor }) } else { Ok(()) }
}
