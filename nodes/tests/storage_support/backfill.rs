//! What a node fetched to fill the gaps of its history, and how it does that.

use super::mem_disk::MemDisk;
use super::{LOG_DIR, keys, options};
use nodes::entropy::OsEntropy;
use nodes::storage::backfill::BackfillPlace;
use nodes::storage::error::StorageError;
use nodes::storage::gaps::GapBook;
use nodes::storage::log::LogOptions;
use nodes::storage::log_reader::{History, LogReader};
use nodes::storage::view::LogEntry;
use std::path::Path;
use std::sync::Arc;

pub const BACKFILL_DIR: &str = "/data/backfill";

pub fn book(disk: &MemDisk) -> GapBook {
    try_book(disk).unwrap()
}

pub fn try_book(disk: &MemDisk) -> Result<GapBook, StorageError> {
    GapBook::open(disk.as_disk(), BACKFILL_DIR.into())
}

pub fn place(disk: &MemDisk) -> BackfillPlace {
    // Little segments, so that damage of one leaves others.
    let own = LogOptions { segment_bytes_target: 600, ..options(Path::new(LOG_DIR)) };
    BackfillPlace::new(disk.as_disk(), Arc::new(OsEntropy), &own, BACKFILL_DIR.into())
}

/// Fills the open gaps as a node does, from somebody who has all there is.
pub fn fill(disk: &MemDisk, peer: &dyn Fn(u64) -> Vec<LogEntry>) -> Result<(), StorageError> {
    let book = try_book(disk)?;
    while book.first().is_some() {
        let filling = place(disk).open(&book)?;
        let Some(gap) = book.first() else { break };
        while let Some(from) = filling.missing_from(gap) {
            filling.take(gap, peer(from))?;
        }
        drop(filling);
        book.close(gap)?;
    }
    Ok(())
}

/// All that was fetched.
pub fn held(disk: &MemDisk) -> Vec<LogEntry> {
    let reader = LogReader::open(disk.as_disk(), BACKFILL_DIR.into(), keys()).unwrap();
    let entries = reader.filter_map(|item| match item.unwrap() {
        History::Entry(held) => Some(held.entry),
        History::Gap { .. } => None,
    });
    entries.collect()
}
