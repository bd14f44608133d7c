//! The state file: two generations, so that a power cut at any write leaves one that is whole.
//!
//! ```text
//! save:  write state.tmp ─▶ fsync it ─▶ rename over the OLDER of state.a, state.b ─▶ fsync the folder
//! open:  of the copies whose checksum holds, the one with the higher revision
//!
//! copy = "MSTA" ‖ format u16 ‖ 0 u16 ‖ revision u64 ‖ length u32 ‖ payload ‖ crc32c u32 (over all before), LE
//! ```
//!
//! A failed write or fsync poisons the store: the kernel may have dropped the pages and marked them clean, so a
//! second try would prove nothing. The process ends and starts again from what the flash really holds.

use super::flash::Flash;
use std::io;
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"MSTA";
const FORMAT: u16 = 1;
const HEAD_BYTES: usize = 20;
const SUM_BYTES: usize = 4;
/// A state is a few hundred bytes; what is larger than this is no state.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
const NAMES: [&str; 2] = ["state.a", "state.b"];
const TEMPORARY: &str = "state.tmp";

#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    #[error("cannot {verb} `{file}` of the state directory: {source}")]
    Io { verb: &'static str, file: &'static str, source: io::Error },
    #[error("an earlier write of the state file failed; start the agent again")]
    Poisoned,
    #[error("a state of {0} bytes does not fit into the state file")]
    TooLarge(usize),
}

/// What was found at start.
pub struct Found {
    /// The newest whole copy.
    pub payload: Option<Zeroizing<Vec<u8>>>,
    /// Copies that are there and not whole, by file name.
    pub damaged: Vec<&'static str>,
}

pub struct StateFile<F> {
    flash: F,
    revision: u64,
    /// Index in `NAMES` of the copy that the next save replaces.
    older: usize,
    poisoned: bool,
}

impl<F: Flash> StateFile<F> {
    /// Reads both copies, after making them durable: what was read must not vanish with the next power cut.
    pub fn open(mut flash: F) -> Result<(Self, Found), StateFileError> {
        for name in NAMES {
            if flash.read(name).map_err(io_error("read", name))?.is_some() {
                flash.sync_file(name).map_err(io_error("fsync", name))?;
            }
        }
        flash.sync_names().map_err(io_error("fsync", "."))?;
        let (newest, found) = read_copies(&flash)?;
        let (revision, older) = match newest {
            Some((revision, index)) => (revision, 1 - index),
            None => (0, 0),
        };
        Ok((StateFile { flash, revision, older, poisoned: false }, found))
    }

    /// Returns once `payload` is durable; the copy before it is untouched until then.
    pub fn save(&mut self, payload: &[u8]) -> Result<(), StateFileError> {
        if self.poisoned {
            return Err(StateFileError::Poisoned);
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(StateFileError::TooLarge(payload.len()));
        }
        let bytes = encode(self.revision + 1, payload);
        let written = self.replace_older(&bytes);
        self.poisoned = written.is_err();
        written?;
        self.revision += 1;
        self.older = 1 - self.older;
        Ok(())
    }

    fn replace_older(&mut self, bytes: &[u8]) -> Result<(), StateFileError> {
        let name = NAMES[self.older];
        self.flash.write(TEMPORARY, bytes).map_err(io_error("write", TEMPORARY))?;
        self.flash.sync_file(TEMPORARY).map_err(io_error("fsync", TEMPORARY))?;
        self.flash.rename(TEMPORARY, name).map_err(io_error("rename", name))?;
        self.flash.sync_names().map_err(io_error("fsync", "."))
    }
}

/// Reads without writing or locking: for `status`, beside a running agent.
pub fn read_only<F: Flash>(flash: &F) -> Result<Found, StateFileError> {
    read_copies(flash).map(|(_, found)| found)
}

/// The newest whole copy as (revision, index in `NAMES`), and what was found.
type Copies = (Option<(u64, usize)>, Found);

fn read_copies<F: Flash>(flash: &F) -> Result<Copies, StateFileError> {
    let mut newest: Option<(u64, usize)> = None;
    let mut found = Found { payload: None, damaged: Vec::new() };
    for (index, name) in NAMES.into_iter().enumerate() {
        let Some(bytes) = flash.read(name).map_err(io_error("read", name))? else { continue };
        let bytes = Zeroizing::new(bytes);
        match decode(&bytes) {
            Some((revision, payload)) if newest.is_none_or(|(newer, _)| revision > newer) => {
                newest = Some((revision, index));
                found.payload = Some(Zeroizing::new(payload.to_vec()));
            }
            Some(_) => {}
            None => found.damaged.push(name),
        }
    }
    Ok((newest, found))
}

fn encode(revision: u64, payload: &[u8]) -> Zeroizing<Vec<u8>> {
    // The capacity is exact: a vector that grows would leave unwiped copies of secrets behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(HEAD_BYTES + payload.len() + SUM_BYTES));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&revision.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(payload);
    let sum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (body, sum) = bytes.split_last_chunk::<SUM_BYTES>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (magic, rest) = body.split_first_chunk::<4>()?;
    let (format, rest) = rest.split_first_chunk::<2>()?;
    let (_reserved, rest) = rest.split_first_chunk::<2>()?;
    let (revision, rest) = rest.split_first_chunk::<8>()?;
    let (length, payload) = rest.split_first_chunk::<4>()?;
    let whole = magic == MAGIC
        && u16::from_le_bytes(*format) == FORMAT
        && u32::from_le_bytes(*length) as usize == payload.len();
    whole.then(|| (u64::from_le_bytes(*revision), payload))
}

fn io_error(verb: &'static str, file: &'static str) -> impl FnOnce(io::Error) -> StateFileError {
    move |source| StateFileError::Io { verb, file, source }
}

#[cfg(test)]
mod tests;
