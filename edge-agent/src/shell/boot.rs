//! One boot: read the hardware, check it, and leave the result in the state directory.

use super::config::Config;
use super::hardware::{self, HardwareError};
use super::replace::replace;
use crate::machine::{BootCheck, boot_check};
use events::identity::lot::LotFirmware;
use events::keyring::ClusterPublic;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What the check found, for `status` and `doctor`: `state_dir/boot-check.json`. Other programs read the standing file.
const RESULT: &str = "boot-check.json";

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
    let firmware = lot_firmware(config)?;
    let record = hardware::read_record(config);
    let fuse_secret = hardware::read_fuse_secret(config)?;
    let components = hardware::read_components(config);
    Ok(boot_check(record.as_deref(), &firmware, fuse_secret.as_ref(), components))
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
