//! A check beside the writer finds what an open does not read, by file and offset; the next open reads it and refuses.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use nodes::storage::error::StorageError;
use nodes::storage::scrub::{Checked, Scrub};
use nodes::storage::suspect::Suspect;
use std::path::Path;
use storage_support::life::small;
use storage_support::mem_disk::MemDisk;
use storage_support::peer::{committed, repair};
use storage_support::{LOG_DIR, all, append_range, at, keys, open_with, segment, vote, wait};

/// Entries 0 to 99, of which raft sees those above 79; no end of it was closed.
fn purged_log() -> MemDisk {
    let disk = MemDisk::default();
    let log = open_with(&disk.as_disk(), small()).unwrap();
    wait(|done| log.save_vote(vote(1, 1), done)).unwrap();
    append_range(&log, 1, 0..90);
    log.save_committed(at(1, 89)).unwrap();
    wait(|done| log.purge(at(1, 79), done)).unwrap();
    append_range(&log, 1, 90..100);
    log.save_committed(at(1, 99)).unwrap();
    log.close().unwrap();
    disk
}

fn scrub(disk: &MemDisk) -> Checked {
    let scrub = Scrub { disk: disk.as_disk(), dir: LOG_DIR.into(), keys: keys() };
    scrub.run(|| true).unwrap()
}

#[test]
fn a_sound_log_is_found_sound_also_while_it_is_written() {
    let disk = purged_log();
    let log = open_with(&disk.as_disk(), small()).unwrap();
    append_range(&log, 1, 100..105);
    let Checked::Sound { segments, bytes } = scrub(&disk) else { panic!("it is sound") };
    assert!(segments > 5 && bytes > 5000, "{segments}, {bytes}");
    append_range(&log, 1, 105..110);
    assert!(matches!(scrub(&disk), Checked::Sound { .. }));
}

#[test]
fn every_flip_in_what_no_open_reads_is_found_by_file_and_offset_and_repaired_at_the_next_open() {
    let whole = purged_log();
    let peer = committed(&whole);
    let expected = all(&open_with(&whole.copy().as_disk(), small()).unwrap());
    let length = whole.bytes(&segment(2)).len();
    for flipped in (0..length).step_by(23) {
        let disk = whole.copy();
        disk.tamper(&segment(2), |bytes| bytes[flipped] ^= 2);
        let log = open_with(&disk.as_disk(), small());
        if flipped >= 192 {
            let log = log.unwrap();
            assert!(!log.reads(2), "an open does not read it");
            let Checked::Damaged(damage) = scrub(&disk) else { panic!("a flip at {flipped} was not found") };
            assert_eq!(damage.path, segment(2));
            assert!(damage.offset <= flipped as u64);
            Suspect::note(&*disk.as_disk(), Path::new(LOG_DIR), &damage).unwrap().unwrap();
        }
        let refused = open_with(&disk.as_disk(), small());
        assert!(
            matches!(refused, Err(StorageError::InUse { .. } | StorageError::Corrupt(_))),
            "the node that is open keeps it"
        );
        drop(refused);
        let disk = disk.copy();
        let refused = open_with(&disk.as_disk(), small()).err().unwrap();
        assert!(matches!(&refused, StorageError::Corrupt(damage) if damage.path == segment(2)), "{refused}");
        repair(&disk, &peer, Some(1));
        assert!(Suspect::read(&*disk.as_disk(), Path::new(LOG_DIR)).unwrap().is_none());
        assert!(matches!(scrub(&disk), Checked::Sound { .. }));
        assert!(all(&open_with(&disk.as_disk(), small()).unwrap()).ends_with(&expected));
    }
}

#[test]
fn a_suspicion_whose_segment_was_restored_is_dropped() {
    let whole = purged_log();
    let disk = whole.copy();
    disk.tamper(&segment(3), |bytes| bytes[250] ^= 2);
    let Checked::Damaged(damage) = scrub(&disk) else { panic!("it is damaged") };
    Suspect::note(&*disk.as_disk(), Path::new(LOG_DIR), &damage).unwrap();
    let copy = whole.bytes(&segment(3));
    disk.tamper(&segment(3), |bytes| *bytes = copy);
    drop(open_with(&disk.as_disk(), small()).unwrap());
    assert!(Suspect::read(&*disk.as_disk(), Path::new(LOG_DIR)).unwrap().is_none());
}
