//! A witness on the wire: hears everything that terminals publish, cannot open any of it.
//!
//! It counts what honest sources really sent, and it is where the red team captures what it replays: sealed bytes of
//! a terminal, not bytes made up for the purpose.

use anyhow::{Context, Result};
use bytes::Bytes;
use events::envelope::{Header, MessageKind};
use events::ids::{DeviceId, Epoch, Sequence};
use futures::StreamExt;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Sealed heartbeats kept per device.
const CAPTURED_MAX: usize = 32;

/// One heartbeat, named: no key ever seals two under one name.
pub type HeartbeatName = (DeviceId, Epoch, Sequence);

/// A sealed heartbeat as it crossed the wire.
#[derive(Clone)]
pub struct Captured {
    pub name: HeartbeatName,
    pub payload: Bytes,
}

#[derive(Default)]
struct Heard {
    /// By source: every heartbeat that it sent, retries once.
    sent: BTreeMap<String, BTreeSet<HeartbeatName>>,
    captured: BTreeMap<DeviceId, VecDeque<Captured>>,
}

/// Listens until it is dropped.
pub struct Tap {
    heard: Arc<Mutex<Heard>>,
    listening: JoinHandle<()>,
}

impl Tap {
    /// Starts to listen in `region` with the connection of the tap's own NATS user.
    pub async fn start(nats: async_nats::Client, region: &str) -> Result<Self> {
        let subject = format!("muster.v1.{region}.up.*.*.heartbeat");
        let mut messages = nats.subscribe(subject).await.context("listening on the wire")?;
        nats.flush().await.context("listening on the wire")?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let noted = heard.clone();
        let listening = tokio::spawn(async move {
            // The connection ends with its last handle, so the task keeps one.
            let _nats = nats;
            while let Some(message) = messages.next().await {
                noted.lock().note(&message.subject, message.payload);
            }
        });
        Ok(Tap { heard, listening })
    }

    /// Distinct heartbeats that any of `sources` sent.
    #[must_use]
    pub fn sent_by(&self, sources: &[String]) -> BTreeSet<HeartbeatName> {
        let heard = self.heard.lock();
        sources.iter().filter_map(|source| heard.sent.get(source)).flatten().copied().collect()
    }

    /// The last sealed heartbeats of a device, the oldest first.
    #[must_use]
    pub fn captured_of(&self, device: DeviceId) -> Vec<Captured> {
        self.heard.lock().captured.get(&device).into_iter().flatten().cloned().collect()
    }
}

impl Heard {
    fn note(&mut self, subject: &str, payload: Bytes) {
        let Some(source) = subject.split('.').nth(4) else { return };
        let Ok(header) = Header::parse(&payload, MessageKind::Heartbeat) else { return };
        let name = (header.device, header.epoch, header.sequence);
        let new = self.sent.entry(source.to_owned()).or_default().insert(name);
        if new {
            let captured = self.captured.entry(header.device).or_default();
            captured.push_back(Captured { name, payload });
            if captured.len() > CAPTURED_MAX {
                captured.pop_front();
            }
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
