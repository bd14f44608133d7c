//! A state that is folded again although this node's own history is not whole: what it lacks is read from peers.
//!
//! A snapshot of another level cannot be gone on from, and raft sees nothing at or below the purge floor.

use super::NodeError;
use super::core::{SNAPSHOT_FOLDER, peers_of};
use super::opening::blocking;
use super::ranges::fetch;
use crate::config::NodeConfig;
use crate::peers::PeerTransport;
use crate::raft::machine::Machine;
use crate::storage::archive::Archive;
use crate::storage::error::StorageError;
use crate::storage::log::DurableLog;
use std::path::PathBuf;
use std::sync::Arc;

/// Brings the state to the purge floor with entries that peers know committed. Where no peer in reach has the next one, the
/// state stays below.
pub(super) async fn from_peers(
    mut machine: Machine,
    transport: &dyn PeerTransport,
    config: &NodeConfig,
) -> Result<Machine, NodeError> {
    let peers = peers_of(config);
    while let Some(from) = machine.below_floor() {
        let Some((peer, mut entries)) = fetch(transport, &peers, from).await else { break };
        let follow = entries.iter().zip(from..).take_while(|(entry, index)| entry.at.index == *index).count();
        if follow == 0 {
            break;
        }
        entries.truncate(follow);
        tracing::info!(from, peer, "the state is read again from a peer's history");
        let taken =
            tokio::task::spawn_blocking(move || machine.take_history(entries).map(|()| machine)).await;
        let taken = taken.map_err(|error| NodeError::Failed(error.to_string()))?;
        machine = taken.map_err(|error| NodeError::Recovery(error.to_string()))?;
    }
    Ok(machine)
}

/// Refuses a state that raft cannot go on from, and finds the tree of the log if it is not known.
pub(super) async fn check_state(
    config: &Arc<NodeConfig>,
    history: Arc<Archive>,
    log: &Arc<DurableLog>,
    machine: Machine,
) -> Result<Machine, NodeError> {
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
        machine.know_tree(&history)?;
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
