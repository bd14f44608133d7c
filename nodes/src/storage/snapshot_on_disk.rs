//! A snapshot that is read from its file a piece at a time: to send it without holding it in memory.

use super::disk::DiskFile;
use super::error::{CorruptionKind, StorageError};
use super::segment_file::read_range;
use events::ids::LogIndex;
use events::log::snapshot::{
    PART_BYTES, PART_OVERHEAD_BYTES, SNAPSHOT_HEADER_BYTES, SnapshotCipher, SnapshotHeader,
};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;

/// An open snapshot whose header was believed; its parts are checked as they are read. The file may be removed
/// meanwhile: what is open can be read.
pub struct SnapshotOnDisk {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) header: SnapshotHeader,
    pub(super) cipher: SnapshotCipher,
}

impl SnapshotOnDisk {
    /// The last log index that the state contains.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        self.header.index
    }

    /// Bytes of the state.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.header.state_length
    }

    /// Names this very file: another snapshot, be it of the same state, has another salt.
    #[must_use]
    pub fn name(&self) -> u64 {
        let SnapshotHeader { node, index, salt, .. } = &self.header;
        let digest = Sha256::new()
            .chain_update(salt)
            .chain_update(node.to_le_bytes())
            .chain_update(index.to_le_bytes())
            .finalize();
        digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }

    /// What stands before the state.
    pub fn meta(&self) -> Result<Vec<u8>, StorageError> {
        self.content(0, self.header.meta_length)
    }

    /// Up to `length` bytes of the state from `offset` on; fewer only at its end. Blocks on the disk.
    pub fn piece(&self, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        let start = self.header.meta_length + offset.min(self.total());
        let end = (start + length as u64).min(self.length());
        self.content(start, end)
    }

    /// Reads all of it, a part at a time: an error names the first that is not intact.
    pub fn check(&self) -> Result<(), StorageError> {
        (0..self.length().div_ceil(PART_BYTES as u64)).try_for_each(|number| self.part(number).map(drop))
    }

    /// Bytes of meta ‖ state.
    fn length(&self) -> u64 {
        self.header.meta_length + self.header.state_length
    }

    fn content(&self, start: u64, end: u64) -> Result<Vec<u8>, StorageError> {
        let part_bytes = PART_BYTES as u64;
        let mut content = Vec::with_capacity((end - start) as usize);
        for number in start / part_bytes..end.div_ceil(part_bytes) {
            let part = self.part(number)?;
            let begins = number * part_bytes;
            let within = |at: u64| (at.clamp(begins, begins + part.len() as u64) - begins) as usize;
            content.extend_from_slice(&part[within(start)..within(end)]);
        }
        Ok(content)
    }

    fn part(&self, number: u64) -> Result<Vec<u8>, StorageError> {
        let left = self.length() - number * PART_BYTES as u64;
        let offset = SNAPSHOT_HEADER_BYTES as u64 + number * (PART_BYTES + PART_OVERHEAD_BYTES) as u64;
        let mut part =
            read_range(&*self.file, offset, left.min(PART_BYTES as u64) as usize + PART_OVERHEAD_BYTES)
                .map_err(StorageError::io("reading", &self.path))?;
        self.cipher
            .open_part(number, &mut part)
            .map_err(|_| StorageError::corrupt(&self.path, offset, CorruptionKind::SnapshotPart))?;
        Ok(part)
    }
}
