//! What it costs to read history again, beside what a user would do without muster.
//!
//! ```text
//!   `muster log make` ─▶ files ─┬─▶ plain.rs      read, and nothing else
//!                               ├─▶ reader.rs     read, checksum, decrypt: what `log verify` must do
//!                               ├─▶ fold.rs       all of it, in a process of its own: on one core, and on all
//!                               └─▶ consumer.rs   the same heartbeats in a JetStream, and a consumer that folds them
//!   report.rs   one JSON document, or a table; goals are judged
//! ```
//!
//! Files are in the page cache before the clock starts: what is measured is the way from there. The heartbeats alone are
//! counted; what the log holds before the first of them (every device burned, imported, activated) is folded before the
//! clock starts, and its time is told apart.

mod consumer;
pub mod fold;
mod plain;
mod reader;
mod report;

pub use report::ReplayReport;

use anyhow::{Context as _, Result, bail};
use ops::offline::read_keyring;
use report::SizeFigures;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct ReplayPlan {
    pub muster: PathBuf,
    pub nats_server: PathBuf,
    /// Each with a log of its own.
    pub devices: Vec<u32>,
    pub heartbeats: u64,
    /// Heartbeats of one entry.
    pub batch: u32,
    pub rounds: usize,
    /// Heartbeats in the JetStream.
    pub messages: usize,
    pub smoke: bool,
}

/// A log that was made, as `muster log make --json` told.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Log {
    data: PathBuf,
    pub(super) keyring: PathBuf,
    devices: u32,
    heartbeats: u64,
    /// The entry with the first heartbeats.
    beats_from: u64,
    pub(super) last: u64,
    pub(super) bytes: u64,
    seconds: f64,
}

impl ReplayPlan {
    #[must_use]
    pub fn full(muster: PathBuf, nats_server: PathBuf) -> Self {
        ReplayPlan {
            muster,
            nats_server,
            devices: vec![10_000, 100_000, 1_000_000],
            heartbeats: 20_000_000,
            batch: 256,
            rounds: 3,
            messages: 1_000_000,
            smoke: false,
        }
    }

    #[must_use]
    pub fn smoke(muster: PathBuf, nats_server: PathBuf) -> Self {
        ReplayPlan {
            devices: vec![50, 500],
            heartbeats: 20_000,
            rounds: 1,
            messages: 2_000,
            smoke: true,
            ..ReplayPlan::full(muster, nats_server)
        }
    }
}

/// Measures everything. `say` tells people what is going on.
pub async fn run(plan: &ReplayPlan, say: &dyn Fn(&str)) -> Result<ReplayReport> {
    let dir = own_directory()?;
    let mut report = ReplayReport::begin(plan);
    for &devices in &plan.devices {
        say(&format!("making a log of {devices} devices and {} heartbeats", plan.heartbeats));
        let folder = dir.path().join(devices.to_string());
        std::fs::create_dir_all(&folder).context("a folder for the log")?;
        let log = make_log(&plan.muster, devices, plan.heartbeats, plan.batch, &folder.join("data"))?;
        let mut figures = SizeFigures::of(devices, log.seconds);
        for round in 1..=plan.rounds {
            say(&format!("{devices} devices, round {round} of {}", plan.rounds));
            figures.plain.push(plain::measure(&log)?);
            let keyring = read_keyring(&log.keyring)?;
            figures.reader.push(reader::measure(&log, &keyring)?);
            figures.one_core.push(fold::measure(&log, 1)?);
            figures.all_cores.push(fold::measure(&log, report.cores())?);
        }
        say(&format!("{devices} devices: {} heartbeats in a JetStream, and a consumer", plan.messages));
        figures.consumer = Some(consumer::measure(plan, &log, &folder.join("jetstream")).await?);
        std::fs::remove_dir_all(&folder).context("removing the log")?;
        report.sizes.push(figures);
    }
    report.conclude();
    Ok(report)
}

/// A directory that goes with its owner.
pub(super) fn own_directory() -> Result<TempDir> {
    std::fs::create_dir_all(super::BELOW).with_context(|| format!("creating {}", super::BELOW))?;
    let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(super::BELOW);
    dir.context("a directory of its own")
}

pub(super) fn make_log(muster: &Path, devices: u32, heartbeats: u64, batch: u32, data: &Path) -> Result<Log> {
    let mut command = Command::new(muster);
    command.args(["log", "make", "--json", "--out"]).arg(data);
    let numbers = [u64::from(devices), heartbeats, u64::from(batch)];
    for (flag, value) in ["--devices", "--heartbeats", "--batch"].into_iter().zip(numbers) {
        command.arg(flag).arg(value.to_string());
    }
    let output = command.output().context("starting `muster log make`")?;
    if !output.status.success() {
        bail!("`muster log make` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("what `muster log make` said")
}
