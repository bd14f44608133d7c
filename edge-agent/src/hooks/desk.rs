//! Runs hooks beside the agent's loop, one at a time.
//!
//! Invariants:
//! - Of two standings the newer counts: a hook that waits is told of the newest only.
//! - `full` and `restricted` state what must be so; one that fails is run again, with back-off, until it is done or
//!   the standing changes. Therefore a vendor's hook must bear to be run twice.
//! - `update` and `notify` run once each; a few wait, more are dropped and logged.

use super::occasion::{Occasion, TerminalStanding};
use super::runner::{HookEnd, HookOutcome, run_hook};
use crate::shell::config::HooksConfig;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

const WAITING_MAX: usize = 8;
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// The agent's end; hooks that run are killed when it is dropped.
pub struct HookDesk {
    standing: watch::Sender<Option<TerminalStanding>>,
    occasions: mpsc::Sender<Occasion>,
    worker: JoinHandle<()>,
}

impl HookDesk {
    #[must_use]
    pub fn open(hooks: HooksConfig) -> Self {
        let (standing, newest) = watch::channel(None);
        let (occasions, waiting) = mpsc::channel(WAITING_MAX);
        let worker = tokio::spawn(Worker { hooks, newest, waiting, failures: 0 }.work());
        HookDesk { standing, occasions, worker }
    }

    /// The terminal may do this, from now on.
    pub fn tell_standing(&self, standing: TerminalStanding) {
        self.standing.send_replace(Some(standing));
    }

    /// `update` or `notify`.
    pub fn tell(&self, occasion: Occasion) {
        if let Err(error) = self.occasions.try_send(occasion) {
            tracing::warn!(%error, "too many hooks wait; one was dropped");
        }
    }
}

impl Drop for HookDesk {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

struct Worker {
    hooks: HooksConfig,
    newest: watch::Receiver<Option<TerminalStanding>>,
    waiting: mpsc::Receiver<Occasion>,
    /// Of the standing's hook, in a row.
    failures: u32,
}

impl Worker {
    async fn work(mut self) {
        loop {
            let retry = async {
                match self.failures {
                    0 => std::future::pending().await,
                    failures => sleep(back_off(failures)).await,
                }
            };
            tokio::select! {
                biased;
                changed = self.newest.changed() => match changed {
                    Ok(()) => self.state_standing().await,
                    Err(_closed) => return,
                },
                Some(occasion) = self.waiting.recv() => drop(self.run(&occasion).await),
                () = retry => self.state_standing().await,
            }
        }
    }

    async fn state_standing(&mut self) {
        let Some(standing) = self.newest.borrow_and_update().clone() else { return };
        let outcome = self.run(&Occasion::Standing(standing)).await;
        let done = outcome.is_none_or(|outcome| outcome.end == HookEnd::Done);
        self.failures = if done { 0 } else { self.failures.saturating_add(1) };
    }

    /// None if the vendor has no hook for it.
    async fn run(&self, occasion: &Occasion) -> Option<HookOutcome> {
        let command = occasion.command(&self.hooks)?;
        let limit = self.hooks.timeout_ms.as_duration();
        let outcome = run_hook(command, &occasion.environment(), limit).await;
        let (hook, output) = (occasion.name(), outcome.output.trim_end());
        match &outcome.end {
            HookEnd::Done => tracing::info!(hook, ?output, "a hook is done"),
            end => tracing::error!(hook, ?end, ?output, "a hook failed"),
        }
        Some(outcome)
    }
}

fn back_off(failures: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_hook_is_tried_ever_more_rarely_but_always_again() {
        let waits: Vec<_> = (1..=12).map(|failures| back_off(failures).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(back_off(u32::MAX), RETRY_MAX);
    }
}
