//! What openraft is configured with.

use crate::config::RaftTimers;
use crate::peers::message::SNAPSHOT_CHUNK_BYTES;
use events::ids::ClusterId;
use openraft::{Config, SnapshotPolicy};
use std::sync::Arc;

/// Entries of one append at most; its bytes are bounded by the network.
const APPEND_ENTRIES_MAX: u64 = 1024;
/// One piece of a snapshot must be answered within this time, in milliseconds; the last one waits for the install.
const SNAPSHOT_PIECE_MS: u64 = 30_000;

/// openraft's configuration: pre-vote on, leadership never restored without an election.
pub fn settings(cluster: ClusterId, timers: &RaftTimers) -> Result<Arc<Config>, openraft::ConfigError> {
    let config = Config {
        cluster_name: cluster.to_string(),
        heartbeat_interval: timers.heartbeat_ms,
        election_timeout_min: timers.election_ms_min,
        election_timeout_max: timers.election_ms_max,
        install_snapshot_timeout: SNAPSHOT_PIECE_MS,
        snapshot_max_chunk_size: SNAPSHOT_CHUNK_BYTES as u64,
        max_payload_entries: APPEND_ENTRIES_MAX,
        // Asked for by `super::snapshotting`.
        snapshot_policy: SnapshotPolicy::Never,
        // Purged by `super::purging`.
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config.validate().map(Arc::new)
}
