//! Who may lead, and what only a leader does.
//!
//! ```text
//!   peers/watch ──reports──▶ clock_guard   may this node stamp? (protocol.md rule 10)
//!                       └──▶ automation    do all nodes hold the same state? else automation stops
//!                       └──▶ serving       can this node commit what it takes in?
//!                       └──▶ levels        which events do all members know?
//!   raft metrics ──────────▶ duties        tick when idle, order what the fold wants, name the cluster once
//!   raft/tree ─────────────▶ notary        sign the head of the log: at an interval, and when asked
//!   keyring ───────────────▶ rewrap        wrap secrets anew under a newer key
//! ```

pub mod automation;
pub mod clock_guard;
pub mod duties;
mod lag;
pub mod levels;
pub mod notary;
pub mod rewrap;
pub mod serving;
pub mod transfer;
pub mod watchman;
