//! One-time-programmable memory, as a station sees it: a slot that is blank until it is burned once.
//!
//! ```text
//!   FileOtp    a file, for development: burns once like fuses, but a file can be deleted
//!   NvmemOtp   /sys/bus/nvmem/devices/<name>: real fuses; what is burned there stays for ever
//! ```

mod file;
mod nvmem;

pub use file::FileOtp;
pub use nvmem::NvmemOtp;

use std::io;
use std::path::PathBuf;

/// A slot of one-time-programmable memory.
pub trait OtpMemory {
    /// What the slot holds now, all of it, read from the memory itself and never from a cache.
    fn read(&mut self) -> Result<Vec<u8>, OtpMemoryError>;

    /// Burns `bytes` at the start of a slot that is wholly blank, and refuses any other slot. When it fails or power
    /// is cut, the slot may hold nothing, a part or all of it: only [`OtpMemory::read`] tells.
    fn burn(&mut self, bytes: &[u8]) -> Result<(), OtpMemoryError>;

    /// Size of the slot in bytes.
    fn size(&self) -> usize;

    /// The value of every byte that was never burned.
    fn blank(&self) -> u8;

    /// Whether what is burned can never be undone.
    fn is_permanent(&self) -> bool;

    /// Where the slot is, for people.
    fn place(&self) -> String;
}

/// Why memory could not be read or burned, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OtpMemoryError {
    #[error("{place} was burned before and is never burned again: connect a blank terminal")]
    NotBlank { place: String },
    #[error(
        "{place} is blank for {used} bytes, but not behind them: a terminal reads up to {size} and takes no record before other data. Choose another offset"
    )]
    RestNotBlank { place: String, used: usize, size: usize },
    #[error("{place} has {size} bytes, {need} are needed: choose another offset or memory")]
    TooSmall { place: String, size: usize, need: usize },
    #[error(
        "{place} is written in words of 4 bytes, but offset {offset} or length {length} is no multiple of 4"
    )]
    Misaligned { place: String, offset: usize, length: usize },
    #[error(
        "{place} is of type `{found}`, which can be rewritten: burn the seed profile into fuses instead, and keep its sealed record there"
    )]
    Rewritable { place: String, found: String },
    #[error("{place} is no nvmem device; present are: {present}")]
    NoDevice { place: String, present: String },
    #[error(
        "could not burn the word at byte {at} of {path}: {source}. {burned} bytes before it are burned; this driver may want words of another size"
    )]
    Word { path: PathBuf, at: usize, burned: usize, source: io::Error },
    #[error("could not {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// Whether every byte of a slot is blank.
pub(crate) fn is_blank(slot: &[u8], blank: u8) -> bool {
    slot.iter().all(|&byte| byte == blank)
}
