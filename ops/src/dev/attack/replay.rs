//! Replay: sealed heartbeats of a terminal, captured on the wire, published again from another connection.

use super::connect;
use crate::dev::nats::User;
use crate::dev::tap::Tap;
use anyhow::{Context as _, Result};
use events::ids::{DeviceId, RegionName};

/// Heartbeats that are this much older than the newest were surely answered.
const NEWEST_LEFT_OUT: usize = 2;
/// Of those, so many are sent again each time.
const SENT_EACH_TIME: usize = 4;

/// An attacker who hears a terminal and has a connection of its own.
pub struct Replayer {
    nats: async_nats::Client,
    source: String,
    region: RegionName,
    victim: DeviceId,
    sent: u64,
}

impl Replayer {
    pub async fn connect(url: &str, user: &User, region: &RegionName, victim: DeviceId) -> Result<Self> {
        let nats = connect(url, user).await?;
        Ok(Replayer { nats, source: user.name.clone(), region: region.clone(), victim, sent: 0 })
    }

    /// Sends again what `tap` captured lately; returns how much was sent so far.
    pub async fn replay(&mut self, tap: &Tap) -> Result<u64> {
        let captured = tap.captured_of(self.victim);
        let answered = &captured[..captured.len().saturating_sub(NEWEST_LEFT_OUT)];
        let lately = &answered[answered.len().saturating_sub(SENT_EACH_TIME)..];
        for heartbeat in lately {
            self.sent += 1;
            let subject = format!("muster.v1.{}.up.{}.{}.heartbeat", self.region, self.source, self.victim);
            let reply = format!("_INBOX_{}.replayed.{}", self.victim, self.sent);
            let published = self.nats.publish_with_reply(subject, reply, heartbeat.payload.clone()).await;
            published.context("publishing a captured heartbeat")?;
        }
        self.nats.flush().await.context("publishing captured heartbeats")?;
        Ok(self.sent)
    }
}
