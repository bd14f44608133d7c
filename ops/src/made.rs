//! A log of a fleet that never was, for measuring: what a cluster's nodes would have written, by the writer they use.
//!
//! ```text
//!   seed ─▶ factory.rs ── lots, stations, devices, codes ─┐
//!      └──▶ fleet.rs ──── beats, reboots, outages ────────┴─▶ author.rs ─▶ nodes::storage ─▶ segments
//!                                                      unfinished.rs: the folder appears whole or not at all
//! ```
//!
//! What the fold sees follows from the seed alone, so the same plan gives the same state digest everywhere. Keys and
//! salts are fresh each time. Nothing is signed or sealed for devices: public keys and wrapped secrets are random bytes,
//! which the fold carries unread, as it carries real ones.

mod author;
mod factory;
mod fleet;
mod unfinished;

use crate::dev::chance::Chance;
use anyhow::{Context as _, Result};
use author::Author;
use events::ids::{ClusterId, LogIndex};
use events::keyring::Keyring;
use events::limits::BATCH_HEARTBEATS_MAX;
use events::time::Timestamp;
use fleet::Fleet;
use nodes::entropy::{EntropyRng, OsEntropy};
use serde::Serialize;
use std::path::{Path, PathBuf};
use unfinished::Unfinished;

/// 2026-01-01T00:00:00Z: when the log begins.
const BEGIN: u64 = 1_767_225_600_000;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct LogPlan {
    pub devices: u32,
    /// Routine heartbeats; what else happens comes on top.
    pub heartbeats: u64,
    /// Routine heartbeats of one entry.
    pub batch: u32,
    /// Each device beats once in this time.
    pub interval_seconds: u32,
    pub seed: u64,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MadeLog {
    /// The data folder, for `--data`.
    pub data: PathBuf,
    pub keyring: PathBuf,
    pub devices: u32,
    pub heartbeats: u64,
    /// Heartbeats not included.
    pub events: u64,
    pub entries: u64,
    /// The entry with the first routine heartbeats.
    pub beats_from: LogIndex,
    pub last: LogIndex,
    /// Of log time.
    pub until: Timestamp,
    pub bytes: u64,
    pub seconds: f64,
}

/// How much of a plan is written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub heartbeats: u64,
    pub devices: u32,
}

/// Why there can be no such log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("a log of no devices has nothing to say; give --devices 1 or more")]
    NoDevices,
    #[error("an entry holds 1 to {BATCH_HEARTBEATS_MAX} heartbeats, not {0}; give --batch within that")]
    Batch(u32),
    #[error("devices beat once in 1 to 86400 seconds, not {0}; give --interval within that")]
    Interval(u32),
}

impl LogPlan {
    pub fn check(&self) -> Result<(), PlanError> {
        match self {
            LogPlan { devices: 0, .. } => Err(PlanError::NoDevices),
            LogPlan { batch, .. } if !(1..=BATCH_HEARTBEATS_MAX as u32).contains(batch) => {
                Err(PlanError::Batch(*batch))
            }
            LogPlan { interval_seconds, .. } if !(1..=86_400).contains(interval_seconds) => {
                Err(PlanError::Interval(*interval_seconds))
            }
            _ => Ok(()),
        }
    }
}

/// Writes the log into the new folder `data` and its keyring into the new file `keyring`. `go_on` hears how far it is and
/// may end it with an error: then, as after any other, neither is there.
pub fn make(
    plan: &LogPlan,
    data: &Path,
    keyring_path: &Path,
    mut go_on: impl FnMut(Written) -> Result<()>,
) -> Result<MadeLog> {
    plan.check()?;
    let started = std::time::Instant::now();
    let folder = Unfinished::beside(data, keyring_path)?;
    let mut chance = Chance::new(plan.seed);
    let mut cluster = [0; ClusterId::BYTES];
    chance.fill(&mut cluster);
    let keyring = Keyring::generate(&mut EntropyRng(&OsEntropy), ClusterId::from_bytes(cluster));
    folder.write_keyring(&keyring)?;

    let mut author = Author::begin(&folder.data(), &keyring, BEGIN)?;
    factory::found(&mut author, plan)?;
    factory::import(&mut author, plan, &mut |devices| go_on(Written { heartbeats: 0, devices }))?;
    let mut fleet = Fleet::new(plan, chance);
    fleet.activate(&mut author, &mut |devices| go_on(Written { heartbeats: 0, devices }))?;
    let beats_from = author.next_index();
    fleet.beat(&mut author, &mut |heartbeats| go_on(Written { heartbeats, devices: plan.devices }))?;

    let written = author.close()?;
    let bytes = bytes_of(&folder.data()).context("measuring the log")?;
    folder.appear()?;
    Ok(MadeLog {
        data: data.to_owned(),
        keyring: keyring_path.to_owned(),
        devices: plan.devices,
        heartbeats: plan.heartbeats,
        events: written.events,
        entries: written.last + 1,
        beats_from,
        last: written.last,
        until: written.until,
        bytes,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn bytes_of(data: &Path) -> std::io::Result<u64> {
    std::fs::read_dir(data.join(nodes::node::core::LOG_FOLDER))?.map(|file| Ok(file?.metadata()?.len())).sum()
}
