//! Ctrl-C in a long command: it ends in good order, and nothing half-written stays.

use crate::exit::{INTERRUPTED, coded};
use crate::unfinished;
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody asked the program to end.
pub(super) struct Interrupt {
    asked: Arc<AtomicBool>,
    left: &'static str,
}

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP are noted instead of ending the program; a second one ends it at once, with
    /// nothing half-written either. `left` says what an interrupted command leaves.
    pub(super) fn watch(left: &'static str) -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if noted.swap(true, Ordering::Relaxed) {
                    unfinished::remove_all();
                    std::process::exit(INTERRUPTED);
                }
            }
        });
        Ok(Interrupt { asked, left })
    }

    /// An error once somebody asked.
    pub(super) fn check(&self) -> Result<()> {
        match self.asked.load(Ordering::Relaxed) {
            true => Err(coded(INTERRUPTED, format!("interrupted; {}", self.left))),
            false => Ok(()),
        }
    }
}
