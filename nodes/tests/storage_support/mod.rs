//! What the storage tests share: a disk in memory with faults, fixed keys, and shorthand for the log.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

pub mod backfill;
pub mod life;
pub mod mem_disk;
pub mod peer;

use bytes::Bytes;
use events::ids::ClusterId;
use events::log::keys::{KeyEncryptionKey, SegmentKeys};
use events::log::record::{EntryBody, LogPosition, VoteRecord};
use nodes::entropy::OsEntropy;
use nodes::storage::birth::Beginning;
use nodes::storage::disk::Disk;
use nodes::storage::error::{Poisoned, StorageError};
use nodes::storage::log::{DurableLog, LogOptions};
use nodes::storage::log_reader::{History, LogReader};
use nodes::storage::view::LogEntry;
use nodes::storage::writer::Done;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

pub const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);
pub const NODE: u64 = 1;
pub const LOG_DIR: &str = "/data/log";

pub fn keys() -> SegmentKeys {
    SegmentKeys::new(vec![KeyEncryptionKey::new(1, [42; 32])]).unwrap()
}

pub fn options(dir: &Path) -> LogOptions {
    LogOptions::new(dir.to_owned(), CLUSTER, NODE, keys(), Beginning::DangerUnasked)
}

pub fn open(disk: &Arc<dyn Disk>) -> Result<DurableLog, StorageError> {
    open_with(disk, options(Path::new(LOG_DIR)))
}

pub fn open_with(disk: &Arc<dyn Disk>, options: LogOptions) -> Result<DurableLog, StorageError> {
    DurableLog::open(Arc::clone(disk), Arc::new(OsEntropy), options)
}

pub fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term, index }
}

pub fn vote(term: u64, node: u64) -> VoteRecord {
    VoteRecord { term, node, committed: false }
}

/// An entry whose bytes tell its term and index.
pub fn entry(term: u64, index: u64) -> LogEntry {
    LogEntry {
        at: at(term, index),
        body: EntryBody::Batch(Bytes::from(format!("entry {index} of term {term}"))),
    }
}

/// A callback, and where its word arrives.
pub fn waiter() -> (Done, Receiver<Result<(), Poisoned>>) {
    let (sender, receiver) = channel();
    (
        Box::new(move |result| {
            let _ = sender.send(result);
        }),
        receiver,
    )
}

/// Does something with a callback and waits for it.
pub fn wait(submit: impl FnOnce(Done) -> Result<(), StorageError>) -> Result<(), StorageError> {
    let (done, word) = waiter();
    submit(done)?;
    word.recv().map_err(|_| StorageError::Closed)?.map_err(StorageError::from)
}

pub fn append(log: &DurableLog, entries: &[LogEntry]) -> Result<(), StorageError> {
    wait(|done| log.append(entries.to_vec(), done))
}

pub fn append_range(log: &DurableLog, term: u64, range: std::ops::Range<u64>) {
    range.for_each(|index| append(log, &[entry(term, index)]).unwrap());
}

pub fn all(log: &DurableLog) -> Vec<LogEntry> {
    log.entries(0..u64::MAX, usize::MAX).unwrap().read().unwrap()
}

pub fn reader(disk: &Arc<dyn Disk>) -> LogReader {
    LogReader::open(Arc::clone(disk), PathBuf::from(LOG_DIR), keys()).unwrap()
}

/// The positions of all history, gaps as `None` of (from, through).
pub fn history(disk: &Arc<dyn Disk>) -> Vec<Result<LogPosition, (u64, u64)>> {
    reader(disk)
        .map(|item| match item.unwrap() {
            History::Entry(entry) => Ok(entry.entry.at),
            History::Gap { from, through } => Err((from, through)),
        })
        .collect()
}

pub fn segment(number: u64) -> PathBuf {
    Path::new(LOG_DIR).join(format!("segment-{number:016}.log"))
}
