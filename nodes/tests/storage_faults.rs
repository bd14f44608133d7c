//! A disk that fails: the log says so once and for all, and never acknowledges what is not durable.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use nodes::storage::error::StorageError;
use nodes::storage::log::DurableLog;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::mpsc::channel;
use storage_support::mem_disk::{Faults, Left, MemDisk, SyncPromise};
use storage_support::{all, append, append_range, at, entry, open, vote, wait, waiter};

fn is_poisoned<T>(result: Result<T, StorageError>) -> bool {
    matches!(result, Err(StorageError::Poisoned(_)))
}

/// Nothing works any more, and the reason names the file.
fn assert_poisoned(log: &DurableLog) {
    assert!(is_poisoned(append(log, &[entry(9, 99)])));
    assert!(is_poisoned(wait(|done| log.save_vote(vote(99, 1), done))));
    assert!(is_poisoned(wait(|done| log.truncate_after(None, done))));
    assert!(is_poisoned(wait(|done| log.purge(at(9, 99), done))));
    assert!(is_poisoned(log.save_committed(at(9, 99))));
    assert!(is_poisoned(log.entries(0..9, 9).map(|_| ())));
    let Err(StorageError::Poisoned(reason)) = log.close() else {
        panic!("closed as if nothing had happened")
    };
    assert!(reason.to_string().contains("segment-0000000000000001.log"), "{reason}");
}

#[test]
fn a_failed_fsync_poisons_the_log_for_ever() {
    let disk = MemDisk::with(Faults { sync_fails_at: Some(4), ..Faults::default() });
    let log = open(&disk.as_disk()).unwrap();
    append_range(&log, 1, 0..2);
    assert!(is_poisoned(append(&log, &[entry(1, 2)])));
    assert_poisoned(&log);
    let left = disk.after_power_cut(Left::Nothing);
    assert_eq!(all(&open(&left.as_disk()).unwrap()).len(), 2);
}

#[test]
fn a_full_disk_poisons_the_log_and_loses_nothing_acknowledged() {
    let disk = MemDisk::with(Faults { capacity: Some(700), ..Faults::default() });
    let log = open(&disk.as_disk()).unwrap();
    let mut acknowledged = 0;
    while append(&log, &[entry(1, acknowledged)]).is_ok() {
        acknowledged += 1;
    }
    assert!(acknowledged > 2);
    let Err(full) = append(&log, &[entry(1, acknowledged)]) else { panic!("a full disk took an entry") };
    assert!(full.to_string().contains("segment-0000000000000001.log at offset "), "{full}");
    assert_poisoned(&log);
    drop(log);
    for left in [Left::Nothing, Left::Everything, Left::Some(1)] {
        let log = open(&disk.after_power_cut(left).as_disk()).unwrap();
        assert!(all(&log).len() as u64 >= acknowledged);
    }
}

#[test]
fn everything_that_was_queued_behind_a_failure_is_told_so() {
    let disk = MemDisk::with(Faults { sync_fails_at: Some(2), ..Faults::default() });
    let log = open(&disk.as_disk()).unwrap();
    let mut words = Vec::new();
    for index in 0..100 {
        let (done, word) = waiter();
        if log.append(vec![entry(1, index)], done).is_ok() {
            words.push(word);
        }
    }
    assert!(!words.is_empty());
    for word in words {
        assert!(word.recv().unwrap().is_err());
    }
}

#[tokio::test]
async fn whoever_watches_learns_that_storage_failed() {
    let disk = MemDisk::with(Faults { sync_fails_at: Some(2), ..Faults::default() });
    let log = Arc::new(open(&disk.as_disk()).unwrap());
    let watching = tokio::spawn({
        let log = Arc::clone(&log);
        async move { log.poison().failed().await }
    });
    let _ = append(&log, &[entry(1, 0)]);
    assert!(watching.await.unwrap().to_string().contains("the disk failed"));
}

#[test]
fn an_open_that_cannot_write_fails_and_names_the_file() {
    let disk = MemDisk::with(Faults { capacity: Some(10), ..Faults::default() });
    let error = open(&disk.as_disk()).err().unwrap();
    assert!(matches!(error, StorageError::Write { offset: 0, .. }));
    assert!(error.to_string().contains("segment-0000000000000001.log"), "{error}");
}

/// Appends, and at every acknowledgement cuts the power in a copy of the world: how many entries were acknowledged
/// but gone?
fn acknowledged_but_lost(promise: SyncPromise) -> usize {
    let disk = MemDisk::with(Faults { sync: promise, ..Faults::default() });
    let log = open(&disk.as_disk()).unwrap();
    let worlds = Arc::new(Mutex::new(Vec::new()));
    let (sender, finished) = channel();
    for index in 0..50 {
        let (disk, worlds, sender) = (disk.clone(), Arc::clone(&worlds), sender.clone());
        let done = Box::new(move |result: Result<(), _>| {
            result.unwrap();
            worlds.lock().push((index, disk.after_power_cut(Left::Nothing)));
            let _ = sender.send(());
        });
        log.append(vec![entry(1, index)], done).unwrap();
        if index % 7 == 0 {
            log.save_committed(at(1, index)).unwrap();
        }
    }
    drop(sender);
    assert_eq!(finished.iter().count(), 50);
    let worlds = std::mem::take(&mut *worlds.lock());
    worlds.iter().filter(|(index, world)| !holds(world, *index)).count()
}

fn holds(world: &MemDisk, index: u64) -> bool {
    match open(&world.as_disk()) {
        Ok(log) => all(&log).contains(&entry(1, index)),
        Err(_) => false,
    }
}

#[test]
fn no_callback_comes_before_its_fsync() {
    assert_eq!(acknowledged_but_lost(SyncPromise::Kept), 0);
}

#[test]
fn the_check_above_catches_a_left_out_fsync() {
    assert_eq!(acknowledged_but_lost(SyncPromise::Broken), 50);
}

#[test]
fn the_check_above_catches_a_callback_before_the_fsync() {
    assert!(acknowledged_but_lost(SyncPromise::Late) > 0);
}
