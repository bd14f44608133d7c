//! What can go wrong with what lies on disk, named by file and offset, with what to do about it.

use events::ids::{ClusterId, NodeId};
use events::log::frame::{FrameDamage, FrameRefusal, RecordTooLarge};
use events::log::record::RecordError;
use events::log::segment::{HeaderError, HeaderKeyError};
use events::log::standing::StandingError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What every call of fsync says that it does, in [`StorageError::Io`].
const SYNCING: &str = "syncing";

/// Why storage refuses.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{doing} {path}: {source}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("writing {path} at offset {offset}: {source}")]
    Write {
        path: PathBuf,
        /// In bytes from the start of the file.
        offset: u64,
        #[source]
        source: io::Error,
    },
    #[error("{dir} is in use by another process; stop that node first")]
    InUse { dir: PathBuf },
    #[error(
        "{path} belongs to cluster {found}, and this node to cluster {expected}; \
         start it with its own data directory, or with the keyring of {found}"
    )]
    OtherCluster { path: PathBuf, found: ClusterId, expected: ClusterId },
    #[error(
        "{path} belongs to node {found}, and this is node {expected}; \
         start it with its own data directory: two nodes must never share one"
    )]
    OtherNode { path: PathBuf, found: NodeId, expected: NodeId },
    #[error("{path} cannot be opened: {source}; start the node with the keyring that it was written with")]
    Key {
        path: PathBuf,
        #[source]
        source: HeaderKeyError,
    },
    #[error(
        "{dir} has {free} bytes left, and {needed} are needed, what is kept free for the log included; \
         make room, or move the data directory to a larger disk: it is tried again by itself"
    )]
    NoRoom { dir: PathBuf, free: u64, needed: u64 },
    #[error("{0}")]
    Corrupt(#[from] Corruption),
    #[error("the log refuses a record: {0}")]
    Refused(#[from] StandingError),
    #[error(transparent)]
    TooLarge(#[from] RecordTooLarge),
    #[error("the log holds another entry {index} (term {held}) than the one purged (term {purged})")]
    PurgeConflict { index: u64, held: u64, purged: u64 },
    #[error(
        "the newest whole snapshot in {dir} stands at {found}, but the log is purged through {floor}: the entries \
         between them are out of raft's sight. Nothing was changed. Restore the newest snapshot from a copy of this \
         node's folder; else this node is gone for good, and the others go on without it (OPERATING.md)"
    )]
    SnapshotBelowFloor { dir: PathBuf, found: u64, floor: u64 },
    #[error(
        "there is no log, and no birth file {path}: node {node} has lived before and its data is gone, or \
         `muster cluster init` did not lay out this directory. A wiped node must not vote again under its old id. Put \
         its data directory back as it was last, if it still exists; else this node is gone for good, and the others go on \
         without it (OPERATING.md)"
    )]
    NotBorn { path: PathBuf, node: NodeId },
    #[error(
        "{path} is the birth of another life than the log beside it: a birth file begins an empty log only. If the log \
         is to go on, remove the birth file; there is no new life under this id"
    )]
    BornTwice { path: PathBuf },
    #[error(
        "the birth file {path} is malformed: {why}. Copy it again from where `muster cluster init` wrote it"
    )]
    BirthMalformed { path: PathBuf, why: String },
    #[error(
        "the log needs repair, since {file} is damaged at offset {offset} ({path} says so). A node that is started with \
         its peers in reach repairs it by itself; nothing else may open it before"
    )]
    NeedsRepair { path: PathBuf, file: String, offset: u64 },
    #[error(
        "the archive's manifest {path} is malformed at offset {offset}: {why}. Restore it from a copy; the segments beside \
         it can be read without it"
    )]
    ManifestMalformed { path: PathBuf, offset: u64, why: String },
    #[error("entry {index} that a peer sent for the repair of this log is refused: {why}")]
    PeersEntry { index: u64, why: &'static str },
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    #[error("the log is closed")]
    Closed,
}

/// Bytes that had reached the disk and are not what was written.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{path} is corrupt at offset {offset}: {what}. Nothing was changed. Keep the file; restore it from a copy of \
     this node's folder; else this node is gone for good, and the others go on without it (OPERATING.md)"
)]
pub struct Corruption {
    pub path: PathBuf,
    /// In bytes from the start of the file.
    pub offset: u64,
    pub what: CorruptionKind,
}

impl Corruption {
    /// Whether peers can make it good. What a newer version wrote is no damage: it must not be written over.
    #[must_use]
    pub fn is_repairable(&self) -> bool {
        let is_newer = matches!(
            &self.what,
            CorruptionKind::Header(HeaderError::UnknownVersion(_))
                | CorruptionKind::Refusal(FrameRefusal::Record(
                    RecordError::UnknownKind(_) | RecordError::UnknownSchema { .. }
                ))
        );
        super::segment_file::segment_number_of(&self.path).is_some() && !is_newer
    }
}

/// What is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorruptionKind {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Frame(#[from] FrameDamage),
    #[error(transparent)]
    Refusal(#[from] FrameRefusal),
    #[error("{0}")]
    Standing(#[from] StandingError),
    #[error("the file is missing")]
    Missing,
    #[error("the device does not give back what lies there")]
    Unreadable,
    #[error("the file has {found} bytes, and the log beside it knows that it had {expected}")]
    Length { expected: u64, found: u64 },
    #[error("it is of generation {found}, and this log began one of generation {expected} there")]
    Generation { expected: u64, found: u64 },
    #[error("it is not the copy that the manifest beside it names")]
    NotTheCopy,
    #[error("it holds history through {found:?}, and the manifest beside it says {said:?}")]
    NotAsTheManifest { said: Option<u64>, found: Option<u64> },
    #[error("what it says was changed or cut")]
    Note,
    #[error("its header names segment {found}")]
    Misplaced { found: u64 },
    #[error("it belongs to another life of this node than the segments before it")]
    OtherBirth,
    #[error("the log does not stand there where the header says")]
    Standpoint,
    #[error("expected entry {expected}, found another record")]
    NotTheEntry { expected: u64 },
    #[error("a part of the snapshot was changed or cut")]
    SnapshotPart,
    #[error("it holds other entries than a signed checkpoint vouches for")]
    Disbelieved,
}

/// Nothing is accepted any more, and the process must end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Poisoned {
    /// A write or an fsync failed. What reached the disk is unknown; the next open finds out. Nothing is retried: after a
    /// failed fsync the kernel forgets what was dirty.
    #[error("storage failed and accepts nothing any more: {0}")]
    Failed(Arc<str>),
    /// What lies on the disk is not what was written. The next open reads that place, and makes it good from peers.
    #[error("the log is damaged, and the next start repairs it from the peers: {0}")]
    Condemned(Arc<str>),
}

impl StorageError {
    /// Whether something did not reach the disk, or may not have. To open again and again would believe the kernel's
    /// cache, which after a failed fsync is not what the disk has.
    #[must_use]
    pub fn is_failed_write(&self) -> bool {
        match self {
            StorageError::Write { .. } => true,
            // What cannot be reached was not written: a mount is late, or not this user's.
            StorageError::Io { doing, source, .. } => {
                *doing == SYNCING
                    && !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
            }
            StorageError::Poisoned(poisoned) => matches!(poisoned, Poisoned::Failed(_)),
            _ => false,
        }
    }

    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
        move |source| StorageError::Io { doing, path: path.to_owned(), source }
    }

    pub(super) fn write(path: &Path, offset: u64) -> impl FnOnce(io::Error) -> StorageError {
        move |source| StorageError::Write { path: path.to_owned(), offset, source }
    }

    pub(super) fn corrupt(path: &Path, offset: u64, what: impl Into<CorruptionKind>) -> StorageError {
        StorageError::Corrupt(Corruption { path: path.to_owned(), offset, what: what.into() })
    }
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        let kind = match &error {
            StorageError::Io { source, .. } | StorageError::Write { source, .. } => source.kind(),
            StorageError::Corrupt(_)
            | StorageError::SnapshotBelowFloor { .. }
            | StorageError::NotBorn { .. }
            | StorageError::BornTwice { .. }
            | StorageError::BirthMalformed { .. }
            | StorageError::NeedsRepair { .. }
            | StorageError::ManifestMalformed { .. }
            | StorageError::PeersEntry { .. } => io::ErrorKind::InvalidData,
            StorageError::Refused(_) | StorageError::TooLarge(_) | StorageError::PurgeConflict { .. } => {
                io::ErrorKind::InvalidInput
            }
            StorageError::InUse { .. } => io::ErrorKind::ResourceBusy,
            StorageError::NoRoom { .. } => io::ErrorKind::StorageFull,
            StorageError::OtherCluster { .. }
            | StorageError::OtherNode { .. }
            | StorageError::Key { .. }
            | StorageError::Poisoned(_)
            | StorageError::Closed => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

impl From<Poisoned> for io::Error {
    fn from(poisoned: Poisoned) -> Self {
        StorageError::Poisoned(poisoned).into()
    }
}
