//! How much of this node's history a signed checkpoint vouched for: the tree of those entries, as a file beside the list of
//! gaps. What is proven is not read again, and what was fetched since is proven from there on.
//!
//! A file that cannot be believed costs nothing but reading all of it again.

use super::disk::Disk;
use super::error::StorageError;
use super::json_file;
use data_encoding::HEXLOWER;
use events::log::merkle::Frontier;
use serde::{Deserialize, Serialize};
use std::path::Path;

const FILE: &str = "proven.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proven {
    frontier: String,
}

/// When this returns it is durable.
pub(super) fn persist(disk: &dyn Disk, dir: &Path, tree: &Frontier) -> Result<(), StorageError> {
    json_file::persist(disk, &dir.join(FILE), &Proven { frontier: HEXLOWER.encode(&tree.encode()) })
}

/// The tree of what is proven; the empty one if there is no file, or one that cannot be believed.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Frontier, StorageError> {
    let proven = match json_file::read::<Proven>(disk, &dir.join(FILE)) {
        Err(error) if json_file::is_malformed(&error) => {
            tracing::warn!(%error, "what is proven of this node's history is not known: it is proven again");
            None
        }
        read => read?,
    };
    let decoded = |proven: Proven| HEXLOWER.decode(proven.frontier.as_bytes()).ok();
    let tree = proven.and_then(decoded).and_then(|bytes| Frontier::decode(&bytes).ok());
    Ok(tree.unwrap_or_default())
}
