//! Snapshots as files: whole or not there at all.
//!
//! A snapshot is written to a temporary file, synced, renamed, and its name synced; so a file that has a snapshot's
//! name is complete, and damage in it came later. The last two are kept. A damaged one is set aside, so that nobody takes
//! it for the newest, and removed once there is a newer one.
//!
//! The log comes first on a disk that fills up: what else would eat into the room that is kept for it is refused.

use super::disk::{Disk, DiskFile};
use super::error::{CorruptionKind, StorageError};
use super::json_file::remove_if_there;
use super::snapshot_cores::on_all_cores;
use super::snapshot_on_disk::{DAMAGED, SnapshotOnDisk, set_aside};
use super::snapshot_spill;
use super::unreadable::read_whole;
use crate::entropy::{Entropy, OsEntropy};
use bytes::Bytes;
use events::ids::{ClusterId, LogIndex, NodeId};
use events::log::keys::{SALT_BYTES, SegmentKeys};
use events::log::segment::HeaderError;
use events::log::snapshot::{
    PART_BYTES, PART_OVERHEAD_BYTES, SNAPSHOT_HEADER_BYTES, SealedSnapshotHeader, SnapshotCipher,
    SnapshotHeader,
};
use parking_lot::Mutex;
use projector::Work;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many snapshots are kept: the newest, and one to fall back to should the newest be damaged.
const KEPT: usize = 2;
/// What the name of one ends with that was made by other rules.
const OTHER_LEVEL: &str = "snap.other-level";

/// Whose snapshots, where, and with which keys.
#[derive(Clone, Debug)]
pub struct SnapshotOptions {
    /// The snapshots' own directory; created if missing.
    pub dir: PathBuf,
    pub cluster: ClusterId,
    pub node: NodeId,
    pub keys: SegmentKeys,
    /// What must stay free on the disk, in bytes: the log's.
    pub reserve_bytes: u64,
}

/// The snapshots of one node.
pub struct SnapshotFiles {
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    options: SnapshotOptions,
    saving: Mutex<()>,
}

/// A snapshot as it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// The last log index that the state contains.
    pub index: LogIndex,
    pub meta: Vec<u8>,
    pub state: Vec<u8>,
}

/// The newest snapshot that is whole, and what was wrong with newer ones.
///
/// Whoever falls back to an older one must check that the log still reaches down to it: entries at or below the purge
/// floor are hidden from raft.
#[derive(Debug, Default)]
pub struct Loaded {
    pub snapshot: Option<StoredSnapshot>,
    pub damaged: Vec<StorageError>,
}

impl SnapshotFiles {
    /// Opens the directory and removes what a crash left half written. Blocks on the disk, as everything here.
    pub fn open(
        disk: Arc<dyn Disk>,
        entropy: Arc<dyn Entropy>,
        options: SnapshotOptions,
    ) -> Result<SnapshotFiles, StorageError> {
        let dir = &options.dir;
        disk.create_dir(dir).map_err(StorageError::io("creating", dir))?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent).map_err(StorageError::io("syncing", parent))?;
        }
        let names = disk.list(dir).map_err(StorageError::io("listing", dir))?;
        for name in names.iter().filter(|name| name.ends_with(".tmp")) {
            let path = dir.join(name);
            disk.remove(&path).map_err(StorageError::io("removing", &path))?;
        }
        disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))?;
        let files = SnapshotFiles { disk, entropy, options, saving: Mutex::new(()) };
        if let Some(newest) = files.indices()?.last() {
            files.remove_outdated(*newest)?;
        }
        Ok(files)
    }

    /// Saves a snapshot of the state at `index`. When this returns it is durable, and older ones beyond the one before
    /// it are removed.
    pub fn save(&self, index: LogIndex, meta: &[u8], state: &[u8]) -> Result<(), StorageError> {
        let piece = |offset: u64, length: usize| {
            let start = offset as usize;
            Ok(Bytes::copy_from_slice(&state[start..start + length]))
        };
        self.save_from(index, meta, state.len() as u64, &piece)
    }

    /// As [`SnapshotFiles::save`], of a state that is somewhere else: `piece` gives so many bytes of it from an offset on,
    /// and is asked for one part at a time.
    pub fn save_from(
        &self,
        index: LogIndex,
        meta: &[u8],
        state_length: u64,
        piece: &dyn Fn(u64, usize) -> io::Result<Bytes>,
    ) -> Result<(), StorageError> {
        let content = Content { meta, state_length, piece };
        let _saving = self.saving.lock();
        let (temporary, path) = (self.path(index, "tmp"), self.path(index, "snap"));
        remove_if_there(&*self.disk, &temporary)?;
        let file = self.disk.create_new(&temporary).map_err(StorageError::io("creating", &temporary))?;
        let whole = self
            .write(&*file, &temporary, index, &content)
            .and_then(|()| file.sync_data().map_err(StorageError::io("syncing", &temporary)));
        if let Err(error) = whole {
            // A full disk gets its room back at once: the log needs it more than a half-written snapshot does. If even
            // that fails, the next open removes it.
            drop(file);
            let _ = self.disk.remove(&temporary);
            return Err(error);
        }
        self.disk.rename(&temporary, &path).map_err(StorageError::io("renaming to", &path))?;
        self.sync_dir()?;
        self.remove_old()?;
        self.remove_outdated(index)
    }

    /// Loads the newest snapshot that is whole.
    pub fn load_newest(&self) -> Result<Loaded, StorageError> {
        let mut loaded = Loaded::default();
        for index in self.indices()?.into_iter().rev() {
            match self.load(index) {
                Ok(snapshot) => {
                    loaded.snapshot = Some(snapshot);
                    break;
                }
                Err(error @ StorageError::Corrupt(_)) => {
                    self.set_aside(index, &error);
                    loaded.damaged.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(loaded)
    }

    /// Takes its name from a snapshot that is whole, and whose state was folded by other rules than this program's. It
    /// stays until there is one that stands as high.
    pub fn set_aside_other_level(&self, index: LogIndex) -> Result<(), StorageError> {
        let (path, aside) = (self.path(index, "snap"), self.path(index, OTHER_LEVEL));
        self.disk.rename(&path, &aside).map_err(StorageError::io("renaming", &path))?;
        self.sync_dir()
    }

    /// Whether there is room for `bytes` more besides what is kept free for the log.
    pub(super) fn check_room(&self, bytes: u64) -> Result<(), StorageError> {
        let SnapshotOptions { dir, reserve_bytes, .. } = &self.options;
        let free = self.disk.free_bytes(dir).map_err(StorageError::io("asking for the room of", dir))?;
        let needed = bytes.saturating_add(*reserve_bytes);
        if free < needed { Err(StorageError::NoRoom { dir: dir.clone(), free, needed }) } else { Ok(()) }
    }

    /// Whether there is room for one more snapshot, as large as the newest and a quarter.
    pub fn check_room_for_another(&self) -> Result<(), StorageError> {
        let newest = match self.indices()?.last() {
            Some(index) => {
                let path = self.path(*index, "snap");
                let file = self.disk.open_read(&path).map_err(StorageError::io("opening", &path))?;
                file.length().map_err(StorageError::io("reading the length of", &path))?
            }
            None => 0,
        };
        self.check_room(newest + newest / 4)
    }

    /// Removes what is on its way in, if the disk is so full that the log may find no room: that comes again.
    pub fn make_room(disk: &dyn Disk, options: &SnapshotOptions) -> Result<(), StorageError> {
        let dir = &options.dir;
        let (Ok(names), Ok(free)) = (disk.list(dir), disk.free_bytes(dir)) else { return Ok(()) };
        if free >= options.reserve_bytes {
            return Ok(());
        }
        for name in
            names.iter().filter(|name| name.ends_with(".tmp") || snapshot_spill::index_of(name).is_some())
        {
            tracing::warn!(name, free, "the disk is full: what came in of a snapshot is removed");
            remove_if_there(disk, &dir.join(name))?;
        }
        Ok(())
    }

    /// Opens the newest snapshot whose header, length and meta are right, to be read a piece at a time, and its
    /// meta: its other parts are checked when it is their turn.
    pub fn open_newest(&self) -> Result<Option<(SnapshotOnDisk, Vec<u8>)>, StorageError> {
        for index in self.indices()?.into_iter().rev() {
            let opened = self.open_file(index).and_then(|snapshot| Ok((snapshot.meta()?, snapshot)));
            match opened {
                Ok((meta, snapshot)) => return Ok(Some((snapshot, meta))),
                Err(error @ StorageError::Corrupt(_)) => self.set_aside(index, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Reads every snapshot to its end, and sets those aside that are damaged: before they are needed, and while another
    /// can be made. After each part `goes_on` is asked, and may take its time. How many were set aside.
    pub fn check_all(&self, mut goes_on: impl FnMut() -> bool) -> Result<usize, StorageError> {
        let mut damaged = 0;
        for index in self.indices()? {
            match self.open_file(index).and_then(|snapshot| snapshot.check_while(&mut goes_on)) {
                Ok(true) => {}
                Ok(false) => return Ok(damaged),
                Err(error @ StorageError::Corrupt(_)) => {
                    self.set_aside(index, &error);
                    damaged += 1;
                }
                Err(StorageError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(damaged)
    }

    /// Unless whoever found it damaged did so already.
    fn set_aside(&self, index: LogIndex, error: &StorageError) {
        let path = self.path(index, "snap");
        if self.disk.open_read(&path).is_ok() {
            set_aside(&*self.disk, &path, error);
        }
    }

    pub(super) fn parts(&self) -> (&Arc<dyn Disk>, &dyn Entropy, &SnapshotOptions) {
        (&self.disk, &*self.entropy, &self.options)
    }

    fn write(
        &self,
        file: &dyn DiskFile,
        path: &Path,
        index: LogIndex,
        content: &Content<'_>,
    ) -> Result<(), StorageError> {
        let SnapshotOptions { cluster, node, keys, .. } = &self.options;
        let mut salt = [0; SALT_BYTES];
        self.entropy.fill(&mut salt);
        let header = SnapshotHeader {
            cluster: *cluster,
            node: *node,
            index,
            key_id: keys.newest().id(),
            salt,
            meta_length: content.meta.len() as u64,
            state_length: content.state_length,
        };
        let (bytes, cipher) = header.seal(keys.newest());
        let put =
            |offset, bytes: &[u8]| file.write_at(offset, bytes).map_err(StorageError::write(path, offset));
        put(0, &bytes)?;
        let mut offset = SNAPSHOT_HEADER_BYTES as u64;
        for number in 0..content.length().div_ceil(PART_BYTES as u64) {
            let mut part = content
                .part(number * PART_BYTES as u64)
                .map_err(StorageError::io("reading the state to be written to", path))?;
            cipher.seal_part(number, &mut part);
            put(offset, &part)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    fn open_file(&self, index: LogIndex) -> Result<SnapshotOnDisk, StorageError> {
        let path = self.path(index, "snap");
        let file = self.disk.open_read(&path).map_err(StorageError::io("opening", &path))?;
        let (header, cipher) = self.open_header(&*file, &path, index)?;
        let found = file.length().map_err(StorageError::io("reading the length of", &path))?;
        if header.file_length() != Some(found) {
            return Err(StorageError::corrupt(&path, found, CorruptionKind::SnapshotPart));
        }
        let shelf = Some(Arc::clone(&self.disk));
        Ok(SnapshotOnDisk { path, file, header, cipher, shelf })
    }

    fn load(&self, index: LogIndex) -> Result<StoredSnapshot, StorageError> {
        let SnapshotOnDisk { path, file, header, cipher, .. } = self.open_file(index)?;
        let mut state = read_parts(&*file, &path, &header, &cipher)?;
        // In its place: a copy of the state would take as long as reading it.
        let meta = state.drain(..header.meta_length as usize).collect();
        Ok(StoredSnapshot { index, meta, state })
    }

    pub(super) fn open_header(
        &self,
        file: &dyn DiskFile,
        path: &Path,
        index: LogIndex,
    ) -> Result<(SnapshotHeader, SnapshotCipher), StorageError> {
        let SnapshotOptions { cluster, node, keys, .. } = &self.options;
        let bytes = read_whole(file, path, 0, SNAPSHOT_HEADER_BYTES)?;
        let sealed =
            SealedSnapshotHeader::parse(&bytes).map_err(|error| StorageError::corrupt(path, 0, error))?;
        let claims = sealed.claims();
        if claims.cluster != *cluster {
            let (path, found) = (path.to_owned(), claims.cluster);
            return Err(StorageError::OtherCluster { path, found, expected: *cluster });
        }
        if claims.node != *node {
            let (path, found) = (path.to_owned(), claims.node);
            return Err(StorageError::OtherNode { path, found, expected: *node });
        }
        if claims.index != index {
            return Err(StorageError::corrupt(path, 0, HeaderError::Malformed));
        }
        sealed.unlock(keys).map_err(|source| StorageError::Key { path: path.to_owned(), source })
    }

    /// Indices of the snapshots that are there, oldest first.
    fn indices(&self) -> Result<Vec<LogIndex>, StorageError> {
        let dir = &self.options.dir;
        let names = self.disk.list(dir).map_err(StorageError::io("listing", dir))?;
        let mut indices: Vec<LogIndex> = names.iter().filter_map(|name| index_of(name, "snap")).collect();
        indices.sort_unstable();
        Ok(indices)
    }

    fn remove_old(&self) -> Result<(), StorageError> {
        let indices = self.indices()?;
        let old = &indices[..indices.len().saturating_sub(KEPT)];
        for index in old {
            let path = self.path(*index, "snap");
            self.disk.remove(&path).map_err(StorageError::io("removing", &path))?;
        }
        if old.is_empty() { Ok(()) } else { self.sync_dir() }
    }

    /// What is on its way in, damaged or of other rules, and stands no higher than a snapshot that is here is not needed.
    fn remove_outdated(&self, index: LogIndex) -> Result<(), StorageError> {
        let dir = &self.options.dir;
        let names = self.disk.list(dir).map_err(StorageError::io("listing", dir))?;
        let set_aside = |name: &str| [DAMAGED, OTHER_LEVEL].iter().find_map(|end| index_of(name, end));
        let stands_at = |name: &str| snapshot_spill::index_of(name).or_else(|| set_aside(name));
        for name in names.iter().filter(|name| stands_at(name).is_some_and(|at| at <= index)) {
            remove_if_there(&*self.disk, &dir.join(name))?;
        }
        Ok(())
    }

    fn path(&self, index: LogIndex, extension: &str) -> PathBuf {
        self.options.dir.join(format!("snapshot-{index:020}.{extension}"))
    }

    fn sync_dir(&self) -> Result<(), StorageError> {
        let dir = &self.options.dir;
        self.disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))
    }
}

/// Every snapshot in `dir`, whole or not, without changing anything: for whoever checks a node's files beside it.
pub fn examine(
    disk: Arc<dyn Disk>,
    dir: &Path,
    cluster: ClusterId,
    keys: SegmentKeys,
) -> Result<Vec<Examined>, StorageError> {
    // The header names the node; a file that was moved here from another one is that one's, and sound.
    let of_node = |node| {
        let (dir, keys) = (dir.to_owned(), keys.clone());
        let options = SnapshotOptions { dir, cluster, node, keys, reserve_bytes: 0 };
        SnapshotFiles { disk: disk.clone(), entropy: Arc::new(OsEntropy), options, saving: Mutex::new(()) }
    };
    let files = of_node(0);
    let load = |index| match files.load(index) {
        Err(StorageError::OtherNode { found, .. }) => of_node(found).load(index),
        loaded => loaded,
    };
    Ok(files.indices()?.into_iter().map(|index| (files.path(index, "snap"), load(index))).collect())
}

/// A snapshot's file, and what it holds or what is wrong with it.
pub type Examined = (PathBuf, Result<StoredSnapshot, StorageError>);

fn index_of(name: &str, extension: &str) -> Option<LogIndex> {
    name.strip_prefix("snapshot-")?.strip_suffix(extension)?.strip_suffix('.')?.parse().ok()
}

/// What a snapshot's file holds: meta ‖ state.
struct Content<'a> {
    meta: &'a [u8],
    state_length: u64,
    piece: &'a dyn Fn(u64, usize) -> io::Result<Bytes>,
}

impl Content<'_> {
    fn length(&self) -> u64 {
        self.meta.len() as u64 + self.state_length
    }

    /// Up to one part, from `start` on.
    fn part(&self, start: u64) -> io::Result<Vec<u8>> {
        let (meta, end) = (self.meta.len() as u64, (start + PART_BYTES as u64).min(self.length()));
        let mut part = Vec::with_capacity((end - start) as usize + PART_OVERHEAD_BYTES);
        part.extend_from_slice(&self.meta[start.min(meta) as usize..end.min(meta) as usize]);
        let (from, to) = (start.saturating_sub(meta), end.saturating_sub(meta));
        if from < to {
            part.extend_from_slice(&(self.piece)(from, (to - from) as usize)?);
        }
        if part.len() as u64 == end - start { Ok(part) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

/// Meta ‖ state.
pub(super) fn read_parts(
    file: &dyn DiskFile,
    path: &Path,
    header: &SnapshotHeader,
    cipher: &SnapshotCipher,
) -> Result<Vec<u8>, StorageError> {
    let mut content = vec![0; (header.meta_length + header.state_length) as usize];
    let mut read: Vec<_> = content.chunks(PART_BYTES).map(|_| Ok(())).collect();
    let parts = content.chunks_mut(PART_BYTES).zip(&mut read).enumerate();
    let works = parts.map(|(number, (part, read))| -> Work<'_> {
        Box::new(move || *read = read_part(file, path, cipher, number as u64, part))
    });
    on_all_cores(works.collect());
    read.into_iter().collect::<Result<(), _>>()?;
    Ok(content)
}

fn read_part(
    file: &dyn DiskFile,
    path: &Path,
    cipher: &SnapshotCipher,
    number: u64,
    content: &mut [u8],
) -> Result<(), StorageError> {
    let offset = SNAPSHOT_HEADER_BYTES as u64 + number * (PART_BYTES + PART_OVERHEAD_BYTES) as u64;
    let mut part = read_whole(file, path, offset, content.len() + PART_OVERHEAD_BYTES)?;
    cipher
        .open_part(number, &mut part)
        .map_err(|_| StorageError::corrupt(path, offset, CorruptionKind::SnapshotPart))?;
    content.copy_from_slice(&part);
    Ok(())
}
