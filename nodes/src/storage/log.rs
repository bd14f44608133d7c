//! The log of one node: the only way to its disk.
//!
//! Everything is validated and visible in memory at once, in the order of the calls; the writer's thread makes it
//! durable in the same order and calls back. After a failed write every call fails (see [`Poison`]).

use super::birth::Beginning;
use super::disk::{Disk, DiskLock};
use super::error::{Poisoned, StorageError};
use super::gaps::Gap;
use super::poison::Poison;
use super::recover::{Recovered, recover};
use super::repair::refuse_if_needed;
use super::segment_file::Owner;
use super::segment_writer::{SegmentWriter, Stationery};
use super::view::{Found, LogEntry, LogView, Ticket};
use super::writer::{Done, Durability, Request, Writer};
use crate::entropy::Entropy;
use bytes::Bytes;
use events::ids::{ClusterId, NodeId};
use events::limits::SEGMENT_BYTES_TARGET;
use events::log::frame::frame_length;
use events::log::keys::SegmentKeys;
use events::log::record::{LogPosition, Record, VoteRecord};
use events::log::standing::Standing;
use parking_lot::{Mutex, RwLock};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Whose log to open, where, and how much of it to keep at hand.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The log's own directory; created if missing.
    pub dir: PathBuf,
    pub cluster: ClusterId,
    pub node: NodeId,
    pub keys: SegmentKeys,
    /// What this log may begin with if it is empty.
    pub beginning: Beginning,
    /// A segment is closed once it is this large.
    pub segment_bytes_target: u64,
    /// Bodies of recent entries kept in memory.
    pub cache_bytes_max: usize,
    /// Whether the log is refused too if what raft does not need any more is damaged: for one that is nothing but history.
    pub needs_history: bool,
}

/// An open log. Dropping it closes it.
pub struct DurableLog {
    view: Arc<RwLock<LogView>>,
    poison: Poison,
    writer: Mutex<Option<Running>>,
}

struct Running {
    requests: Sender<Request>,
    thread: JoinHandle<()>,
    _lock: Box<dyn DiskLock>,
}

/// Entries that were found; those that are only on disk are read by [`Entries::read`].
pub struct Entries(Vec<Found>);

const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

impl LogOptions {
    #[must_use]
    pub fn new(
        dir: PathBuf,
        cluster: ClusterId,
        node: NodeId,
        keys: SegmentKeys,
        beginning: Beginning,
    ) -> Self {
        let (segment_bytes_target, cache_bytes_max) = (SEGMENT_BYTES_TARGET, CACHE_BYTES_MAX);
        LogOptions {
            dir,
            cluster,
            node,
            keys,
            beginning,
            segment_bytes_target,
            cache_bytes_max,
            needs_history: false,
        }
    }
}

impl DurableLog {
    /// Opens the log of this node, or begins it if it may. Blocks on the disk.
    pub fn open(
        disk: Arc<dyn Disk>,
        entropy: Arc<dyn Entropy>,
        options: LogOptions,
    ) -> Result<DurableLog, StorageError> {
        let LogOptions {
            dir,
            cluster,
            node,
            keys,
            beginning,
            segment_bytes_target,
            cache_bytes_max,
            needs_history,
        } = options;
        let lock = prepare(&*disk, &dir)?;
        let owner = Owner { cluster: Some(cluster), node: Some(node), keys };
        refuse_if_needed(&*disk, &dir, &owner)?;
        let Recovered { view, next, birth } = recover(&*disk, &dir, &owner, cache_bytes_max, needs_history)?;
        let decided = beginning.decide(&*disk, (cluster, node), birth)?;
        let birth = decided.mark;
        let stationery = Stationery {
            disk: Arc::clone(&disk),
            entropy,
            dir,
            cluster,
            node,
            birth,
            keys: owner.keys,
            segment_bytes_target,
        };
        let segments = SegmentWriter::begin(stationery, *view.standing(), next)?;
        decided.consume(&*disk)?;
        DurableLog::start(segments, view, lock)
    }

    fn start(
        segments: SegmentWriter,
        view: LogView,
        lock: Box<dyn DiskLock>,
    ) -> Result<DurableLog, StorageError> {
        let (view, poison) = (Arc::new(RwLock::new(view)), Poison::default());
        let writer = Writer { segments, view: Arc::clone(&view), poison: poison.clone() };
        let (requests, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("muster-log-writer".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|source| StorageError::Io {
                doing: "starting the writer of",
                path: PathBuf::new(),
                source,
            })?;
        let writer = Mutex::new(Some(Running { requests, thread, _lock: lock }));
        Ok(DurableLog { view, poison, writer })
    }

    /// Where the log stands, counting what is not durable yet.
    #[must_use]
    pub fn standing(&self) -> Standing {
        *self.view.read().standing()
    }

    /// Tells when storage failed.
    #[must_use]
    pub fn poison(&self) -> &Poison {
        &self.poison
    }

    /// `done` is called once the vote is durable.
    pub fn save_vote(&self, vote: VoteRecord, done: Done) -> Result<(), StorageError> {
        self.submit(Durability::Synced, done, |view| {
            view.save_vote(vote)?;
            Ok((vec![Record::Vote(vote)], 0))
        })
    }

    /// The entries can be read when this returns; `done` is called once they are durable.
    pub fn append(&self, entries: Vec<LogEntry>, done: Done) -> Result<(), StorageError> {
        let records: Vec<_> =
            entries.iter().map(|entry| Record::Entry { at: entry.at, body: entry.body.clone() }).collect();
        records.iter().try_for_each(|record| frame_length(record).map(|_| ()))?;
        self.submit(Durability::Synced, done, |view| Ok((records, view.append(&entries)?)))
    }

    /// Removes every entry after `keep`; `done` is called once that is durable.
    pub fn truncate_after(&self, keep: Option<LogPosition>, done: Done) -> Result<(), StorageError> {
        self.submit(Durability::Synced, done, |view| {
            let records = if view.truncate(keep)? { vec![Record::Truncation { keep }] } else { Vec::new() };
            Ok((records, 0))
        })
    }

    /// Hides every entry up to `floor`, which a snapshot holds; `done` is called once that is durable.
    pub fn purge(&self, floor: LogPosition, done: Done) -> Result<(), StorageError> {
        self.submit(Durability::Synced, done, |view| {
            let records = view.purge(floor)?.map(Record::PurgeFloor).into_iter().collect();
            Ok((records, 0))
        })
    }

    /// Whether raft may still read entries of `segment`.
    #[must_use]
    pub fn reads(&self, segment: u64) -> bool {
        self.view.read().reads(segment)
    }

    /// Makes everything fail from now on: somebody saw that what lies on the disk is not what was written.
    pub fn condemn(&self, why: &str) {
        self.poison.condemn(why);
    }

    /// Makes everything fail from now on: the disk failed at something else than this log.
    pub fn fail(&self, why: &str) {
        self.poison.set(why);
    }

    /// What this log would lack of history once it is purged through `floor`.
    #[must_use]
    pub fn gap_below(&self, floor: LogPosition) -> Option<Gap> {
        self.view.read().gap_below(floor)
    }

    /// Notes what is known committed. It becomes durable with whatever is synced next.
    pub fn save_committed(&self, position: LogPosition) -> Result<(), StorageError> {
        self.submit(Durability::Written, Box::new(|_| ()), |view| {
            let records = if view.commit(position)? { vec![Record::Committed(position)] } else { Vec::new() };
            Ok((records, 0))
        })
    }

    /// The entries in `range` above the purge floor, in order, until they exceed `bytes_max`; at least one if any.
    pub fn entries(&self, range: Range<u64>, bytes_max: usize) -> Result<Entries, StorageError> {
        self.poison.check()?;
        Ok(Entries(self.view.read().find(range, bytes_max)))
    }

    /// Makes everything durable and ends the writer. Blocks. Every later call fails; a second close does nothing.
    pub fn close(&self) -> Result<(), StorageError> {
        let Some(Running { requests, thread, _lock }) = self.writer.lock().take() else { return Ok(()) };
        drop(requests);
        if thread.join().is_err() {
            tracing::error!("the log's writer panicked");
        }
        self.poison.check()?;
        Ok(())
    }

    /// Applies a change to the view and queues its records, both under one lock: the order on disk is that in memory.
    fn submit(
        &self,
        durability: Durability,
        done: Done,
        change: impl FnOnce(&mut LogView) -> Result<(Vec<Record<Bytes>>, Ticket), StorageError>,
    ) -> Result<(), StorageError> {
        let writer = self.writer.lock();
        let running = writer.as_ref().ok_or(StorageError::Closed)?;
        self.poison.check()?;
        let (records, ticket) = change(&mut self.view.write())?;
        let request = Request { records, ticket, durability, done };
        running.requests.send(request).map_err(|_| self.gone().into())
    }

    /// The writer ended by itself, so it failed.
    fn gone(&self) -> Poisoned {
        self.poison.check().err().unwrap_or_else(|| self.poison.set("the log's writer is gone"))
    }
}

impl Drop for DurableLog {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "closing the log");
        }
    }
}

impl Entries {
    /// Whether nothing has to be read from disk.
    #[must_use]
    pub fn are_cached(&self) -> bool {
        self.0.iter().all(|found| matches!(found, Found::Cached(_)))
    }

    /// The entries themselves. Blocks on the disk unless [`Entries::are_cached`].
    pub fn read(self) -> Result<Vec<LogEntry>, StorageError> {
        let read = |found| match found {
            Found::Cached(entry) => Ok(entry),
            Found::OnDisk(at, place) => place.read(at),
        };
        self.0.into_iter().map(read).collect()
    }
}

/// Makes sure that the directory is there to stay and that nobody else uses it.
pub(super) fn prepare(disk: &dyn Disk, dir: &std::path::Path) -> Result<Box<dyn DiskLock>, StorageError> {
    disk.create_dir(dir).map_err(StorageError::io("creating", dir))?;
    if let Some(parent) = dir.parent() {
        disk.sync_dir(parent).map_err(StorageError::io("syncing", parent))?;
    }
    disk.lock(&dir.join("lock")).map_err(|source| match source.kind() {
        ErrorKind::WouldBlock => StorageError::InUse { dir: dir.to_owned() },
        _ => StorageError::io("locking", dir)(source),
    })
}
