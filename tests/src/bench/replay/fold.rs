//! The whole of it: read, checksum, decrypt, fold. In a process of its own, so that its memory is its own too.

use super::Log;
use anyhow::{Context as _, Result, bail};
use ops::offline::{Fold, Moment, open_logs, read_keyring};
use ops::spent::{Spent, memory_bytes};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;

/// What one fold took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FoldFigures {
    pub heartbeats_per_second: f64,
    /// What one core does in a second that it has to itself, whatever else the machine does.
    pub heartbeats_per_cpu_second: f64,
    /// What came before the first heartbeat: all devices imported, activated and heard.
    pub events_before: u64,
    /// Of one core.
    pub seconds_before: f64,
    /// Resident at the end, beyond what the process had before.
    pub memory_bytes_per_device: f64,
    pub hot_row_bytes: usize,
    pub digest: String,
}

/// What the process is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Task {
    data: std::path::PathBuf,
    keyring: std::path::PathBuf,
    beats_from: u64,
    devices: u32,
    threads: usize,
}

pub(super) fn measure(log: &Log, threads: usize) -> Result<FoldFigures> {
    let task = Task {
        data: log.data.clone(),
        keyring: log.keyring.clone(),
        beats_from: log.beats_from,
        devices: log.devices,
        threads,
    };
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.arg("--fold").arg(serde_json::to_string(&task).context("the fold's task")?);
    let output = command.output().context("starting a fold")?;
    if !output.status.success() {
        bail!("the fold failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("what the fold said")
}

/// The fold's process: `task` as [`measure`] gives it.
pub fn fold(task: &str) -> Result<FoldFigures> {
    let Task { data, keyring, beats_from, devices, threads } =
        serde_json::from_str(task).context("the fold's task")?;
    let keyring = read_keyring(Path::new(&keyring))?;
    let resident = resident()?;
    let mut logs = open_logs(&[data], &keyring)?;
    if threads > 1 {
        logs = logs.reading_ahead()?;
    }
    let mut fold = Fold::new(logs);
    let began = Spent::mark();
    fold.run_to(Moment::Index(beats_from - 1))?;
    let (events_before, seconds_before) = (fold.events(), began.since().cpu_seconds);
    let heartbeats_before = fold.state().counts().heartbeats;
    let began = Spent::mark();
    fold.run_to(Moment::END)?;
    let spent = began.since();
    let heartbeats = fold.state().counts().heartbeats - heartbeats_before;
    let memory = self::resident()?.saturating_sub(resident);
    Ok(FoldFigures {
        heartbeats_per_second: heartbeats as f64 / spent.seconds,
        heartbeats_per_cpu_second: heartbeats as f64 / spent.cpu_seconds,
        events_before,
        seconds_before,
        memory_bytes_per_device: memory as f64 / f64::from(devices),
        hot_row_bytes: projector::HOT_ROW_BYTES,
        digest: fold.projector().digest().to_string(),
    })
}

fn resident() -> Result<u64> {
    memory_bytes().context("the kernel does not tell our memory")
}
