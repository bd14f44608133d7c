//! Where answers wait for the bus: bounded, in bursts, written by one task.

use crate::bus::subject::ReplyInbox;
use crate::bus::{Bus, Outgoing};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Bursts that wait for a saturated connection; whoever has another one waits too.
const BURSTS_MAX: usize = 64;

/// An answer that the bus does not take within this time is late anyway.
const PUBLISH_WITHIN: Duration = Duration::from_secs(2);

/// A handle for sending; clones share it. The writing task ends when the last is gone.
#[derive(Clone)]
pub struct Outbox(mpsc::Sender<Vec<Outgoing>>);

impl Outbox {
    #[must_use]
    pub fn open(bus: Arc<dyn Bus>) -> (Outbox, JoinHandle<()>) {
        let (sender, bursts) = mpsc::channel(BURSTS_MAX);
        (Outbox(sender), tokio::spawn(write(bus, bursts)))
    }

    /// Sends a burst, after those that wait. An empty one costs nothing.
    pub async fn send(&self, burst: Vec<Outgoing>) {
        if !burst.is_empty() {
            // The writer outlives every handle.
            let _ = self.0.send(burst).await;
        }
    }

    /// Sends one answer from a thread that is no task's.
    pub fn send_blocking(&self, outgoing: Outgoing) {
        let _ = self.0.blocking_send(vec![outgoing]);
    }
}

async fn write(bus: Arc<dyn Bus>, mut bursts: mpsc::Receiver<Vec<Outgoing>>) {
    while let Some(mut burst) = bursts.recv().await {
        let size = burst.len();
        // Unanswered terminals ask again; their answers are kept by the fold.
        match timeout(PUBLISH_WITHIN, bus.publish(&mut burst)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, answers = size, "answers could not be sent"),
            Err(_) => tracing::warn!(answers = size, "the bus takes no answers"),
        }
    }
}

impl Outgoing {
    #[must_use]
    pub fn to(inbox: ReplyInbox, payload: impl Into<Bytes>) -> Self {
        Outgoing { subject: inbox.into_subject(), payload: payload.into() }
    }
}
