//! The bytes of a snapshot: at hand, or in the file from which they are sent.

use crate::storage::snapshot_on_disk::SnapshotOnDisk;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;

/// A snapshot as it travels: `Projector::to_snapshot`, and the frontier of its log ([`super::tree`]).
#[derive(Clone)]
pub enum SnapshotBytes {
    Here(Bytes),
    OnDisk(Arc<SnapshotOnDisk>),
}

impl SnapshotBytes {
    #[must_use]
    pub fn total(&self) -> u64 {
        match self {
            SnapshotBytes::Here(bytes) => bytes.len() as u64,
            SnapshotBytes::OnDisk(file) => file.total(),
        }
    }

    /// Names these very bytes: who holds a part of them can be sent the rest. May take long.
    #[must_use]
    pub fn name(&self) -> u64 {
        match self {
            SnapshotBytes::Here(bytes) => {
                Sha256::digest(bytes).first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
            }
            SnapshotBytes::OnDisk(file) => file.name(),
        }
    }

    /// Up to `length` bytes from `offset` on; fewer only at the end. Blocks on the disk.
    pub fn piece(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        match self {
            SnapshotBytes::Here(bytes) => {
                let start = bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
                Ok(bytes.slice(start..bytes.len().min(start + length)))
            }
            SnapshotBytes::OnDisk(file) => Ok(file.piece(offset, length)?.into()),
        }
    }

    /// All of them. Blocks on the disk.
    pub fn whole(&self) -> io::Result<Bytes> {
        self.piece(0, usize::try_from(self.total()).map_err(io::Error::other)?)
    }
}

impl std::fmt::Debug for SnapshotBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotBytes({} bytes)", self.total())
    }
}
