//! Ctrl-C in a long command: it ends in good order, and nothing half-written stays.

use crate::exit::{INTERRUPTED, coded};
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody asked the program to end.
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT and SIGTERM are noted instead of ending the program.
    pub(super) fn watch() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            noted.store(true, Ordering::Relaxed);
        });
        Ok(Interrupt(asked))
    }

    /// An error once somebody asked.
    pub(super) fn check(&self) -> Result<()> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(coded(INTERRUPTED, "interrupted; nothing was written")),
            false => Ok(()),
        }
    }
}
