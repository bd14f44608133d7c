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
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs a node in the foreground, until SIGTERM, Ctrl-C, or a failure.
pub async fn run(config: NodeConfig) -> Result<(), NodeError> {
    let mut stop = StopSignal::listen()?;
    let _telemetry = Telemetry::start(&config.telemetry, "muster-node", &config.name)?;
    let start = async {
        let deps = NodeDeps::system(&config).await?;
        Node::start(config, deps).await
    };
    let node = tokio::select! {
        started = start => started?,
        () = stop.come() => {
            // Nothing was taken in yet, and a disk that is being opened survives a power cut.
            tracing::info!("stopping before the start is done");
            return Ok(());
        }
    };
    let failed = tokio::select! {
        () = stop.come() => None,
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

/// SIGTERM and Ctrl-C. Heard from the first moment on: the first process of a container ends by no signal that it does not
/// listen for, and a start may wait for peers.
struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    fn listen() -> Result<Self, NodeError> {
        let heard = |kind| signal(kind).map_err(NodeError::io);
        Ok(StopSignal {
            terminate: heard(SignalKind::terminate())?,
            interrupt: heard(SignalKind::interrupt())?,
        })
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
