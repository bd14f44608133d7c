//! A snapshot on its way in: on the disk instead of in memory, piece by piece.
//!
//! The file is this process's alone: sealed under a fresh key that is nowhere written down, removed when the transfer
//! ends, and by the next open if the process ends first.

use super::disk::{Disk, DiskFile};
use super::error::{CorruptionKind, StorageError};
use super::snapshot_file::{SnapshotFiles, read_parts};
use events::log::keys::{KeyEncryptionKey, SALT_BYTES};
use events::log::snapshot::{
    PART_BYTES, PART_OVERHEAD_BYTES, SNAPSHOT_HEADER_BYTES, SnapshotCipher, SnapshotHeader,
};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of every piece but the last.
pub const PIECE_BYTES: usize = PART_BYTES;

/// Ends with `.tmp`, so that an open removes what a crash left.
const NAME: &str = "incoming.tmp";

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
    /// Begins to keep a snapshot of `total` bytes. There is one at a time: an earlier one must be dropped first.
    pub fn spill(&self, total: u64) -> Result<Spill, StorageError> {
        let (disk, entropy, options) = self.parts();
        let path = options.dir.join(NAME);
        match disk.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(StorageError::io("removing", &path)(error));
            }
            Ok(()) | Err(_) => {}
        }
        let file = disk.create_new(&path).map_err(StorageError::io("creating", &path))?;
        let (mut salt, mut key) = ([0; SALT_BYTES], [0; 32]);
        entropy.fill(&mut salt);
        entropy.fill(&mut key);
        let key = KeyEncryptionKey::new(0, key);
        let header = SnapshotHeader {
            cluster: options.cluster,
            node: options.node,
            index: 0,
            key_id: key.id(),
            salt,
            meta_length: 0,
            state_length: total,
        };
        let (_, cipher) = header.seal(&key);
        Ok(Spill { disk: Arc::clone(disk), path, file, header, cipher, kept: 0 })
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
        let offset = SNAPSHOT_HEADER_BYTES as u64 + number * (PIECE_BYTES + PART_OVERHEAD_BYTES) as u64;
        let mut part = Vec::with_capacity(piece.len() + PART_OVERHEAD_BYTES);
        part.extend_from_slice(piece);
        self.cipher.seal_part(number, &mut part);
        self.file.write_at(offset, &part).map_err(StorageError::write(&self.path, offset))?;
        self.kept += piece.len() as u64;
        Ok(())
    }

    /// Everything that was kept, once it is whole.
    pub fn read(&self) -> Result<Vec<u8>, StorageError> {
        if !self.is_whole() {
            return Err(StorageError::corrupt(&self.path, self.kept, CorruptionKind::SnapshotPart));
        }
        read_parts(&*self.file, &self.path, &self.header, &self.cipher)
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if let Err(error) = self.disk.remove(&self.path) {
            tracing::warn!(file = %self.path.display(), %error, "cannot remove a snapshot that came in; the next start will");
        }
    }
}
