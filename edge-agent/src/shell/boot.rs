//! One boot: read the hardware, check it, and leave the result in the state directory.

use super::config::Config;
use super::hardware::{Hardware, HardwareError};
use super::replace::replace;
use crate::machine::{BootCheck, boot_check};
use events::identity::lot::LotFirmware;
use events::keyring::ClusterPublic;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

/// What the check found, for `status` and `doctor`: `state_dir/boot-check.json`. Other programs read the standing file.
const RESULT: &str = "boot-check.json";

/// While hardware is waited for at the start, it is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("cannot read `{}`: {source}", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("`{}`: {why}", file.display())]
    Parse { file: PathBuf, why: String },
    #[error(transparent)]
    Hardware(#[from] HardwareError),
}

/// Runs the boot check on what the config points at.
///
/// # Errors
/// Only for files that the operator must mend. Hardware that is missing or wrong is a result, not an error.
pub fn check(config: &Config) -> Result<BootCheck, BootError> {
    let hardware = Hardware::read(config)?;
    for (source, why) in &hardware.unread {
        tracing::warn!(source = source.as_str(), why, "hardware cannot be read");
    }
    judge(hardware, &lot_firmware(config)?)
}

fn judge(hardware: Hardware, firmware: &LotFirmware) -> Result<BootCheck, BootError> {
    let Hardware { record, fuse_secret, components, unread } = hardware;
    let check = boot_check(record.as_deref(), firmware, fuse_secret.as_ref(), components);
    let unread = unread.into_iter().map(|(source, _)| source).collect();
    Ok(check.with_unread(unread, &firmware.policy))
}

fn look(config: &Config) -> Result<BootCheck, BootError> {
    judge(Hardware::read(config)?, &lot_firmware(config)?)
}

/// Waits while the check would be restricted by what cannot be read yet, for the time that the config says; `waiting` is
/// called once if there is something to wait for. What cannot be read at all, the check that follows tells.
pub async fn await_hardware(config: &Config, waiting: impl FnOnce(Duration)) {
    let patience = config.hardware_patience();
    let (until, mut waiting) = (Instant::now() + patience, Some(waiting));
    while look(config).is_ok_and(|check| check.awaits_hardware()) && Instant::now() < until {
        if let Some(waiting) = waiting.take() {
            tracing::warn!(?patience, "hardware cannot be read yet; the boot check waits for it");
            waiting(patience);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Comes once what kept `check` from a verdict can be read; never if nothing did. Safe to cancel, but begins anew then.
pub async fn hardware_came(config: &Config, check: BootCheck) {
    if !check.awaits_hardware() {
        return std::future::pending().await;
    }
    loop {
        sleep(config.hardware_patience()).await;
        match look(config) {
            Ok(now) if now.awaits_hardware() && now.device() == check.device() => {}
            Ok(_) => return,
            Err(error) => tracing::warn!(%error, "the boot check cannot be repeated"),
        }
    }
}

/// What the firmware of this lot carries.
pub fn lot_firmware(config: &Config) -> Result<LotFirmware, BootError> {
    let file = &config.lot_firmware_file;
    LotFirmware::from_json(&read(file)?).map_err(|error| refused(file, &error))
}

/// The cluster's public keys, pinned on this terminal.
pub fn cluster(config: &Config) -> Result<ClusterPublic, BootError> {
    cluster_file(&config.cluster_file)
}

/// The public keys in one file.
pub fn cluster_file(file: &Path) -> Result<ClusterPublic, BootError> {
    serde_json::from_str(&read(file)?).map_err(|error| refused(file, &error))
}

fn read(file: &Path) -> Result<Zeroizing<String>, BootError> {
    let text = std::fs::read_to_string(file);
    text.map(Zeroizing::new).map_err(|source| BootError::Read { file: file.to_owned(), source })
}

fn refused(file: &Path, error: &dyn std::fmt::Display) -> BootError {
    BootError::Parse { file: file.to_owned(), why: error.to_string() }
}

/// Leaves the result in the state directory.
pub fn publish(check: &BootCheck, state_dir: &Path) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(&check.report()).map_err(io::Error::other)?;
    replace(&state_dir.join(RESULT), &text, 0o600)
}
