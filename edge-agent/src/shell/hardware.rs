//! Reads what the boot check compares: the OTP record, the fuse secret and the values of the components.
//!
//! An nvmem node, an MTD OTP region and a file all read the same way; the kernel has done the rest.

use super::config::{Config, OtpConfig, ProfileName};
use crate::machine::HardwareSource;
use events::identity::fingerprint::Component;
use events::identity::otp::{FuseSecret, SLOT_BYTES};
use events::limits::COMPONENT_VALUE_BYTES_MAX;
use events::vocabulary::shared::ComponentKind;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
pub enum HardwareError {
    #[error("cannot read the fuse secret `{}`: {source}", file.display())]
    FuseSecret { file: PathBuf, source: io::Error },
    #[error("the fuse secret `{}` has {got} bytes at the offset given, expected 32", file.display())]
    FuseSecretLength { file: PathBuf, got: usize },
}

/// All that the boot check compares, as far as it could be read.
pub struct Hardware {
    /// The raw record as it lies in OTP.
    pub record: Option<Vec<u8>>,
    pub fuse_secret: Option<FuseSecret>,
    pub components: Vec<Component>,
    /// What could not be read, and why.
    pub unread: Vec<(HardwareSource, String)>,
}

impl Hardware {
    /// # Errors
    /// The fuse secret is too short, which no waiting mends.
    pub fn read(config: &Config) -> Result<Self, HardwareError> {
        let mut unread = Vec::new();
        let record = try_read_record(config)
            .map_err(|error| {
                let about = format!("`{}`: {error}", config.otp.record.display());
                unread.push((HardwareSource::Record, about));
            })
            .ok();
        let fuse_secret = match read_fuse_secret(config) {
            Err(HardwareError::FuseSecret { file, source }) => {
                unread.push((HardwareSource::FuseSecret, format!("`{}`: {source}", file.display())));
                None
            }
            read => read?,
        };
        let mut components = Vec::new();
        for (kind, file) in &config.components {
            match read_component(*kind, file) {
                Ok(component) => components.push(component),
                Err(error) if is_unread(&error) => {
                    unread.push((HardwareSource::Component(*kind), format!("`{}`: {error}", file.display())));
                }
                Err(error) => {
                    tracing::warn!(component = %kind, file = %file.display(), %error, "a component is none");
                }
            }
        }
        Ok(Hardware { record, fuse_secret, components, unread })
    }
}

/// The raw record as it lies in OTP.
pub fn try_read_record(config: &Config) -> io::Result<Vec<u8>> {
    let OtpConfig { record, offset, .. } = &config.otp;
    let bytes = read_at(record, *offset, SLOT_BYTES)?;
    // Nothing at all is no record that differs.
    if bytes.is_empty() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
}

/// The secret in the fuses, for the `seed` profile.
pub fn read_fuse_secret(config: &Config) -> Result<Option<FuseSecret>, HardwareError> {
    let (ProfileName::Seed, Some(file)) = (config.otp.profile, &config.otp.fuse_secret) else {
        return Ok(None);
    };
    let bytes = read_at(file, config.otp.fuse_offset.unwrap_or(0), FuseSecret::BYTES)
        .map(Zeroizing::new)
        .map_err(|source| HardwareError::FuseSecret { file: file.clone(), source })?;
    let got = bytes.len();
    let secret = FuseSecret::try_from(bytes.as_slice());
    secret.map(Some).map_err(|_| HardwareError::FuseSecretLength { file: file.clone(), got })
}

/// Device tree strings end in NUL, sysfs attributes in a line feed; [`Component`] trims both.
pub fn read_component(kind: ComponentKind, file: &Path) -> io::Result<Component> {
    // A few bytes more than allowed, so that what is too long is refused and not cut.
    let value = read_at(file, 0, COMPONENT_VALUE_BYTES_MAX + 16)?;
    let is_empty = value.iter().all(|byte| *byte == 0 || byte.is_ascii_whitespace());
    // A driver that is not ready often shows an attribute without a value.
    let reason = if is_empty { ErrorKind::UnexpectedEof } else { ErrorKind::InvalidData };
    Component::new(kind, &value).map_err(|error| io::Error::new(reason, error))
}

/// Whether nothing was read, against something that is no value.
#[must_use]
pub fn is_unread(error: &io::Error) -> bool {
    error.kind() != ErrorKind::InvalidData
}

/// At most `most` bytes. The buffer is of that size from the start: one that grew would leave parts of a secret behind.
fn read_at(file: &Path, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(file)?;
    if offset > 0 {
        file.seek(SeekFrom::Start(offset))?;
    }
    let mut bytes = Vec::with_capacity(most);
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
