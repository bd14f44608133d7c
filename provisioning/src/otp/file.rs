//! A file that behaves like fuses, for development: it can be burned once and is read-only afterwards.

use super::{OtpMemory, OtpMemoryError, is_blank};
use crate::files::parent;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use zeroize::Zeroizing;

const BLANK: u8 = 0;

/// A slot that is a whole file. A file that does not exist is a blank slot.
#[derive(Debug)]
pub struct FileOtp {
    path: PathBuf,
    size: usize,
}

impl FileOtp {
    /// `size` in bytes: 256 for the `full` profile, 32 for the `seed` profile.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, size: usize) -> Self {
        FileOtp { path: path.into(), size }
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> OtpMemoryError + '_ {
        move |source| OtpMemoryError::Io { doing, path: self.path.clone(), source }
    }
}

impl OtpMemory for FileOtp {
    fn read(&mut self) -> Result<Vec<u8>, OtpMemoryError> {
        let mut slot = Vec::with_capacity(self.size);
        match File::open(&self.path) {
            Ok(file) => {
                file.take(self.size as u64).read_to_end(&mut slot).map_err(self.failed("read"))?;
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(self.failed("open")(e)),
        }
        slot.resize(self.size, BLANK);
        Ok(slot)
    }

    fn burn(&mut self, bytes: &[u8]) -> Result<(), OtpMemoryError> {
        if bytes.len() > self.size {
            return Err(OtpMemoryError::TooSmall { place: self.place(), size: self.size, need: bytes.len() });
        }
        if !is_blank(&self.read()?, BLANK) {
            return Err(OtpMemoryError::NotBlank { place: self.place() });
        }
        let mut slot = Zeroizing::new(bytes.to_vec());
        slot.resize(self.size, BLANK);
        // In place, as fuses are: a power cut leaves nothing, a part or all of it.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path);
        let mut file = file.map_err(self.failed("open for burning"))?;
        file.write_all(&slot).map_err(self.failed("burn"))?;
        file.set_permissions(Permissions::from_mode(0o400)).map_err(self.failed("lock"))?;
        file.sync_all().map_err(self.failed("fsync"))?;
        File::open(parent(&self.path)).and_then(|f| f.sync_all()).map_err(self.failed("fsync the folder of"))
    }

    fn size(&self) -> usize {
        self.size
    }

    fn blank(&self) -> u8 {
        BLANK
    }

    fn is_permanent(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        format!("OTP file {}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_missing_file_is_a_blank_slot() {
        let dir = tempfile::tempdir().unwrap();
        let mut otp = FileOtp::new(dir.path().join("otp"), 256);
        assert_eq!(otp.read().unwrap(), vec![0; 256]);
    }

    #[test]
    fn what_is_burned_is_read_back_and_padded_with_blank_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("otp");
        fs::write(&path, [0; 100]).unwrap();
        let mut otp = FileOtp::new(&path, 256);
        otp.burn(&[7; 240]).unwrap();
        let slot = FileOtp::new(&path, 256).read().unwrap();
        assert_eq!((&slot[..240], &slot[240..]), (&[7; 240][..], &[0; 16][..]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
    }

    #[test]
    fn a_second_burn_is_refused_even_of_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let mut otp = FileOtp::new(dir.path().join("otp"), 32);
        otp.burn(&[1; 32]).unwrap();
        for bytes in [[1; 32], [2; 32]] {
            assert!(matches!(otp.burn(&bytes), Err(OtpMemoryError::NotBlank { .. })));
        }
        assert_eq!(otp.read().unwrap(), vec![1; 32]);
    }

    #[test]
    fn more_bytes_than_the_slot_has_are_refused_before_anything_is_burned() {
        let dir = tempfile::tempdir().unwrap();
        let mut otp = FileOtp::new(dir.path().join("otp"), 32);
        assert!(matches!(otp.burn(&[1; 33]), Err(OtpMemoryError::TooSmall { size: 32, need: 33, .. })));
        assert_eq!(otp.read().unwrap(), vec![0; 32]);
    }
}
