//! The snapshots beside a log: that their seals hold, their state can be read, and of which log they are.

use crate::offline::audit::Expected;
use anyhow::Result;
use events::keyring::Keyring;
use nodes::node::core::SNAPSHOT_FOLDER;
use nodes::raft::tree::split_frontier;
use nodes::storage::disk::OsDisk;
use nodes::storage::snapshot_file::examine;
use projector::{Projector, SnapshotError};
use std::path::Path;
use std::sync::Arc;

/// Counts the snapshots, notes what is wrong with them, and gives the head of the log that each was made of.
pub(super) fn heads(
    faults: &mut Vec<String>,
    count: &mut u64,
    data: &Path,
    keyring: &Keyring,
) -> Result<Vec<Expected>> {
    let dir = data.join(SNAPSHOT_FOLDER);
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let keys = keyring.segment_keys()?;
    let mut heads = Vec::new();
    for (path, snapshot) in examine(Arc::new(OsDisk), &dir, keyring.cluster, keys)? {
        *count += 1;
        let stored = match snapshot {
            Ok(stored) => stored,
            Err(error) => {
                faults.push(error.to_string());
                continue;
            }
        };
        let (state, frontier) = split_frontier(&stored.state);
        let from = path.display().to_string();
        match Projector::from_snapshot(state) {
            Ok(fold) if fold.applied() == stored.index => {}
            Ok(fold) => {
                let applied = fold.applied();
                faults
                    .push(format!("{from} holds the state at {applied}, and is named for {}", stored.index));
            }
            // An older version left it, or a newer one: it is whole, and who folds by other rules does not go on from it.
            Err(SnapshotError::OtherLevel(_)) => {}
            Err(error) => faults.push(format!("{from}: {error}")),
        }
        heads.extend(frontier.map(|tree| Expected { from, size: tree.size(), root: tree.root() }));
    }
    Ok(heads)
}
