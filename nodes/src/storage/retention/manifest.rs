//! What lies in an archive directory: one line of JSON for each segment, in the order in which they came.
//!
//! A line is written once its segment is durable, and synced before anything counts on it. A last line that a crash cut
//! short says nothing, and is cut off before the next one is written. Each line ends with a digest of what it says before
//! that, so that a flip in it is seen; whether it is true, the frames of the segment say.

use crate::storage::disk::{Disk, DiskFile};
use crate::storage::error::{CorruptionKind, StorageError};
use crate::storage::json_file::hex;
use crate::storage::segment_file::{Owner, read_range};
use events::ids::{ClusterId, LogIndex, NodeId};
use events::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The manifest's name within the archive directory.
pub const MANIFEST_FILE: &str = "manifest.jsonl";

/// Bytes read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// Before the digest at a line's end.
const CHECK: &[u8] = b",\"check\":\"";

/// One archived segment. Unknown fields are a later version's, and are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedSegment {
    /// Its name beside the manifest.
    pub file: String,
    pub cluster: ClusterId,
    pub node: NodeId,
    pub segment: u64,
    pub generation: u64,
    /// The first and the last entry of the history that it holds; none if it holds none.
    pub first: Option<LogIndex>,
    pub last: Option<LogIndex>,
    /// When they were stamped, in milliseconds since 1970.
    pub first_stamp: Option<Timestamp>,
    pub last_stamp: Option<Timestamp>,
    pub bytes: u64,
    /// Of the file as it lies there, in hexadecimal, as `sha256sum` prints it.
    pub sha256: String,
}

/// The lines, and where the next one goes.
pub struct Manifest {
    path: PathBuf,
    lines: Vec<ArchivedSegment>,
    /// Bytes of whole lines.
    length: u64,
}

impl Manifest {
    /// Opens the manifest of an archive directory to write to it; both are created if missing. Another node's is refused.
    pub(super) fn open(disk: &dyn Disk, dir: &Path, owner: &Owner) -> Result<Manifest, StorageError> {
        let path = dir.join(MANIFEST_FILE);
        let Some((manifest, found)) = Manifest::parse(disk, dir)? else {
            disk.create_dir(dir).map_err(StorageError::io("creating", dir))?;
            if let Some(parent) = dir.parent() {
                disk.sync_dir(parent).map_err(StorageError::io("syncing", parent))?;
            }
            let file = disk.create_new(&path).map_err(StorageError::io("creating", &path))?;
            file.sync_data().map_err(StorageError::io("syncing", &path))?;
            disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))?;
            return Ok(Manifest { path, lines: Vec::new(), length: 0 });
        };
        for line in &manifest.lines {
            owner.check(&path, line.cluster, line.node)?;
        }
        if found != manifest.length {
            let file = disk.open_write(&path).map_err(StorageError::io("opening", &path))?;
            file.truncate(manifest.length).map_err(StorageError::io("cutting", &path))?;
            file.sync_data().map_err(StorageError::io("syncing", &path))?;
        }
        Ok(manifest)
    }

    /// What the manifest in `dir` says; `None` if there is none: then it is no archive.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Manifest>, StorageError> {
        Ok(Manifest::parse(disk, dir)?.map(|(manifest, _)| manifest))
    }

    #[must_use]
    pub fn lines(&self) -> &[ArchivedSegment] {
        &self.lines
    }

    /// The last entry that these segments, which are there, hold of the history.
    #[must_use]
    pub fn last_of(&self, segments: &[u64]) -> Option<LogIndex> {
        segments.iter().rev().find_map(|segment| self.find(*segment)?.last)
    }

    /// Refuses a copy that is not what its line says. `dir` is the archive's.
    pub fn check_copy(&self, disk: &dyn Disk, dir: &Path, segment: u64) -> Result<(), StorageError> {
        match self.find(segment) {
            Some(line) if !self.has_copy(disk, line, true)? => {
                Err(StorageError::corrupt(&dir.join(&line.file), 0, CorruptionKind::NotTheCopy))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The newest line about `segment`.
    #[must_use]
    pub fn find(&self, segment: u64) -> Option<&ArchivedSegment> {
        self.lines.iter().rev().find(|line| line.segment == segment)
    }

    /// Whether the copy that a line speaks of lies there, as long as it says; and, if all of it `is_read`, as it says.
    pub(super) fn has_copy(
        &self,
        disk: &dyn Disk,
        line: &ArchivedSegment,
        is_read: bool,
    ) -> Result<bool, StorageError> {
        let path = self.path.with_file_name(&line.file);
        let file = match disk.open_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StorageError::io("opening", &path)(error)),
        };
        let length = file.length().map_err(StorageError::io("reading the length of", &path))?;
        Ok(length == line.bytes && (!is_read || digest_of(&*file, &path)? == line.sha256))
    }

    /// Adds a line; when this returns it is durable.
    pub(super) fn add(&mut self, disk: &dyn Disk, line: ArchivedSegment) -> Result<(), StorageError> {
        let path = &self.path;
        let text = serde_json::to_vec(&line).map_err(|e| StorageError::io("encoding", path)(e.into()))?;
        let text = checked(text);
        let file = disk.open_write(path).map_err(StorageError::io("opening", path))?;
        file.write_at(self.length, &text).map_err(StorageError::write(path, self.length))?;
        file.sync_data().map_err(StorageError::io("syncing", path))?;
        self.length += text.len() as u64;
        self.lines.push(line);
        Ok(())
    }

    /// The manifest, and the length of its file.
    fn parse(disk: &dyn Disk, dir: &Path) -> Result<Option<(Manifest, u64)>, StorageError> {
        let path = dir.join(MANIFEST_FILE);
        let file = match disk.open_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("opening", &path)(error)),
        };
        let found = file.length().map_err(StorageError::io("reading the length of", &path))?;
        let bytes = read_range(&*file, 0, found as usize).map_err(StorageError::io("reading", &path))?;
        let (mut lines, mut length) = (Vec::new(), 0);
        for text in bytes.split_inclusive(|byte| *byte == b'\n').filter(|text| text.ends_with(b"\n")) {
            let malformed = |why| StorageError::ManifestMalformed { path: path.clone(), offset: length, why };
            if !is_as_written(text) {
                return Err(malformed("the line is not what was written".to_owned()));
            }
            let line = serde_json::from_slice(text).map_err(|error| malformed(error.to_string()))?;
            lines.push(line);
            length += text.len() as u64;
        }
        Ok(Some((Manifest { path, lines, length }, found)))
    }
}

/// Of a whole file, as `sha256sum` prints it.
pub(super) fn digest_of(file: &dyn DiskFile, path: &Path) -> Result<String, StorageError> {
    let (mut digest, mut offset) = (Sha256::new(), 0);
    loop {
        let bytes = read_range(file, offset, READ_BYTES).map_err(StorageError::io("reading", path))?;
        if bytes.is_empty() {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&bytes);
        offset += bytes.len() as u64;
    }
}

/// A line with its digest.
fn checked(mut object: Vec<u8>) -> Vec<u8> {
    object.pop();
    let digest = hex(&Sha256::digest(&object));
    [&object, CHECK, digest.as_bytes(), b"\"}\n"].concat()
}

fn is_as_written(line: &[u8]) -> bool {
    let said = line.len().checked_sub(CHECK.len() + 2 * 32 + 3).and_then(|end| line.get(..end));
    said.is_some_and(|said| checked([said, b"}"].concat()) == line)
}
