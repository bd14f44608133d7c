//! A snapshot that is read from its file a piece at a time: to send it without holding it in memory.
//!
//! Whoever reads one of a node's own and finds it damaged sets it aside at once. Else it would be offered again, and its
//! transfer would end at the same place for ever.

use super::disk::{Disk, DiskFile};
use super::error::{CorruptionKind, StorageError};
use super::unreadable::read_whole;
use events::ids::LogIndex;
use events::log::snapshot::{
    PART_BYTES, PART_OVERHEAD_BYTES, SNAPSHOT_HEADER_BYTES, SealedSnapshotHeader, SnapshotCipher,
    SnapshotHeader,
};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open snapshot whose header was believed; its parts are checked as they are read. The file may be removed
/// meanwhile: what is open can be read.
pub struct SnapshotOnDisk {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) header: SnapshotHeader,
    pub(super) cipher: SnapshotCipher,
    /// Of one of the node's own: where it is set aside.
    pub(super) shelf: Option<Arc<dyn Disk>>,
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
        self.check_while(|| true).map(drop)
    }

    /// As [`SnapshotOnDisk::check`]. After each part `goes_on` is asked, and may take its time; false if it said no.
    pub(super) fn check_while(&self, mut goes_on: impl FnMut() -> bool) -> Result<bool, StorageError> {
        for number in 0..self.length().div_ceil(PART_BYTES as u64) {
            self.part(number)?;
            if !goes_on() {
                return Ok(false);
            }
        }
        Ok(true)
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
        self.read_part(number).inspect_err(|error| {
            if let (StorageError::Corrupt(_), Some(disk)) = (error, &self.shelf)
                && self.has_its_name(&**disk)
            {
                set_aside(&**disk, &self.path, error);
            }
        })
    }

    /// Whether it is this one that has the name still: one of the same state may have been made since.
    fn has_its_name(&self, disk: &dyn Disk) -> bool {
        let Ok(file) = disk.open_read(&self.path) else { return false };
        let Ok(bytes) = read_whole(&*file, &self.path, 0, SNAPSHOT_HEADER_BYTES) else { return false };
        SealedSnapshotHeader::parse(&bytes).is_ok_and(|sealed| sealed.claims().salt == self.header.salt)
    }

    fn read_part(&self, number: u64) -> Result<Vec<u8>, StorageError> {
        let left = self.length() - number * PART_BYTES as u64;
        let offset = SNAPSHOT_HEADER_BYTES as u64 + number * (PART_BYTES + PART_OVERHEAD_BYTES) as u64;
        let length = left.min(PART_BYTES as u64) as usize + PART_OVERHEAD_BYTES;
        let mut part = read_whole(&*self.file, &self.path, offset, length)?;
        self.cipher
            .open_part(number, &mut part)
            .map_err(|_| StorageError::corrupt(&self.path, offset, CorruptionKind::SnapshotPart))?;
        Ok(part)
    }
}

/// What a damaged one's name ends with.
pub(super) const DAMAGED: &str = "snap.damaged";

/// Takes its name from a damaged snapshot: raft would install it, or send it to others.
pub(super) fn set_aside(disk: &dyn Disk, path: &Path, error: &StorageError) {
    let aside = path.with_extension(DAMAGED);
    tracing::error!(%error, aside = %aside.display(), "a damaged snapshot is set aside");
    if let Err(error) = disk.rename(path, &aside) {
        tracing::error!(%error, file = %path.display(), "cannot rename a damaged snapshot");
    }
}
