//! Heartbeats kept through an outage.

use super::Millis;
use crate::machine::Settings;
use events::limits::SPOOL_BODIES_MAX;
use serde::{Deserialize, Deserializer};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolConfig {
    #[serde(deserialize_with = "bodies")]
    pub bodies: usize,
    pub interval_min_ms: Option<Millis>,
    pub write_interval_ms: Option<Millis>,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        let bodies = Settings::default().spool_bodies;
        SpoolConfig { bodies, interval_min_ms: None, write_interval_ms: None }
    }
}

/// None, or enough to keep every kind of evidence.
fn bodies<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    const MIN: usize = 8;
    let bodies = usize::deserialize(deserializer)?;
    if bodies == 0 || (MIN..=SPOOL_BODIES_MAX).contains(&bodies) {
        Ok(bodies)
    } else {
        let why = format!("expected 0 (keep none) or {MIN} to {SPOOL_BODIES_MAX} heartbeats, got {bodies}");
        Err(serde::de::Error::custom(why))
    }
}
