//! A snapshot on its way in: on the disk instead of in memory, piece by piece, and read from there once it is whole.
//!
//! ```text
//!   incoming-<index>-<transfer>.part   header and parts of a snapshot file (events::log::snapshot), parts in order
//! ```
//!
//! It outlives a cut connection and the process: the next piece of the same transfer goes on where the last one ended.
//! Nothing of it is synced, and nothing of it is believed before its seal is checked: what a power cut tore is fetched
//! again. It is removed once a snapshot that stands as high is kept, or another transfer begins.

use super::disk::{Disk, DiskFile};
use super::error::{CorruptionKind, StorageError};
use super::json_file::remove_if_there;
use super::snapshot_file::SnapshotFiles;
use super::snapshot_on_disk::SnapshotOnDisk;
use super::unreadable::read_whole;
use events::ids::LogIndex;
use events::log::keys::SALT_BYTES;
use events::log::snapshot::{
    PART_BYTES, PART_OVERHEAD_BYTES, SNAPSHOT_HEADER_BYTES, SnapshotCipher, SnapshotHeader,
};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of every piece but the last.
pub const PIECE_BYTES: usize = PART_BYTES;

/// Which snapshot comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferName {
    /// The sender's name of the file that it sends.
    pub id: u64,
    /// The last log index that the state contains.
    pub index: LogIndex,
    /// Bytes of the state.
    pub total: u64,
}

/// The pieces kept so far. Blocks on the disk, as everything here.
pub struct Spill {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    header: SnapshotHeader,
    cipher: SnapshotCipher,
    kept: u64,
}

impl SnapshotFiles {
    /// A place for the pieces of `name`, with those that are here already. There is one at a time: an earlier one must be
    /// dropped first, and what is left of other transfers is removed.
    pub fn spill(&self, name: TransferName) -> Result<Spill, StorageError> {
        let (disk, _, options) = self.parts();
        let path = options.dir.join(file_name(name));
        let names = disk.list(&options.dir).map_err(StorageError::io("listing", &options.dir))?;
        for other in names.iter().filter(|other| index_of(other).is_some()) {
            let other = options.dir.join(other);
            if other != path {
                remove_if_there(&**disk, &other)?;
            }
        }
        let adopted = self.adopt(name, &path).unwrap_or_else(|error| {
            tracing::warn!(%error, "what came in of a snapshot before cannot be used; it is fetched anew");
            None
        });
        // What is missing comes in here, and all of it once more where it is kept.
        let missing = name.total - adopted.as_ref().map_or(0, |adopted| adopted.kept);
        self.check_room(name.total.saturating_add(missing))?;
        match adopted {
            Some(adopted) => Ok(adopted),
            None => self.fresh(name, path),
        }
    }

    fn fresh(&self, name: TransferName, path: PathBuf) -> Result<Spill, StorageError> {
        let (disk, entropy, options) = self.parts();
        remove_if_there(&**disk, &path)?;
        let file = disk.create_new(&path).map_err(StorageError::io("creating", &path))?;
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        let key = options.keys.newest();
        let header = SnapshotHeader {
            cluster: options.cluster,
            node: options.node,
            index: name.index,
            key_id: key.id(),
            salt,
            meta_length: 0,
            state_length: name.total,
        };
        let (bytes, cipher) = header.seal(key);
        file.write_at(0, &bytes).map_err(StorageError::write(&path, 0))?;
        Ok(Spill { disk: Arc::clone(disk), path, file, header, cipher, kept: 0 })
    }

    /// What an earlier process kept of `name`, if anything of it is intact.
    fn adopt(&self, name: TransferName, path: &Path) -> Result<Option<Spill>, StorageError> {
        let (disk, ..) = self.parts();
        let file = match disk.open_write(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("opening", path)(error)),
        };
        let (header, cipher) = self.open_header(&*file, path, name.index)?;
        if (header.meta_length, header.state_length) != (0, name.total) {
            return Ok(None);
        }
        let left = Spill { disk: Arc::clone(disk), path: path.to_owned(), file, header, cipher, kept: 0 };
        let (intact, is_torn) = left.intact()?;
        tracing::info!(file = %path.display(), bytes = intact, is_torn, "a snapshot goes on coming in where it ended");
        if is_torn {
            self.copied(name, &left, intact).map(Some)
        } else {
            Ok(Some(Spill { kept: intact, ..left }))
        }
    }

    /// The intact parts of `torn` in a file of its own: no part is ever sealed twice under one key.
    fn copied(&self, name: TransferName, torn: &Spill, intact: u64) -> Result<Spill, StorageError> {
        let (disk, _, options) = self.parts();
        let temporary = torn.path.with_extension("tmp");
        let mut copy = self.fresh(name, temporary.clone())?;
        while copy.kept < intact {
            let piece = torn.part(copy.kept / PIECE_BYTES as u64)?;
            copy.add(&piece)?;
        }
        disk.rename(&temporary, &torn.path).map_err(StorageError::io("renaming to", &torn.path))?;
        disk.sync_dir(&options.dir).map_err(StorageError::io("syncing", &options.dir))?;
        copy.path.clone_from(&torn.path);
        Ok(copy)
    }
}

impl Spill {
    /// Bytes kept so far.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.kept == self.header.state_length
    }

    /// Whether a piece of `length` bytes at `offset` is the next one.
    #[must_use]
    pub fn follows(&self, offset: u64, length: usize) -> bool {
        let left = self.header.state_length - self.kept;
        offset == self.kept && length as u64 == left.min(PIECE_BYTES as u64)
    }

    /// Keeps the next piece, for which [`Spill::follows`] holds.
    pub fn add(&mut self, piece: &[u8]) -> Result<(), StorageError> {
        let number = self.kept / PIECE_BYTES as u64;
        let offset = part_offset(number);
        let mut part = Vec::with_capacity(piece.len() + PART_OVERHEAD_BYTES);
        part.extend_from_slice(piece);
        self.cipher.seal_part(number, &mut part);
        self.file.write_at(offset, &part).map_err(StorageError::write(&self.path, offset))?;
        self.kept += piece.len() as u64;
        Ok(())
    }

    /// Everything that was kept, to be read from its file, once it is whole. It is read through once: raft cannot go on
    /// without what it was told is there. What is not intact gives its room back, and comes again.
    pub fn finish(self) -> Result<SnapshotOnDisk, StorageError> {
        if !self.is_whole() {
            return Err(StorageError::corrupt(&self.path, self.kept, CorruptionKind::SnapshotPart));
        }
        let Spill { disk, path, file, header, cipher, .. } = self;
        let snapshot = SnapshotOnDisk { path, file, header, cipher, shelf: None };
        if let Err(error) = snapshot.check() {
            remove_if_there(&*disk, &snapshot.path)?;
            return Err(error);
        }
        Ok(snapshot)
    }

    /// Gives the room back: of what is here nothing will be used.
    pub fn discard(self) {
        if let Err(error) = self.disk.remove(&self.path) {
            tracing::warn!(file = %self.path.display(), %error, "cannot remove a snapshot that came in");
        }
    }

    /// How many bytes are intact, and whether anything lies behind them.
    fn intact(&self) -> Result<(u64, bool), StorageError> {
        let length = self.file.length().map_err(StorageError::io("reading the length of", &self.path))?;
        let mut intact = 0;
        while intact < self.header.state_length
            && let Ok(part) = self.part(intact / PIECE_BYTES as u64)
        {
            intact += part.len() as u64;
        }
        let parts = intact.div_ceil(PIECE_BYTES as u64);
        let end = SNAPSHOT_HEADER_BYTES as u64 + intact + parts * PART_OVERHEAD_BYTES as u64;
        Ok((intact, length != end))
    }

    fn part(&self, number: u64) -> Result<Vec<u8>, StorageError> {
        let (offset, left) = (part_offset(number), self.header.state_length - number * PIECE_BYTES as u64);
        let length = left.min(PIECE_BYTES as u64) as usize + PART_OVERHEAD_BYTES;
        let mut part = read_whole(&*self.file, &self.path, offset, length)?;
        self.cipher
            .open_part(number, &mut part)
            .map_err(|_| StorageError::corrupt(&self.path, offset, CorruptionKind::SnapshotPart))?;
        Ok(part)
    }
}

fn part_offset(number: u64) -> u64 {
    SNAPSHOT_HEADER_BYTES as u64 + number * (PIECE_BYTES + PART_OVERHEAD_BYTES) as u64
}

fn file_name(name: TransferName) -> String {
    format!("incoming-{:020}-{:016x}.part", name.index, name.id)
}

/// Where the snapshot stands that a file of this name holds in part; `None` for any other file.
pub(super) fn index_of(name: &str) -> Option<LogIndex> {
    let (index, _) = name.strip_prefix("incoming-")?.strip_suffix(".part")?.split_once('-')?;
    index.parse().ok()
}
