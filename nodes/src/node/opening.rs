//! What lies on a node's disk, opened in the order in which each part needs the one before.

use super::NodeError;
use super::core::{LOG_FOLDER, SNAPSHOT_FOLDER};
use crate::config::NodeConfig;
use crate::entropy::Entropy;
use crate::raft::machine::Machine;
use crate::raft::refused_snapshot::RefusedSnapshots;
use crate::raft::snapshot::{FileShelf, SnapshotShelf};
use crate::shared_projector::SharedProjector;
use crate::storage::archive::Archive;
use crate::storage::birth::{BIRTH_FILE, Beginning};
use crate::storage::disk::Disk;
use crate::storage::gaps::{BACKFILL_FOLDER, GapBook};
use crate::storage::log::{DurableLog, LogOptions};
use crate::storage::snapshot_file::{SnapshotFiles, SnapshotOptions};
use crate::telemetry::measures::Measures;
use events::keyring::Keyring;
use events::log::keys::SegmentKeys;
use std::sync::Arc;

pub(super) async fn open_disk(
    config: &Arc<NodeConfig>,
    history: Arc<Archive>,
    keys: SegmentKeys,
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    projector: SharedProjector,
    measures: Arc<Measures>,
) -> Result<(Arc<DurableLog>, Machine, Arc<dyn SnapshotShelf>, Arc<GapBook>), NodeError> {
    let config = config.clone();
    let open = move || {
        let data = &config.data_directory;
        let options = SnapshotOptions {
            dir: data.join(SNAPSHOT_FOLDER),
            cluster: config.cluster,
            node: config.node,
            keys: keys.clone(),
            reserve_bytes: config.limits.disk_reserve_bytes,
        };
        SnapshotFiles::make_room(&*disk, &options)?;
        let log = Arc::new(DurableLog::open(disk.clone(), entropy.clone(), log_options(&config, keys))?);
        let gaps = Arc::new(GapBook::open(disk.clone(), data.join(BACKFILL_FOLDER))?);
        let shelf: Arc<dyn SnapshotShelf> = Arc::new(FileShelf(SnapshotFiles::open(disk, entropy, options)?));
        let purged = log.clone();
        let floor = Arc::new(move || purged.standing().floor.map_or(0, |floor| floor.index));
        let recovery = |error: std::io::Error| NodeError::Recovery(error.to_string());
        let refused = RefusedSnapshots::new(log.clone(), measures);
        let mut machine = Machine::open(projector, shelf.clone(), floor, refused).map_err(recovery)?;
        machine.reach_floor(&history).map_err(recovery)?;
        Ok((log, machine, shelf, gaps))
    };
    blocking(open).await
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<T, NodeError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| NodeError::Failed(e.to_string()))?
}

/// Where the log of this node lies, and with which keys.
pub(super) fn log_options(config: &NodeConfig, keys: SegmentKeys) -> LogOptions {
    let data = &config.data_directory;
    let (log, birth) = (data.join(LOG_FOLDER), Beginning::BirthFile(data.join(BIRTH_FILE)));
    LogOptions::new(log, config.cluster, config.node, keys, birth)
}

/// The log's history, for peers that repair theirs.
pub(super) fn archive(
    config: &NodeConfig,
    keyring: &Keyring,
    disk: Arc<dyn Disk>,
) -> Result<Archive, NodeError> {
    let keys = segment_keys(config, keyring)?;
    let data = &config.data_directory;
    let mut dirs = vec![data.join(LOG_FOLDER), data.join(BACKFILL_FOLDER)];
    if let Some(retention) = &config.retention {
        let own = retention.archive_of(config.node);
        dirs.extend([own.join(BACKFILL_FOLDER), own]);
    }
    Ok(Archive::new(disk, dirs, keys))
}

pub(super) fn segment_keys(config: &NodeConfig, keyring: &Keyring) -> Result<SegmentKeys, NodeError> {
    let refused = |why: String| NodeError::SegmentKeys { file: config.keyring.clone(), why };
    keyring.segment_keys().map_err(|e| refused(e.to_string()))
}
