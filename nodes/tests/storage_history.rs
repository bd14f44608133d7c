//! The committed history of a log, read from its files.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use events::ids::ClusterId;
use events::log::keys::{KeyEncryptionKey, SegmentKeys};
use events::log::record::LogPosition;
use nodes::storage::error::StorageError;
use nodes::storage::log::LogOptions;
use nodes::storage::log_reader::{History, LogReader};
use std::path::{Path, PathBuf};
use storage_support::mem_disk::{Left, MemDisk};
use storage_support::{
    CLUSTER, LOG_DIR, NODE, append_range, at, entry, history, open, open_with, options, reader, segment,
    vote, wait,
};

fn positions(term: u64, range: std::ops::RangeInclusive<u64>) -> Vec<Result<LogPosition, (u64, u64)>> {
    range.map(|index| Ok(at(term, index))).collect()
}

#[test]
fn history_is_what_was_committed_and_counts_the_rest() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    append_range(&log, 1, 0..10);
    log.save_committed(at(1, 6)).unwrap();
    log.close().unwrap();
    assert_eq!(history(&disk.as_disk()), positions(1, 0..=6));
    let mut reader = reader(&disk.as_disk());
    let Some(Ok(History::Entry(first))) = reader.next() else { panic!("there is an entry") };
    assert_eq!(first.entry, entry(1, 0));
    assert_eq!((&*first.file, first.offset), (&*segment(1), 192));
    assert_eq!(reader.by_ref().count(), 6);
    let report = reader.report();
    assert_eq!((report.entries, report.uncommitted, report.segments), (7, 3, 1));
    assert_eq!((report.cluster, report.node), (Some(CLUSTER), Some(NODE)));
    assert_eq!(report.bytes, reader.bytes_total().unwrap());
}

#[test]
fn what_was_truncated_is_not_history_and_what_replaced_it_is() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    append_range(&log, 1, 0..10);
    log.save_committed(at(1, 3)).unwrap();
    wait(|done| log.truncate_after(Some(at(1, 5)), done)).unwrap();
    append_range(&log, 2, 6..9);
    log.save_committed(at(2, 7)).unwrap();
    log.close().unwrap();
    let expected: Vec<_> = [positions(1, 0..=5), positions(2, 6..=7)].concat();
    assert_eq!(history(&disk.as_disk()), expected);
}

#[test]
fn purged_entries_stay_history() {
    let disk = MemDisk::default();
    let small = LogOptions { segment_bytes_target: 800, ..options(Path::new(LOG_DIR)) };
    let log = open_with(&disk.as_disk(), small.clone()).unwrap();
    for start in [0, 20, 40] {
        append_range(&log, 1, start..start + 20);
        wait(|done| log.purge(at(1, start + 15), done)).unwrap();
    }
    log.close().unwrap();
    let log = open_with(&disk.as_disk(), small).unwrap();
    append_range(&log, 1, 60..62);
    log.save_committed(at(1, 61)).unwrap();
    log.close().unwrap();
    assert_eq!(history(&disk.as_disk()), positions(1, 0..=61));
}

#[test]
fn what_came_in_a_snapshot_is_a_gap_and_unsure_entries_before_it_are_no_history() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    append_range(&log, 1, 0..10);
    log.save_committed(at(1, 4)).unwrap();
    wait(|done| log.purge(at(7, 100), done)).unwrap();
    append_range(&log, 7, 101..103);
    log.save_committed(at(7, 102)).unwrap();
    log.close().unwrap();
    let expected = [positions(1, 0..=4), vec![Err((5, 100))], positions(7, 101..=102)].concat();
    assert_eq!(history(&disk.as_disk()), expected);
}

#[test]
fn a_log_that_began_with_a_snapshot_has_a_gap_before_it() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    wait(|done| log.purge(at(7, 100), done)).unwrap();
    append_range(&log, 7, 101..102);
    log.save_committed(at(7, 101)).unwrap();
    log.close().unwrap();
    assert_eq!(history(&disk.as_disk()), [vec![Err((0, 100))], positions(7, 101..=101)].concat());
}

#[test]
fn a_running_log_is_read_beside_its_node() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    for round in 0..20 {
        append_range(&log, 1, round * 5..round * 5 + 5);
        log.save_committed(at(1, round * 5 + 4)).unwrap();
        wait(|done| log.save_vote(vote(round + 1, 1), done)).unwrap();
        assert_eq!(history(&disk.as_disk()), positions(1, 0..=round * 5 + 4));
    }
}

#[test]
fn a_frame_that_is_being_written_is_reported_and_not_refused() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    append_range(&log, 1, 0..3);
    log.save_committed(at(1, 1)).unwrap();
    append_range(&log, 1, 3..4);
    let disk = disk.after_power_cut(Left::Everything);
    let whole = disk.bytes(&segment(1)).len() as u64;
    disk.tamper(&segment(1), |bytes| bytes.truncate(bytes.len() - 3));
    let mut reader = reader(&disk.as_disk());
    assert!(reader.by_ref().all(|item| item.is_ok()));
    let tail = reader.report().torn_tail.unwrap();
    assert_eq!(tail.file, segment(1));
    assert_eq!(tail.offset + tail.bytes, whole - 3);
}

#[test]
fn damage_is_refused_by_file_and_offset_after_what_lay_before_it() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    append_range(&log, 1, 0..3);
    log.save_committed(at(1, 2)).unwrap();
    append_range(&log, 1, 3..6);
    log.save_committed(at(1, 5)).unwrap();
    log.close().unwrap();
    let offset = reader(&disk.as_disk())
        .filter_map(|item| match item.unwrap() {
            History::Entry(entry) if entry.entry.at.index == 4 => Some(entry.offset),
            _ => None,
        })
        .next()
        .unwrap();
    disk.tamper(&segment(1), |bytes| bytes[offset as usize + 60] ^= 1);
    let items: Vec<_> = reader(&disk.as_disk()).collect();
    assert_eq!(items.len(), 4);
    let Some(Err(StorageError::Corrupt(corruption))) = items.last() else { panic!("{items:?}") };
    assert_eq!((corruption.path.as_path(), corruption.offset), (&*segment(1), offset));
    assert!(corruption.to_string().contains("segment-0000000000000001.log"));
}

#[test]
fn another_clusters_log_and_a_wrong_keyring_are_refused() {
    let disk = MemDisk::default();
    open(&disk.as_disk()).unwrap().close().unwrap();
    let mut of_another = reader(&disk.as_disk()).of_cluster(ClusterId::from_bytes([1; 16]));
    assert!(matches!(of_another.next(), Some(Err(StorageError::OtherCluster { .. }))));
    let keys = SegmentKeys::new(vec![KeyEncryptionKey::new(9, [9; 32])]).unwrap();
    let mut with_wrong_keys = LogReader::open(disk.as_disk(), PathBuf::from(LOG_DIR), keys).unwrap();
    assert!(matches!(with_wrong_keys.next(), Some(Err(StorageError::Key { .. }))));
    assert!(with_wrong_keys.next().is_none());
}

#[test]
fn an_empty_directory_has_no_history() {
    assert!(history(&MemDisk::default().as_disk()).is_empty());
}
