//! One boot: read the hardware, check it, and leave the result where the terminal's applications find it.

use super::config::Config;
use super::hardware::{self, HardwareError};
use crate::machine::{BootCheck, boot_check};
use events::identity::lot::LotFirmware;
use events::keyring::ClusterPublic;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What the check found, for applications: `state_dir/boot-check.json`.
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
    let file = &config.lot_firmware_file;
    let firmware = LotFirmware::from_json(&read(file)?).map_err(|error| refused(file, &error))?;
    let record = hardware::read_record(config);
    let fuse_secret = hardware::read_fuse_secret(config)?;
    let components = hardware::read_components(config);
    Ok(boot_check(record.as_deref(), &firmware, fuse_secret.as_ref(), components))
}

/// The cluster's public keys, pinned on this terminal.
pub fn cluster(config: &Config) -> Result<ClusterPublic, BootError> {
    let file = &config.cluster_file;
    serde_json::from_str(&read(file)?).map_err(|error| refused(file, &error))
}

fn read(file: &Path) -> Result<Zeroizing<String>, BootError> {
    let text = std::fs::read_to_string(file);
    text.map(Zeroizing::new).map_err(|source| BootError::Read { file: file.to_owned(), source })
}

fn refused(file: &Path, error: &dyn std::fmt::Display) -> BootError {
    BootError::Parse { file: file.to_owned(), why: error.to_string() }
}

/// Publishes the result for the terminal's applications, replaced at once so that nobody reads half of it.
pub fn publish(check: &BootCheck, state_dir: &Path) -> io::Result<()> {
    let temporary = state_dir.join("boot-check.tmp");
    std::fs::write(&temporary, serde_json::to_vec_pretty(&check.report()).map_err(io::Error::other)?)?;
    std::fs::rename(temporary, state_dir.join(RESULT))
}
