//! One node: put together in order, taken apart in the reverse.
//!
//! ```text
//!   start   keyring ─▶ core (disk, fold, raft) ─▶ peers' wire ─▶ run ─▶ bus, ingress ─▶ API
//!             └─ damaged log ─▶ peers' wire ─▶ repair from peers ─▶ core
//!   stop    ingress drained ─▶ leadership handed over ─▶ API ─▶ raft ─▶ peers' wire ─▶ disk closed
//! ```
//!
//! A node whose storage or raft failed stops at once and says why: it neither answers nor retries.

mod addresses;
mod backfill;
mod check;
pub mod core;
pub mod counters;
mod desk;
mod doubts;
mod error;
mod form;
mod keyring;
mod last_words;
mod mending;
mod opening;
mod ranges;
mod refold;
pub mod repair;
pub mod retention;
pub mod room;
mod running;
mod scrubbing;
mod vouching;

pub use check::check;
pub use error::NodeError;
pub use running::{Node, NodeDeps};

use crate::config::NodeConfig;
use crate::telemetry::Telemetry;

/// Runs a node in the foreground, until SIGTERM, Ctrl-C, or a failure.
pub async fn run(config: NodeConfig) -> Result<(), NodeError> {
    let _telemetry = Telemetry::start(&config.telemetry, "muster-node", &config.name)?;
    let deps = NodeDeps::system(&config).await?;
    let node = Node::start(config, deps).await?;
    let failed = tokio::select! {
        () = told_to_stop() => None,
        failed = node.failed() => Some(failed),
    };
    match failed {
        None => {
            tracing::info!("stopping");
            node.stop().await
        }
        // Nothing in memory is worth more than what the disk has; the process ends as it is.
        Some(failed) => Err(failed),
    }
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
