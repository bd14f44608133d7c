//! Gaps in a node's history, noted before they come about and filled from a peer, whenever the power goes.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use nodes::entropy::OsEntropy;
use nodes::storage::archive::Archive;
use nodes::storage::backfill::Backfill;
use nodes::storage::error::StorageError;
use nodes::storage::gaps::{Gap, GapBook};
use nodes::storage::log_reader::{History, LogReader};
use nodes::storage::view::LogEntry;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage_support::mem_disk::{Left, MemDisk};
use storage_support::{LOG_DIR, append_range, at, entry, keys, open, options, wait};

const BACKFILL_DIR: &str = "/data/backfill";

fn gap(from: u64, through: u64) -> Gap {
    Gap { from, through, term: 1 }
}

fn entries(range: Range<u64>) -> Vec<LogEntry> {
    range.map(|index| entry(1, index)).collect()
}

fn book(disk: &MemDisk) -> GapBook {
    GapBook::open(disk.as_disk(), BACKFILL_DIR.into()).unwrap()
}

fn backfill(disk: &MemDisk) -> Backfill {
    let own = options(Path::new(LOG_DIR));
    Backfill::open(disk.as_disk(), Arc::new(OsEntropy), &own, BACKFILL_DIR.into()).unwrap()
}

fn held(disk: &MemDisk) -> Vec<LogEntry> {
    let reader = LogReader::open(disk.as_disk(), BACKFILL_DIR.into(), keys()).unwrap();
    let entries = reader.filter_map(|item| match item.unwrap() {
        History::Entry(held) => Some(held.entry),
        History::Gap { .. } => None,
    });
    entries.collect()
}

#[test]
fn a_gap_is_noted_for_good_and_one_that_grew_is_one_gap() {
    let disk = MemDisk::default();
    let missing = book(&disk).missing();
    assert_eq!(*missing.borrow(), 0);
    let noting = book(&disk);
    noting.note(gap(10, 19)).unwrap();
    noting.note(gap(40, 49)).unwrap();
    // The purge of the first was never made: the snapshot that came later reaches further.
    noting.note(gap(10, 29)).unwrap();
    let disk = disk.after_power_cut(Left::Nothing);
    let again = book(&disk);
    assert_eq!((again.first(), *again.missing().borrow()), (Some(gap(10, 29)), 30));
    again.close(gap(10, 29)).unwrap();
    assert_eq!(book(&disk).first(), Some(gap(40, 49)));
}

#[test]
fn a_log_says_what_a_purge_would_leave_out_of_its_history() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    append_range(&log, 1, 0..10);
    log.save_committed(at(1, 7)).unwrap();
    assert_eq!(log.gap_below(at(1, 5)), None, "it holds them");
    assert_eq!(log.gap_below(at(1, 9)), None, "it holds that very entry");
    // Entries 8 and 9 were never known committed: another leader may have replaced them.
    assert_eq!(log.gap_below(at(2, 20)), Some(Gap { from: 8, through: 20, term: 2 }));
    wait(|done| log.purge(at(2, 20), done)).unwrap();
    assert_eq!(log.gap_below(at(2, 20)), None);
    assert_eq!(log.gap_below(at(2, 30)), Some(Gap { from: 21, through: 30, term: 2 }));
}

#[test]
fn two_gaps_are_filled_piece_by_piece_and_the_work_goes_on_after_a_power_cut() {
    let disk = MemDisk::default();
    let (first, second) = (gap(0, 9), gap(20, 29));
    let filling = backfill(&disk);
    assert_eq!(filling.missing_from(first), Some(0));
    filling.take(first, entries(0..4)).unwrap();
    drop(filling);

    let disk = disk.after_power_cut(Left::Nothing);
    let filling = backfill(&disk);
    assert_eq!(filling.missing_from(first), Some(4));
    filling.take(first, entries(4..15)).unwrap();
    assert_eq!(filling.missing_from(first), None, "what lies beyond the gap is left out");
    filling.take(second, entries(20..30)).unwrap();
    assert_eq!(filling.missing_from(second), None);
    drop(filling);

    let disk = disk.after_power_cut(Left::Nothing);
    assert_eq!(held(&disk), [entries(0..10), entries(20..30)].concat());
    let archive = Archive::new(disk.as_disk(), vec![PathBuf::from(LOG_DIR), BACKFILL_DIR.into()], keys());
    assert_eq!(archive.range(22, usize::MAX).unwrap(), entries(22..30), "and peers are given it");
    assert!(archive.range(12, usize::MAX).unwrap().is_empty());
}

#[test]
fn what_does_not_follow_or_is_of_another_term_is_not_taken() {
    let disk = MemDisk::default();
    let filling = backfill(&disk);
    let mut doubled = entries(10..12);
    doubled.push(entry(1, 11));
    let mut backwards = entries(10..11);
    backwards.push(entry(0, 11));
    let later = vec![entry(2, 10)];
    let mut ends_otherwise = entries(10..14);
    ends_otherwise.push(entry(0, 14));
    for wrong in [entries(11..13), doubled, backwards, later] {
        let refused = filling.take(gap(10, 19), wrong);
        assert!(matches!(refused, Err(StorageError::PeersEntry { .. })), "{refused:?}");
    }
    assert!(filling.take(gap(10, 14), ends_otherwise).is_err());
    assert_eq!(filling.missing_from(gap(10, 19)), Some(10), "nothing of it was kept");
}
