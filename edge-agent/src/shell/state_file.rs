//! The state file: two generations, so that a power cut at any write leaves one that is whole.
//!
//! ```text
//! save:  write state.tmp ─▶ fsync it ─▶ rename over the OLDER of state.a, state.b ─▶ fsync the folder
//! open:  of the copies whose checksum holds, the one with the higher revision; a copy in a bad sector counts as damaged
//!
//! copy = "MSTA" ‖ format u16 ‖ 0 u16 ‖ revision u64 ‖ length u32 ‖ payload ‖ crc32c u32 (over all before), LE
//! ```
//!
//! A failed write or fsync poisons the store: the kernel may have dropped the pages and marked them clean, so a
//! second try would prove nothing. The process ends and starts again from what the flash really holds.

use super::flash::Flash;
use rustix::io::Errno;
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
    /// Copies that are there and not whole, or not readable, by file name.
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
    /// Reads both copies and makes them durable: what was read must not vanish with the next power cut.
    pub fn open(mut flash: F) -> Result<(Self, Found), StateFileError> {
        let Copies { newest, found, readable } = read_copies(&flash)?;
        for name in readable {
            flash.sync_file(name).map_err(io_error("fsync", name))?;
        }
        flash.sync_names().map_err(io_error("fsync", "."))?;
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
    read_copies(flash).map(|copies| copies.found)
}

struct Copies {
    /// The newest whole copy as (revision, index in `NAMES`).
    newest: Option<(u64, usize)>,
    found: Found,
    /// Those whose bytes came, whole or not.
    readable: Vec<&'static str>,
}

fn read_copies<F: Flash>(flash: &F) -> Result<Copies, StateFileError> {
    let mut copies =
        Copies { newest: None, found: Found { payload: None, damaged: Vec::new() }, readable: Vec::new() };
    for (index, name) in NAMES.into_iter().enumerate() {
        let bytes = match flash.read(name) {
            Ok(None) => continue,
            Ok(Some(bytes)) => Zeroizing::new(bytes),
            // One bad sector must not end a terminal whose other copy is whole: the next save gives it new ones.
            Err(error) if is_damage(&error) => {
                copies.found.damaged.push(name);
                continue;
            }
            Err(error) => return Err(io_error("read", name)(error)),
        };
        copies.readable.push(name);
        match decode(&bytes) {
            Some((revision, payload)) if copies.newest.is_none_or(|(newer, _)| revision > newer) => {
                copies.newest = Some((revision, index));
                copies.found.payload = Some(Zeroizing::new(payload.to_vec()));
            }
            Some(_) => {}
            None => copies.found.damaged.push(name),
        }
    }
    Ok(copies)
}

/// What a block device or a file system says of a sector or an inode that is broken, against what somebody can mend.
fn is_damage(error: &io::Error) -> bool {
    let damage = [Errno::IO, Errno::UCLEAN, Errno::BADMSG, Errno::NODATA, Errno::ILSEQ];
    damage.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
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
