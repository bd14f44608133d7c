//! Writes the stream: seals records into frames, and begins a new segment when it must.
//!
//! A segment begins at an open, at a truncation (both are new generations), when the last one is full, and after a jump to
//! a purge floor past the last entry. It begins only after the one before it is durable as a whole, and holds frames only
//! after its own header and name are durable, and after a file beside it names it (newest.rs).

use super::disk::Disk;
use super::error::StorageError;
use super::newest::Newest;
use super::segment_file::{Owner, Place, SegmentFile, segment_path};
use crate::entropy::Entropy;
use bytes::Bytes;
use events::ids::{ClusterId, NodeId};
use events::log::frame::FramePlace;
use events::log::keys::{SALT_BYTES, SegmentKeys};
use events::log::record::Record;
use events::log::segment::{HEADER_BYTES, SegmentHeader, SegmentIdentity};
use events::log::standing::Standing;
use std::path::PathBuf;
use std::sync::Arc;

/// What every segment of this log shares.
pub(super) struct Stationery {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) dir: PathBuf,
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
    pub(super) birth: u64,
    pub(super) keys: SegmentKeys,
    pub(super) segment_bytes_target: u64,
}

/// Which segment comes next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    pub(super) segment: u64,
    pub(super) generation: u64,
    pub(super) previous_length: u64,
}

pub(super) struct SegmentWriter {
    stationery: Stationery,
    standing: Standing,
    current: Arc<SegmentFile>,
    /// Sealed frames that are not written yet; they begin at offset `written`.
    buffer: Vec<u8>,
    written: u32,
    durable: u32,
    counter: u32,
    /// The last record was a jump to a purge floor past the last entry. What comes next begins a segment: where frames are
    /// missing between two entries of one segment, they are known to have been entries if they are as many as the indices.
    jumped: bool,
}

impl SegmentWriter {
    /// Begins the first segment of this open.
    pub(super) fn begin(
        stationery: Stationery,
        standing: Standing,
        next: Next,
    ) -> Result<Self, StorageError> {
        let current = create(&stationery, standing, next)?;
        Ok(SegmentWriter {
            stationery,
            standing,
            current,
            buffer: Vec::new(),
            written: HEADER_BYTES as u32,
            durable: HEADER_BYTES as u32,
            counter: 0,
            jumped: false,
        })
    }

    /// Seals a record; it is on its way once [`Self::write`] returns, and durable once [`Self::sync`] does.
    pub(super) fn push(&mut self, record: &Record<Bytes>) -> Result<Place, StorageError> {
        let is_full = u64::from(self.end()) >= self.stationery.segment_bytes_target;
        if matches!(record, Record::Truncation { .. }) {
            self.begin_next(self.current.cipher.identity().generation + 1)?;
        } else if is_full || self.jumped && !matches!(record, Record::Closed) {
            self.begin_next(self.current.cipher.identity().generation)?;
        }
        let last = self.standing.last.map(|last| last.index);
        self.standing.follow(record)?;
        self.jumped = matches!(record, Record::PurgeFloor(purge) if last < Some(purge.floor.index));
        let place = FramePlace { offset: self.end(), counter: self.counter, durable: self.durable };
        let length = self.current.cipher.seal(place, record, &mut self.buffer)?;
        self.counter += 1;
        Ok(Place { segment: Arc::clone(&self.current), offset: place.offset, length })
    }

    /// Hands everything sealed to the operating system.
    pub(super) fn write(&mut self) -> Result<(), StorageError> {
        if !self.buffer.is_empty() {
            let SegmentFile { path, file, .. } = &*self.current;
            let offset = u64::from(self.written);
            file.write_at(offset, &self.buffer).map_err(StorageError::write(path, offset))?;
            self.written = self.end();
            self.buffer.clear();
        }
        Ok(())
    }

    /// Makes everything durable.
    pub(super) fn sync(&mut self) -> Result<(), StorageError> {
        self.write()?;
        if self.durable < self.written {
            let SegmentFile { path, file, .. } = &*self.current;
            file.sync_data().map_err(StorageError::io("syncing", path))?;
            self.durable = self.written;
        }
        Ok(())
    }

    /// Makes everything durable and says so in a last frame, so that damage done later is never taken for a torn tail.
    pub(super) fn close(&mut self) -> Result<(), StorageError> {
        self.sync()?;
        if self.counter > 0 {
            self.push(&Record::Closed)?;
            self.sync()?;
            self.note_length()?;
        }
        Ok(())
    }

    /// So that the file cannot be set back to an earlier moment either.
    fn note_length(&self) -> Result<(), StorageError> {
        let Stationery { disk, dir, cluster, node, birth, keys, .. } = &self.stationery;
        let SegmentIdentity { segment, generation, .. } = *self.current.cipher.identity();
        let closed_at = Some(u64::from(self.durable));
        let owner = Owner { cluster: Some(*cluster), node: Some(*node), keys: keys.clone() };
        Newest { segment, generation, birth: Some(*birth), closed_at }.persist(&**disk, dir, &owner)
    }

    /// Of the segment that is written now.
    pub(super) fn number(&self) -> u64 {
        self.current.cipher.identity().segment
    }

    fn end(&self) -> u32 {
        self.written + self.buffer.len() as u32
    }

    fn begin_next(&mut self, generation: u64) -> Result<(), StorageError> {
        self.sync()?;
        let segment = self.current.cipher.identity().segment + 1;
        let next = Next { segment, generation, previous_length: u64::from(self.written) };
        self.current = create(&self.stationery, self.standing, next)?;
        self.written = HEADER_BYTES as u32;
        self.durable = HEADER_BYTES as u32;
        self.counter = 0;
        self.jumped = false;
        Ok(())
    }
}

/// Creates a segment that holds its header, durable in content and name.
fn create(stationery: &Stationery, standing: Standing, next: Next) -> Result<Arc<SegmentFile>, StorageError> {
    let Stationery { disk, entropy, dir, cluster, node, birth, keys, .. } = stationery;
    let key = keys.newest();
    let mut salt = [0; SALT_BYTES];
    entropy.fill(&mut salt);
    let header = SegmentHeader {
        identity: SegmentIdentity {
            cluster: *cluster,
            node: *node,
            segment: next.segment,
            generation: next.generation,
        },
        key_id: key.id(),
        salt,
        previous_length: next.previous_length,
        standing,
        birth: *birth,
    };
    let (bytes, cipher) = header.seal(key);
    let path = segment_path(dir, next.segment);
    let file = disk.create_new(&path).map_err(StorageError::io("creating", &path))?;
    file.write_at(0, &bytes).map_err(StorageError::write(&path, 0))?;
    file.sync_data().map_err(StorageError::io("syncing", &path))?;
    disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))?;
    let owner = Owner { cluster: Some(*cluster), node: Some(*node), keys: keys.clone() };
    Newest::of(&header).persist(&**disk, dir, &owner)?;
    Ok(Arc::new(SegmentFile { path, file, cipher }))
}
