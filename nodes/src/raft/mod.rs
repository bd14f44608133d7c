//! openraft and what muster gives it.
//!
//! ```text
//!   proposer ──▶ openraft ──▶ log_store ──▶ storage/        (append, fsync, vote)
//!                  │  ▲ └───▶ network ────▶ peers/          (append entries, votes, snapshots out)
//!                  │  └────── receive  ◀─── peers/          (the same, in; inbound: snapshots piece by piece)
//!                  │  └────── purging                    (how much of the log goes: none that a member waits for)
//!                  │  └────── snapshotting               (when the state is written down)
//!                  └────────▶ machine ────▶ shared_projector (committed entries, snapshots)
//!                                    └────▶ tree             (their Merkle tree, held against checkpoints)
//! ```

pub mod inbound;
pub mod leadership;
pub mod log_store;
pub mod machine;
pub mod network;
pub mod purging;
pub mod receive;
pub mod refused_snapshot;
pub mod settings;
pub mod snapshot;
pub mod snapshot_bytes;
pub mod snapshotting;
pub mod tree;
pub mod types;

/// This node's raft.
pub type MusterRaft = openraft::Raft<types::TypeConfig, machine::Machine>;
