//! Fuses behind the Linux nvmem framework: `/sys/bus/nvmem/devices/<name>/`.
//!
//! | file | what it says (Documentation/ABI/stable/sysfs-bus-nvmem) |
//! |---|---|
//! | `nvmem` | the contents; its length is the size of the memory |
//! | `type` | `OTP`, `EEPROM`, `FRAM`, `Battery backed` or `Unknown` |
//! | `force_ro` | present since Linux 6.11 where the memory can be written: `1` means locked |
//!
//! Drivers burn in words: that of the i.MX (`imx-ocotp`) refuses every write but of exactly one. So words are written one
//! by one, in order.
//!
//! Many drivers of real fuses leave `type` at `Unknown`: it is treated as fuses, and thus as permanent.

use super::{OtpMemory, OtpMemoryError, is_blank};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Fuse words are of this size or a divisor of it, in bytes.
const WORD: usize = 4;

/// A slot in an nvmem device.
#[derive(Debug)]
pub struct NvmemOtp {
    folder: PathBuf,
    offset: usize,
    size: usize,
    blank: u8,
}

impl NvmemOtp {
    /// The slot of `size` bytes at `offset` of the device whose sysfs folder this is. `blank` is what an unburned
    /// byte reads as: 0 for fuses, 0xff for flash-like OTP.
    pub fn open(
        folder: impl Into<PathBuf>,
        offset: usize,
        size: usize,
        blank: u8,
    ) -> Result<Self, OtpMemoryError> {
        let otp = NvmemOtp { folder: folder.into(), offset, size, blank };
        let memory = match fs::metadata(otp.contents()) {
            Ok(found) => found.len(),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(OtpMemoryError::NoDevice {
                    place: otp.place(),
                    present: neighbours(&otp.folder),
                });
            }
            Err(e) => return Err(otp.failed("look at", &otp.contents())(e)),
        };
        otp.check_aligned(size)?;
        let end = offset.saturating_add(size);
        if end as u64 > memory {
            return Err(OtpMemoryError::TooSmall { place: otp.place(), size: memory as usize, need: end });
        }
        match otp.kind()?.as_str() {
            "OTP" | "Unknown" => Ok(otp),
            found => Err(OtpMemoryError::Rewritable { place: otp.place(), found: found.to_owned() }),
        }
    }

    /// The slot at `offset` that has `least` bytes, and up to `most` where the memory has them.
    pub fn open_up_to(
        folder: impl Into<PathBuf>,
        offset: usize,
        least: usize,
        most: usize,
        blank: u8,
    ) -> Result<Self, OtpMemoryError> {
        let folder = folder.into();
        let memory = fs::metadata(folder.join("nvmem")).map_or(0, |found| found.len() as usize);
        let size = memory.saturating_sub(offset).min(most) / WORD * WORD;
        NvmemOtp::open(folder, offset, size.max(least), blank)
    }

    /// The memory's type. Kernels that do not tell (before 5.0) are treated like `Unknown`.
    fn kind(&self) -> Result<String, OtpMemoryError> {
        let path = self.folder.join("type");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok("Unknown".to_owned()),
            Err(e) => Err(self.failed("read", &path)(e)),
        }
    }

    fn contents(&self) -> PathBuf {
        self.folder.join("nvmem")
    }

    fn check_aligned(&self, length: usize) -> Result<(), OtpMemoryError> {
        if self.offset.is_multiple_of(WORD) && length.is_multiple_of(WORD) {
            return Ok(());
        }
        Err(OtpMemoryError::Misaligned { place: self.place(), offset: self.offset, length })
    }

    fn write(&self, bytes: &[u8]) -> Result<(), OtpMemoryError> {
        let path = self.contents();
        let file =
            OpenOptions::new().write(true).open(&path).map_err(self.failed("open for burning", &path))?;
        write_words(bytes, |word, at| file.write_at(word, (self.offset + at) as u64)).map_err(
            |(burned, source)| OtpMemoryError::Word { path, at: self.offset + burned, burned, source },
        )
    }

    fn failed(&self, doing: &'static str, path: &Path) -> impl Fn(io::Error) -> OtpMemoryError + use<> {
        let path = path.to_owned();
        move |source| OtpMemoryError::Io { doing, path: path.clone(), source }
    }
}

impl OtpMemory for NvmemOtp {
    fn read(&mut self) -> Result<Vec<u8>, OtpMemoryError> {
        let path = self.contents();
        let file = File::open(&path).map_err(self.failed("open", &path))?;
        let mut slot = vec![0; self.size];
        file.read_exact_at(&mut slot, self.offset as u64).map_err(self.failed("read", &path))?;
        Ok(slot)
    }

    fn burn(&mut self, bytes: &[u8]) -> Result<(), OtpMemoryError> {
        if bytes.len() > self.size {
            return Err(OtpMemoryError::TooSmall { place: self.place(), size: self.size, need: bytes.len() });
        }
        self.check_aligned(bytes.len())?;
        if !is_blank(&self.read()?, self.blank) {
            return Err(OtpMemoryError::NotBlank { place: self.place() });
        }
        let lock =
            WriteLock::open(&self.folder).map_err(self.failed("unlock", &self.folder.join("force_ro")))?;
        let written = self.write(bytes);
        let locked = lock.close().map_err(self.failed("lock again", &self.folder.join("force_ro")));
        written.and(locked)
    }

    fn size(&self) -> usize {
        self.size
    }

    fn blank(&self) -> u8 {
        self.blank
    }

    fn is_permanent(&self) -> bool {
        true
    }

    fn place(&self) -> String {
        format!("nvmem {} at offset {}", self.folder.display(), self.offset)
    }
}

/// Writes each word once, in order, with one call. What was burned before a word that failed, in bytes, and why it failed.
fn write_words(
    bytes: &[u8],
    mut write: impl FnMut(&[u8], usize) -> io::Result<usize>,
) -> Result<(), (usize, io::Error)> {
    for (number, word) in bytes.chunks(WORD).enumerate() {
        let at = number * WORD;
        match write(word, at) {
            Ok(written) if written == word.len() => {}
            // A part of a word is not tried again: a fuse word is written once.
            Ok(_) => return Err((at, ErrorKind::WriteZero.into())),
            Err(error) => return Err((at, error)),
        }
    }
    Ok(())
}

/// The kernel's write protection, open while fuses are burned and closed again whatever happens.
struct WriteLock {
    /// Only where the memory was locked before.
    locked: Option<PathBuf>,
}

impl WriteLock {
    fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join("force_ro");
        match fs::read_to_string(&path) {
            Ok(text) if text.trim() == "1" => {
                put(&path, b"0")?;
                Ok(WriteLock { locked: Some(path) })
            }
            Ok(_) => Ok(WriteLock { locked: None }),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(WriteLock { locked: None }),
            Err(e) => Err(e),
        }
    }

    fn close(mut self) -> io::Result<()> {
        self.locked.take().map_or(Ok(()), |path| put(&path, b"1"))
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        if let Some(path) = self.locked.take() {
            let _ = put(&path, b"1");
        }
    }
}

/// Attributes of sysfs are written in place; there is nothing to create or rename.
fn put(path: &Path, value: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value)
}

/// The names of the nvmem devices that there are, for the error of one that is not.
fn neighbours(folder: &Path) -> String {
    let names = folder.parent().and_then(|parent| fs::read_dir(parent).ok()).map(|entries| {
        let mut names: Vec<_> =
            entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names.join(", ")
    });
    names.filter(|names| !names.is_empty()).unwrap_or_else(|| "none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A sysfs folder as the kernel shows it.
    struct FakeSysfs(TempDir);

    impl FakeSysfs {
        fn new(kind: &str, force_ro: Option<&str>, size: usize) -> Self {
            let fake = FakeSysfs(tempfile::tempdir().unwrap());
            fs::create_dir(fake.device()).unwrap();
            fs::write(fake.device().join("nvmem"), vec![0; size]).unwrap();
            fs::write(fake.device().join("type"), format!("{kind}\n")).unwrap();
            if let Some(value) = force_ro {
                fs::write(fake.device().join("force_ro"), format!("{value}\n")).unwrap();
            }
            fake
        }

        fn device(&self) -> PathBuf {
            self.0.path().join("rockchip-otp0")
        }

        fn force_ro(&self) -> String {
            fs::read_to_string(self.device().join("force_ro")).unwrap().trim().to_owned()
        }
    }

    #[test]
    fn a_record_is_burned_at_its_offset_and_nowhere_else() {
        let fake = FakeSysfs::new("OTP", None, 1024);
        let mut otp = NvmemOtp::open(fake.device(), 512, 256, 0).unwrap();
        assert!(otp.is_permanent());
        otp.burn(&[9; 240]).unwrap();
        let memory = fs::read(fake.device().join("nvmem")).unwrap();
        assert_eq!(memory.len(), 1024);
        assert!(memory[512..752].iter().all(|&b| b == 9));
        assert!(memory[..512].iter().chain(&memory[752..]).all(|&b| b == 0));
        assert_eq!(otp.read().unwrap(), memory[512..768]);
    }

    #[test]
    fn a_driver_that_takes_nothing_but_one_word_at_a_time_gets_each_word_once_and_in_order() {
        let bytes: Vec<u8> = (0..240).collect();
        let mut burned = Vec::new();
        let as_imx_ocotp = |word: &[u8], at: usize| {
            if word.len() != WORD || at != burned.len() {
                return Err(ErrorKind::InvalidInput.into());
            }
            burned.extend_from_slice(word);
            Ok(WORD)
        };
        write_words(&bytes, as_imx_ocotp).unwrap();
        assert_eq!(burned, bytes);
    }

    #[test]
    fn a_word_that_cannot_be_burned_is_named_and_none_after_it_is_touched() {
        let mut calls = 0;
        let fails_at_third = |_: &[u8], at: usize| {
            calls += 1;
            if at == 8 { Err(io::Error::from_raw_os_error(22)) } else { Ok(WORD) }
        };
        let (burned, error) = write_words(&[9; 240], fails_at_third).unwrap_err();
        assert_eq!((burned, error.raw_os_error(), calls), (8, Some(22), 3));
        let short = write_words(&[9; 8], |_, _| Ok(2)).unwrap_err();
        assert_eq!((short.0, short.1.kind()), (0, ErrorKind::WriteZero));
        let said =
            OtpMemoryError::Word { path: "nvmem".into(), at: 520, burned: 8, source: error }.to_string();
        assert!(said.contains("byte 520") && said.contains("8 bytes"), "{said}");
    }

    #[test]
    fn a_slot_is_as_long_as_a_terminal_reads_it_where_the_memory_has_that_much() {
        let fake = FakeSysfs::new("OTP", None, 1024);
        let size = |offset| NvmemOtp::open_up_to(fake.device(), offset, 240, 256, 0).map(|otp| otp.size());
        assert_eq!(size(512).unwrap(), 256);
        assert_eq!(size(1024 - 240).unwrap(), 240);
        assert_eq!(size(1024 - 248).unwrap(), 248);
        assert!(matches!(size(1024 - 236), Err(OtpMemoryError::TooSmall { size: 1024, need: 1028, .. })));
    }

    #[test]
    fn a_second_burn_is_refused() {
        let fake = FakeSysfs::new("OTP", None, 256);
        let mut otp = NvmemOtp::open(fake.device(), 0, 256, 0).unwrap();
        otp.burn(&[9; 240]).unwrap();
        assert!(matches!(otp.burn(&[9; 240]), Err(OtpMemoryError::NotBlank { .. })));
    }

    #[test]
    fn one_burned_byte_makes_a_slot_not_blank() {
        let fake = FakeSysfs::new("OTP", None, 256);
        let mut memory = vec![0; 256];
        memory[255] = 1;
        fs::write(fake.device().join("nvmem"), &memory).unwrap();
        let mut otp = NvmemOtp::open(fake.device(), 0, 256, 0).unwrap();
        assert!(matches!(otp.burn(&[9; 240]), Err(OtpMemoryError::NotBlank { .. })));
        assert_eq!(fs::read(fake.device().join("nvmem")).unwrap(), memory);
    }

    #[test]
    fn locked_memory_is_unlocked_for_the_burn_and_locked_again() {
        let fake = FakeSysfs::new("Unknown", Some("1"), 256);
        let mut otp = NvmemOtp::open(fake.device(), 0, 256, 0).unwrap();
        otp.burn(&[9; 240]).unwrap();
        assert_eq!(fake.force_ro(), "1");
        assert_eq!(otp.read().unwrap()[0], 9);
    }

    #[test]
    fn a_failed_burn_leaves_the_memory_locked() {
        let fake = FakeSysfs::new("OTP", Some("1"), 256);
        let mut otp = NvmemOtp::open(fake.device(), 0, 256, 0).unwrap();
        let lock = WriteLock::open(&fake.device()).unwrap();
        assert_eq!(fake.force_ro(), "0");
        drop(lock);
        assert_eq!(fake.force_ro(), "1");
        fs::remove_file(fake.device().join("nvmem")).unwrap();
        assert!(matches!(otp.burn(&[9; 240]), Err(OtpMemoryError::Io { .. })));
        assert_eq!(fake.force_ro(), "1");
    }

    #[test]
    fn memory_that_can_be_rewritten_is_refused_by_name() {
        let fake = FakeSysfs::new("EEPROM", None, 256);
        let refused = NvmemOtp::open(fake.device(), 0, 256, 0).unwrap_err();
        assert!(matches!(&refused, OtpMemoryError::Rewritable { found, .. } if found == "EEPROM"));
    }

    #[test]
    fn a_slot_past_the_end_or_off_a_word_is_refused() {
        let fake = FakeSysfs::new("OTP", None, 256);
        let open = |offset, size| NvmemOtp::open(fake.device(), offset, size, 0);
        assert!(matches!(open(16, 256), Err(OtpMemoryError::TooSmall { size: 256, need: 272, .. })));
        assert!(matches!(open(usize::MAX - 3, 256), Err(OtpMemoryError::TooSmall { .. })));
        assert!(matches!(open(2, 32), Err(OtpMemoryError::Misaligned { .. })));
    }

    #[test]
    fn a_device_that_is_not_there_names_those_that_are() {
        let fake = FakeSysfs::new("OTP", None, 256);
        let refused = NvmemOtp::open(fake.0.path().join("fuses0"), 0, 256, 0).unwrap_err();
        assert!(refused.to_string().contains("rockchip-otp0"), "{refused}");
    }

    #[test]
    fn flash_like_memory_is_blank_when_all_ones() {
        let fake = FakeSysfs::new("OTP", None, 256);
        fs::write(fake.device().join("nvmem"), [0xff; 256]).unwrap();
        let mut otp = NvmemOtp::open(fake.device(), 0, 256, 0xff).unwrap();
        otp.burn(&[9; 240]).unwrap();
        assert_eq!(otp.read().unwrap()[240..], [0xff; 16]);
    }
}
