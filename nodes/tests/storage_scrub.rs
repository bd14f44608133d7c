//! A check beside the writer finds what an open does not read, by file and offset. It is history: it is kept in mind and
//! keeps nobody from opening.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use events::log::segment::HEADER_BYTES;
use nodes::entropy::OsEntropy;
use nodes::storage::error::StorageError;
use nodes::storage::log::DurableLog;
use nodes::storage::mend::{Mend, Mended};
use nodes::storage::scrub::{Checked, Scrub};
use nodes::storage::suspect::Suspect;
use nodes::storage::view::LogEntry;
use std::path::Path;
use storage_support::life::{frames, lefts, small};
use storage_support::mem_disk::{Faults, MemDisk};
use storage_support::peer::committed;
use storage_support::{LOG_DIR, all, append_range, at, entry, keys, open_with, segment, vote, wait};

/// Entries 0 to 99, of which raft sees those above 79; no end of it was closed.
fn purged_log() -> MemDisk {
    log_with(|_, _| {})
}

/// As [`purged_log`], with votes and a purge floor among what no open reads.
fn eventful_log() -> MemDisk {
    log_with(|log, index| match index {
        13 => wait(|done| log.save_vote(vote(2, 3), done)).unwrap(),
        23 => wait(|done| log.purge(at(1, 17), done)).unwrap(),
        34 => wait(|done| log.save_vote(vote(4, 1), done)).unwrap(),
        _ => {}
    })
}

fn log_with(happens_after: impl Fn(&DurableLog, u64)) -> MemDisk {
    let disk = MemDisk::default();
    let log = open_with(&disk.as_disk(), small()).unwrap();
    wait(|done| log.save_vote(vote(1, 1), done)).unwrap();
    for index in 0..90 {
        append_range(&log, 1, index..index + 1);
        if index % 3 == 2 {
            log.save_committed(at(1, index)).unwrap();
        }
        happens_after(&log, index);
    }
    wait(|done| log.purge(at(1, 79), done)).unwrap();
    append_range(&log, 1, 90..100);
    log.save_committed(at(1, 99)).unwrap();
    log.close().unwrap();
    disk
}

fn scrub(disk: &MemDisk) -> Checked {
    let scrub = Scrub { disk: disk.as_disk(), dir: LOG_DIR.into(), keys: keys() };
    scrub.run(|| true).unwrap().unwrap()
}

#[test]
fn a_sound_log_is_found_sound_also_while_it_is_written() {
    let disk = purged_log();
    let log = open_with(&disk.as_disk(), small()).unwrap();
    append_range(&log, 1, 100..105);
    let checked = scrub(&disk);
    assert!(checked.is_sound() && checked.segments > 5 && checked.bytes > 5000, "{checked:?}");
    append_range(&log, 1, 105..110);
    assert!(scrub(&disk).is_sound());
}

#[test]
fn every_flip_in_what_no_open_reads_is_found_and_kept_in_mind_and_keeps_nobody_from_opening() {
    let whole = purged_log();
    let expected = all(&open_with(&whole.copy().as_disk(), small()).unwrap());
    let length = whole.bytes(&segment(2)).len();
    let suspect = |disk: &MemDisk| Suspect::read(&*disk.as_disk(), Path::new(LOG_DIR)).unwrap();
    for flipped in (0..length).step_by(23) {
        let disk = whole.copy();
        disk.tamper(&segment(2), |bytes| bytes[flipped] ^= 2);
        let log = open_with(&disk.as_disk(), small()).unwrap();
        assert!(!log.reads(2), "raft does not need it");
        drop(log);
        assert_eq!(suspect(&disk).is_some(), flipped < HEADER_BYTES, "headers are looked at");
        let damaged = scrub(&disk).damaged;
        let [damage] = damaged.as_slice() else { panic!("after a flip at {flipped}: {damaged:?}") };
        assert_eq!(damage.path, segment(2));
        assert!(damage.offset <= flipped as u64);
        Suspect::note(&*disk.as_disk(), Path::new(LOG_DIR), damage).unwrap().unwrap();
        for _ in 0..2 {
            let log = open_with(&disk.as_disk(), small()).unwrap();
            assert!(all(&log).starts_with(&expected));
            drop(log);
            assert_eq!(suspect(&disk).unwrap().segment, 2, "it stays in mind until it is mended");
        }
    }
}

#[test]
fn a_segment_of_history_that_is_gone_is_kept_in_mind_too_and_one_that_raft_needs_is_refused() {
    let whole = purged_log();
    let disk = whole.copy();
    disk.lose(&segment(2));
    drop(open_with(&disk.as_disk(), small()).unwrap());
    assert_eq!(Suspect::read(&*disk.as_disk(), Path::new(LOG_DIR)).unwrap().unwrap().segment, 2);
    let last = storage_support::life::segments(&whole).pop().unwrap();
    whole.lose(&last);
    assert!(matches!(open_with(&whole.as_disk(), small()), Err(StorageError::Corrupt(_))));
}

#[test]
fn a_suspicion_whose_segment_was_restored_is_dropped() {
    let whole = purged_log();
    let disk = whole.copy();
    disk.tamper(&segment(3), |bytes| bytes[250] ^= 2);
    let damaged = scrub(&disk).damaged;
    Suspect::note(&*disk.as_disk(), Path::new(LOG_DIR), &damaged[0]).unwrap();
    let copy = whole.bytes(&segment(3));
    disk.tamper(&segment(3), |bytes| *bytes = copy);
    drop(open_with(&disk.as_disk(), small()).unwrap());
    assert!(Suspect::read(&*disk.as_disk(), Path::new(LOG_DIR)).unwrap().is_none());
}

/// What is damaged in the second segment of history, mended from a peer that has all entries.
fn mend(disk: &MemDisk, peer: &[LogEntry]) -> Result<bool, StorageError> {
    mend_segment(disk, 2, peer)
}

fn mend_segment(disk: &MemDisk, number: u64, peer: &[LogEntry]) -> Result<bool, StorageError> {
    let Some(mut mend) = Mend::begin(disk.as_disk(), LOG_DIR.into(), keys(), number)? else {
        return Ok(false);
    };
    while let Some(from) = mend.missing_from() {
        mend.take(peer[from as usize..(from as usize + 2).min(peer.len())].to_vec());
    }
    mend.write(&OsEntropy)?.map(Mended::install).transpose().map(|installed| installed.is_some())
}

#[test]
fn damage_that_nothing_can_mend_does_not_hide_other_damage() {
    let disk = purged_log();
    disk.tamper(&segment(2), |bytes| bytes[250] ^= 1);
    disk.tamper(&segment(4), |bytes| bytes[20] ^= 1);
    disk.lose(&segment(6));
    disk.lose(&segment(7));
    disk.tamper(&segment(9), |bytes| bytes.truncate(400));
    let found: Vec<_> = scrub(&disk).damaged.into_iter().map(|damage| damage.path).collect();
    assert_eq!(found, [2, 4, 6, 9].map(segment));
}

#[test]
fn a_segment_that_is_gone_or_has_no_header_is_written_anew_between_its_neighbours() {
    for whole in [purged_log(), eventful_log()] {
        let peer = committed(&whole);
        let expected = open_with(&whole.copy().as_disk(), small()).unwrap().standing();
        for number in 1..=6 {
            let spoil: [fn(&MemDisk, u64); 3] = [
                |disk, number| disk.lose(&segment(number)),
                |disk, number| disk.tamper(&segment(number), |bytes| bytes[30] ^= 1),
                |disk, number| disk.tamper(&segment(number), |bytes| bytes.fill(0)),
            ];
            for spoil in spoil {
                let disk = whole.copy();
                spoil(&disk, number);
                assert!(!scrub(&disk).is_sound());
                assert!(mend_segment(&disk, number, &peer).unwrap(), "{number}");
                assert!(scrub(&disk).is_sound(), "{number}: {:?}", scrub(&disk));
                assert_eq!(committed(&disk), peer, "{number}");
                assert_eq!(open_with(&disk.as_disk(), small()).unwrap().standing(), expected, "{number}");
            }
        }
    }
}

#[test]
fn whatever_record_of_history_is_damaged_follows_from_its_neighbours_also_a_vote_and_a_purge_floor() {
    let whole = eventful_log();
    let peer = committed(&whole);
    for number in 1..=6 {
        for frame in frames(&whole.bytes(&segment(number))) {
            let disk = whole.copy();
            let range = frame.start as usize..frame.end as usize;
            disk.tamper(&segment(number), |bytes| bytes[range].fill(0x5a));
            assert!(mend_segment(&disk, number, &peer).unwrap(), "{number}, {frame:?}");
            assert!(scrub(&disk).is_sound(), "{number}, {frame:?}");
            assert_eq!(committed(&disk), peer, "{number}, {frame:?}");
        }
    }
}

#[test]
fn a_mend_that_meets_a_full_disk_leaves_nothing_behind_however_often_it_is_tried() {
    let whole = purged_log();
    let peer = committed(&whole);
    whole.tamper(&segment(2), |bytes| bytes[250] ^= 1);
    let used = whole.used();
    for room in [100, 900] {
        let disk = whole.copy_with(Faults { capacity: Some(used + room), ..Faults::default() });
        for _ in 0..3 {
            assert!(mend(&disk, &peer).is_err());
        }
        assert_eq!(disk.files(), whole.files(), "with {room} bytes left");
    }
    // Nor is what was damaged kept twice, where only what comes after fails.
    let counted = whole.copy();
    mend(&counted, &peer).unwrap();
    for faults in counted.single_faults() {
        let disk = whole.copy_with(faults);
        let _ = mend(&disk, &peer);
        mend(&disk, &peer).unwrap();
        let kept = disk.files().into_iter().filter(|path| path.to_string_lossy().contains(".damaged"));
        assert!(kept.count() <= 1, "{faults:?}: {:?}", disk.files());
    }
}

#[test]
fn damage_of_entries_in_old_history_is_mended_in_its_place_and_nothing_else_is_written_anew() {
    let whole = purged_log();
    let peer = committed(&whole);
    let length = whole.bytes(&segment(2)).len();
    for from in (HEADER_BYTES..length).step_by(11) {
        for size in [1, 150] {
            let disk = whole.copy();
            disk.tamper(&segment(2), |bytes| {
                bytes[from..(from + size).min(length)].iter_mut().for_each(|byte| *byte ^= 0x5a);
            });
            let before = disk.bytes(&segment(2));
            assert!(mend(&disk, &peer).unwrap(), "{from}, {size}");
            assert_eq!(disk.bytes(&segment(2).with_extension("log.damaged")), before);
            assert!(scrub(&disk).is_sound(), "{from}, {size}");
            assert_eq!(committed(&disk), peer);
            drop(open_with(&disk.as_disk(), small()).unwrap());
        }
    }
    let disk = whole.copy();
    disk.tamper(&segment(2), |bytes| bytes.truncate(length - 100));
    assert!(mend(&disk, &peer).unwrap());
    assert!(scrub(&disk).is_sound());
}

#[test]
fn a_bad_sector_in_old_history_is_named_and_mended_like_changed_bytes() {
    let whole = purged_log();
    let peer = committed(&whole);
    let length = whole.bytes(&segment(2)).len();
    for from in (0..length).step_by(97) {
        let disk = whole.copy();
        disk.make_unreadable(&segment(2), from, from + 1);
        let damaged = scrub(&disk).damaged;
        assert!(damaged.iter().all(|damage| damage.path == segment(2)) && damaged.len() == 1, "{damaged:?}");
        assert!(mend(&disk, &peer).unwrap(), "{from}");
        assert!(scrub(&disk).is_sound(), "{from}: {:?}", scrub(&disk));
        assert_eq!(committed(&disk), peer, "{from}");
    }
}

#[test]
fn a_mend_with_other_entries_or_between_headers_that_are_lost_too_changes_nothing() {
    let whole = purged_log();
    let peer = committed(&whole);
    for neighbour in [1, 3] {
        let disk = whole.copy();
        disk.lose(&segment(2));
        disk.tamper(&segment(neighbour), |bytes| bytes[20] ^= 1);
        let before = disk.files();
        assert!(!mend(&disk, &peer).unwrap());
        assert_eq!(disk.files(), before);
    }
    let disk = whole.copy();
    disk.tamper(&segment(2), |bytes| bytes[250] ^= 1);
    let before = disk.files();
    let longer: Vec<_> = (0..100).map(|index| entry(1_000_000, index)).collect();
    assert!(!mend(&disk, &longer).unwrap());
    assert_eq!(disk.files(), before);
}

#[test]
fn whenever_the_power_goes_or_one_operation_fails_in_a_mend_the_log_opens_and_the_next_one_ends_it() {
    let whole = purged_log();
    let peer = committed(&whole);
    whole.tamper(&segment(2), |bytes| bytes[250] ^= 1);
    let counted = whole.copy();
    mend(&counted, &peer).unwrap();
    let cuts = (0..=counted.operations()).map(|at| Faults { power_fails_at: Some(at), ..Faults::default() });
    for faults in cuts.chain(counted.single_faults()) {
        let disk = whole.copy_with(faults);
        let _ = mend(&disk, &peer);
        for left in lefts(2) {
            let disk = disk.after_power_cut(left);
            drop(open_with(&disk.as_disk(), small()).unwrap_or_else(|error| panic!("{faults:?}: {error}")));
            mend(&disk, &peer).unwrap();
            assert!(scrub(&disk).is_sound(), "{faults:?}, {left:?}");
            assert_eq!(committed(&disk), peer, "{faults:?}, {left:?}");
        }
    }
}
