//! One segment as a file: names, headers, whole reads, single entries.

use super::disk::{Disk, DiskFile};
use super::error::{CorruptionKind, StorageError};
use super::unreadable::{fill, read_readable, read_whole};
use super::view::LogEntry;
use bytes::Bytes;
use events::ids::{ClusterId, NodeId};
use events::log::frame::Frame;
use events::log::keys::SegmentKeys;
use events::log::record::{EntryBody, LogPosition, Record};
use events::log::segment::{
    HEADER_BYTES, HeaderError, SealedHeader, SegmentCipher, SegmentHeader, SegmentIdentity,
};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open segment whose header was believed.
pub(super) struct SegmentFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) cipher: SegmentCipher,
}

/// Where an entry's frame lies.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) segment: Arc<SegmentFile>,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// Whose log is to be read, and with which keys.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    /// `None` reads any cluster's.
    pub(super) cluster: Option<ClusterId>,
    /// `None` reads any node's.
    pub(super) node: Option<NodeId>,
    pub(super) keys: SegmentKeys,
}

/// `segment-0000000000000001.log`
pub(super) fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("segment-{segment:016}.log"))
}

/// The number of the last segment in `dir`, whatever is missing before it; 0 for none.
pub(super) fn last_segment(disk: &dyn Disk, dir: &Path) -> Result<u64, StorageError> {
    Ok(numbers_of_segments(disk, dir)?.last().copied().unwrap_or(0))
}

/// The numbers of the segments in `dir`, ascending.
pub(super) fn numbers_of_segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, StorageError> {
    let names = disk.list(dir).map_err(StorageError::io("listing", dir))?;
    Ok(names.iter().filter_map(|name| segment_number(name)).collect())
}

/// Which segment a file is, by its name.
pub(crate) fn segment_number_of(path: &Path) -> Option<u64> {
    segment_number(path.file_name()?.to_str()?)
}

fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    let all_digits = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok())?
}

impl SegmentFile {
    /// Reads and believes the header of `segment`, or says why not. `Ok(Err(_))`: the header is damaged.
    pub(super) fn open(
        path: PathBuf,
        file: Arc<dyn DiskFile>,
        segment: u64,
        owner: &Owner,
    ) -> Result<Result<(SegmentFile, SegmentHeader), HeaderError>, StorageError> {
        let bytes = read_whole(&*file, &path, 0, HEADER_BYTES)?;
        let sealed = match SealedHeader::parse(&bytes) {
            Ok(sealed) => sealed,
            Err(error @ (HeaderError::UnknownVersion(_) | HeaderError::Malformed)) => {
                return Err(StorageError::corrupt(&path, 0, error));
            }
            Err(error @ (HeaderError::Short | HeaderError::Magic | HeaderError::Checksum)) => {
                return Ok(Err(error));
            }
        };
        let SegmentIdentity { cluster, node, .. } = sealed.claims().identity;
        owner.check(&path, cluster, node)?;
        let found = sealed.claims().identity.segment;
        if found != segment {
            return Err(StorageError::corrupt(&path, 0, CorruptionKind::Misplaced { found }));
        }
        match sealed.unlock(&owner.keys) {
            Ok((header, cipher)) => Ok(Ok((SegmentFile { path, file, cipher }, header))),
            Err(source) => Err(StorageError::Key { path, source }),
        }
    }

    /// Everything in the file.
    pub(super) fn read_all(&self) -> Result<Vec<u8>, StorageError> {
        read_whole(&*self.file, &self.path, 0, self.length()? as usize)
    }

    /// Everything in the file, with zeros where it cannot be read: for whoever looks for what is intact.
    pub(super) fn read_readable(&self) -> Result<Vec<u8>, StorageError> {
        let readable = read_readable(&*self.file, 0, self.length()? as usize);
        readable.map(|readable| readable.bytes).map_err(StorageError::io("reading", &self.path))
    }

    /// Fills `buffer` from `offset` on; returns how many bytes there were, and where the first lies that cannot be read.
    pub(super) fn read_at(
        &self,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(usize, Option<u64>), StorageError> {
        fill(&*self.file, offset, buffer).map_err(StorageError::io("reading", &self.path))
    }

    pub(super) fn length(&self) -> Result<u64, StorageError> {
        self.file.length().map_err(StorageError::io("reading the length of", &self.path))
    }

    pub(super) fn corrupt(&self, offset: u32, what: impl Into<CorruptionKind>) -> StorageError {
        StorageError::corrupt(&self.path, u64::from(offset), what)
    }
}

impl Place {
    /// Reads the entry that lies here.
    pub(super) fn read(&self, expected: LogPosition) -> Result<LogEntry, StorageError> {
        let segment = &self.segment;
        let bytes = read_whole(&*segment.file, &segment.path, u64::from(self.offset), self.length as usize)?;
        let frame = Frame::read(segment.cipher.identity(), self.offset, &bytes)
            .map_err(|damage| segment.corrupt(self.offset, damage))?;
        let record = segment.cipher.open(&frame).map_err(|refusal| segment.corrupt(self.offset, refusal))?;
        match record {
            Record::Entry { at, body } if at == expected => Ok(LogEntry { at, body: shared(body) }),
            _ => Err(segment.corrupt(self.offset, CorruptionKind::NotTheEntry { expected: expected.index })),
        }
    }
}

impl Owner {
    /// Refuses what belongs to another cluster or node.
    pub(super) fn check(&self, path: &Path, cluster: ClusterId, node: NodeId) -> Result<(), StorageError> {
        let path = || path.to_owned();
        if let Some(expected) = self.cluster.filter(|expected| *expected != cluster) {
            return Err(StorageError::OtherCluster { path: path(), found: cluster, expected });
        }
        if let Some(expected) = self.node.filter(|expected| *expected != node) {
            return Err(StorageError::OtherNode { path: path(), found: node, expected });
        }
        Ok(())
    }
}

/// The body with its bytes shared instead of owned.
pub(super) fn shared(body: EntryBody) -> EntryBody<Bytes> {
    match body {
        EntryBody::Blank => EntryBody::Blank,
        EntryBody::Batch(bytes) => EntryBody::Batch(bytes.into()),
        EntryBody::Membership(bytes) => EntryBody::Membership(bytes.into()),
    }
}

/// Up to `length` bytes from `offset` on; fewer only at the end of the file.
pub(super) fn read_range(file: &dyn DiskFile, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let read = file.read_at(offset, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_segments_are_read_as_such() {
        let name = segment_path(Path::new("/data"), 42);
        assert_eq!(segment_number(name.file_name().unwrap().to_str().unwrap()), Some(42));
        for other in
            ["segment-42.log", "segment-0000000000000042.tmp", "lock", "segment-+000000000000042.log"]
        {
            assert_eq!(segment_number(other), None, "{other}");
        }
    }
}
