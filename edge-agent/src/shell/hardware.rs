//! Reads what the boot check compares: the OTP record, the fuse secret and the values of the components.
//!
//! An nvmem node, an MTD OTP region and a file all read the same way; the kernel has done the rest.

use super::config::{Config, ProfileName};
use events::identity::fingerprint::Component;
use events::identity::otp::{FuseSecret, SLOT_BYTES};
use events::limits::COMPONENT_VALUE_BYTES_MAX;
use events::vocabulary::shared::ComponentKind;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
pub enum HardwareError {
    #[error("cannot read the fuse secret `{}`: {source}", file.display())]
    FuseSecret { file: PathBuf, source: io::Error },
    #[error("the fuse secret `{}` has {got} bytes, expected 32", file.display())]
    FuseSecretLength { file: PathBuf, got: usize },
}

/// The raw record as it lies in OTP; `None` if it cannot be read, which the boot check reports as missing.
pub fn read_record(config: &Config) -> Option<Vec<u8>> {
    try_read_record(config)
        .inspect_err(|error| {
            tracing::error!(file = %config.otp.record.display(), %error, "cannot read the OTP record");
        })
        .ok()
}

/// The same, with what went wrong.
pub fn try_read_record(config: &Config) -> io::Result<Vec<u8>> {
    let mut file = File::open(&config.otp.record)?;
    file.seek(SeekFrom::Start(config.otp.offset))?;
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    file.take(SLOT_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The secret in the fuses, for the `seed` profile.
pub fn read_fuse_secret(config: &Config) -> Result<Option<FuseSecret>, HardwareError> {
    let (ProfileName::Seed, Some(file)) = (config.otp.profile, &config.otp.fuse_secret) else {
        return Ok(None);
    };
    let bytes = std::fs::read(file)
        .map(Zeroizing::new)
        .map_err(|source| HardwareError::FuseSecret { file: file.clone(), source })?;
    let got = bytes.len();
    let secret = FuseSecret::try_from(bytes.as_slice());
    secret.map(Some).map_err(|_| HardwareError::FuseSecretLength { file: file.clone(), got })
}

/// Every component that could be read. One that could not is missing, as if it were torn out.
pub fn read_components(config: &Config) -> Vec<Component> {
    let read = |(kind, file): (&ComponentKind, &PathBuf)| {
        read_component(*kind, file)
            .inspect_err(|error| {
                tracing::warn!(component = %kind, file = %file.display(), %error, "a component is missing");
            })
            .ok()
    };
    config.components.iter().filter_map(read).collect()
}

/// Device tree strings end in NUL, sysfs attributes in a line feed; [`Component`] trims both.
pub fn read_component(kind: ComponentKind, file: &Path) -> io::Result<Component> {
    let mut value = Vec::new();
    // A few bytes more than allowed, so that what is too long is refused and not cut.
    File::open(file)?.take(COMPONENT_VALUE_BYTES_MAX as u64 + 16).read_to_end(&mut value)?;
    Component::new(kind, &value).map_err(io::Error::other)
}
