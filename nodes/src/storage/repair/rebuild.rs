//! Writes the damaged segment and all after it anew, from what peers hold as committed.

use super::need::Need;
use super::{WORKSHOP, install, owner};
use crate::entropy::Entropy;
use crate::storage::disk::{Disk, DiskLock};
use crate::storage::error::StorageError;
use crate::storage::json_file::remove_if_there;
use crate::storage::log::{LogOptions, prepare};
use crate::storage::recover::recover_before;
use crate::storage::salvage::{Salvage, Salvaged};
use crate::storage::segment_file::{SegmentFile, last_segment, segment_path};
use crate::storage::segment_writer::{Next, SegmentWriter, Stationery};
use crate::storage::view::LogEntry;
use events::ids::LogIndex;
use events::log::record::{EntryBody, LogPosition, Record, VoteRecord};
use events::log::standing::Standing;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Segments that are being rebuilt. Dropping it leaves the log as it was: it still needs repair.
pub struct Rebuild {
    disk: Arc<dyn Disk>,
    options: LogOptions,
    need: Need,
    segments: SegmentWriter,
    last: Option<LogPosition>,
    /// What the damaged segments still hold intact, to check peers' entries against.
    intact: BTreeMap<LogPosition, [u8; 32]>,
    _lock: Box<dyn DiskLock>,
}

impl Rebuild {
    /// Begins after the last entry that is known committed before the damaged segment. `vote` is the node's vote from
    /// now on.
    pub fn begin(
        disk: Arc<dyn Disk>,
        entropy: Arc<dyn Entropy>,
        options: LogOptions,
        need: Need,
        vote: Option<VoteRecord>,
    ) -> Result<Rebuild, StorageError> {
        Rebuild::begin_after(disk, entropy, options, need, vote, |standing| standing.committed)
    }

    /// As above, of a log that holds nothing but what others had committed: begins after the last entry before the damaged
    /// segment.
    pub(in crate::storage) fn begin_of_committed(
        disk: Arc<dyn Disk>,
        entropy: Arc<dyn Entropy>,
        options: LogOptions,
        need: Need,
    ) -> Result<Rebuild, StorageError> {
        let mut rebuild = Rebuild::begin_after(disk, entropy, options, need, None, |standing| standing.last)?;
        // Says so of those that no later record said it of.
        rebuild.take(Vec::new())?;
        Ok(rebuild)
    }

    fn begin_after(
        disk: Arc<dyn Disk>,
        entropy: Arc<dyn Entropy>,
        options: LogOptions,
        need: Need,
        vote: Option<VoteRecord>,
        committed: impl FnOnce(&Standing) -> Option<LogPosition>,
    ) -> Result<Rebuild, StorageError> {
        let lock = prepare(&*disk, &options.dir)?;
        let owner = owner(&options);
        let before = recover_before(&*disk, &options.dir, &owner, need.from_segment)?;
        let workshop = options.dir.join(WORKSHOP);
        disk.create_dir(&workshop).map_err(StorageError::io("creating", &workshop))?;
        disk.sync_dir(&options.dir).map_err(StorageError::io("syncing", &options.dir))?;
        for name in disk.list(&workshop).map_err(StorageError::io("listing", &workshop))? {
            remove_if_there(&*disk, &workshop.join(name))?;
        }
        let stationery = Stationery {
            disk: Arc::clone(&disk),
            entropy,
            dir: workshop,
            cluster: options.cluster,
            node: options.node,
            birth: need.birth,
            keys: options.keys.clone(),
            segment_bytes_target: options.segment_bytes_target,
        };
        let next = Next {
            segment: need.from_segment,
            generation: need.generation,
            previous_length: before.previous_length,
        };
        let standing = before.standing;
        let mut segments = SegmentWriter::begin(stationery, standing, next)?;
        if let Some(vote) = vote.filter(|vote| standing.vote != Some(*vote)) {
            segments.push(&Record::Vote(vote))?;
        }
        // What follows here was never known committed: the peers say what was.
        let last = committed(&standing).max(standing.floor);
        if standing.last > last {
            segments.push(&Record::Truncation { keep: last })?;
        }
        let intact = intact(&*disk, &options, need.from_segment)?;
        Ok(Rebuild { disk, options, need, segments, last, intact, _lock: lock })
    }

    /// The index of the entry that comes next.
    #[must_use]
    pub fn next_index(&self) -> LogIndex {
        self.last.map_or(0, |last| last.index + 1)
    }

    /// Takes committed entries of a peer, the first of which is the one that comes next: all of them, or none. Each must
    /// follow the one before, and be what this node still holds intact at the same place, if it does.
    pub fn take(&mut self, entries: Vec<LogEntry>) -> Result<(), StorageError> {
        let mut last = self.last;
        for LogEntry { at, body } in &entries {
            let refused = |why| Err(StorageError::PeersEntry { index: at.index, why });
            let next = last.map_or(0, |last| last.index + 1);
            if at.index != next || last.is_some_and(|last| last.term > at.term) {
                return refused("it does not follow the entry before it");
            }
            if self.intact.get(at).is_some_and(|held| *held != fingerprint(body)) {
                return refused("this node holds another one, intact");
            }
            last = Some(*at);
        }
        for LogEntry { at, body } in entries {
            self.segments.push(&Record::Entry { at, body })?;
            self.last = Some(at);
        }
        if let Some(last) = self.last {
            self.segments.push(&Record::Committed(last))?;
        }
        self.segments.write()
    }

    /// Whether the log reaches all that this node may ever have acknowledged.
    #[must_use]
    pub fn reaches(&self) -> bool {
        self.last.map(|last| last.index) >= self.need.acknowledged
    }

    /// Makes the new segments durable, puts them into place, and clears the need.
    pub fn finish(mut self) -> Result<(), StorageError> {
        if !self.reaches() {
            let index = self.next_index();
            return Err(StorageError::PeersEntry {
                index,
                why: "it is missing, and this node may have acknowledged it",
            });
        }
        self.segments.close()?;
        self.need.rebuilt_through = Some(self.segments.number());
        self.need.persist(&*self.disk, &self.options.dir, &owner(&self.options))?;
        match install::install(&*self.disk, &self.options, self.need)? {
            None => Ok(()),
            Some(need) => Err(StorageError::NeedsRepair {
                path: self.options.dir.join(super::NEED_FILE),
                file: need.file,
                offset: need.offset,
            }),
        }
    }
}

/// Two entries of one place are the same if this is.
fn fingerprint(body: &EntryBody<impl AsRef<[u8]>>) -> [u8; 32] {
    Sha256::new().chain_update([body.form()]).chain_update(body.bytes()).finalize().into()
}

/// The intact entries of the segments from `from` on.
fn intact(
    disk: &dyn Disk,
    options: &LogOptions,
    from: u64,
) -> Result<BTreeMap<LogPosition, [u8; 32]>, StorageError> {
    let (owner, mut held) = (owner(options), BTreeMap::new());
    for segment in from..=last_segment(disk, &options.dir)? {
        let path = segment_path(&options.dir, segment);
        let Ok(file) = disk.open_read(&path) else { continue };
        let Ok(Ok((opened, _))) = SegmentFile::open(path, file, segment, &owner) else { continue };
        let bytes = opened.read_readable()?;
        for piece in Salvage::new(&opened, &bytes) {
            if let Salvaged::Record(Record::Entry { at, body }) = piece {
                held.insert(at, fingerprint(&body));
            }
        }
    }
    Ok(held)
}
