//! A log that lost what was known durable: noted for good, repaired from a peer whenever the power goes, and opened by
//! nobody before that.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use bytes::Bytes;
use events::log::record::EntryBody;
use nodes::entropy::OsEntropy;
use nodes::storage::archive::Archive;
use nodes::storage::error::{CorruptionKind, StorageError};
use nodes::storage::repair::{NEED_FILE, Need, Rebuild, note_damage, noted};
use nodes::storage::view::LogEntry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage_support::life::{Planted, lefts, open_planted, small};
use storage_support::mem_disk::{Faults, MemDisk, Op};
use storage_support::peer::{committed, repair, try_repair};
use storage_support::{
    LOG_DIR, all, append, append_range, at, entry, keys, open_with, options, segment, vote, wait,
};

/// A log of two segments and more: votes in terms 3 and 4, entries 0 to 29, all committed and closed.
fn whole_log() -> MemDisk {
    let disk = MemDisk::default();
    let log = open_with(&disk.as_disk(), small()).unwrap();
    wait(|done| log.save_vote(vote(3, 1), done)).unwrap();
    for index in 0..30 {
        if index == 12 {
            wait(|done| log.save_vote(vote(4, 2), done)).unwrap();
        }
        append(&log, &[entry(if index < 12 { 3 } else { 4 }, index)]).unwrap();
        log.save_committed(at(if index < 12 { 3 } else { 4 }, index)).unwrap();
    }
    log.close().unwrap();
    disk
}

fn noted_damage(disk: &MemDisk) -> Need {
    match open_planted(disk, Planted::Nothing) {
        Err(StorageError::Corrupt(damage)) => note_damage(&*disk.as_disk(), &small(), &damage).unwrap(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a damaged log opened"),
    }
}

fn damaged(number: u64, at: usize) -> MemDisk {
    let disk = whole_log();
    disk.tamper(&segment(number), |bytes| bytes[at] ^= 1);
    disk
}

#[test]
fn damage_is_noted_with_what_may_have_been_acknowledged_and_nobody_opens_the_log_before_its_repair() {
    let disk = damaged(2, 300);
    let before = disk.bytes(&segment(2));
    let need = noted_damage(&disk);
    assert_eq!((need.from_segment, need.acknowledged), (2, Some(29)));
    assert!(need.vote_is_known, "later segments tell the vote");
    assert_eq!(need.vote, Some((4, 2, false)));
    assert!(need.file.contains("segment-0000000000000002.log"));
    assert_eq!(disk.bytes(&segment(2)), before);
    let refused = open_planted(&disk, Planted::Nothing).err().unwrap().to_string();
    for expected in [NEED_FILE, "segment-0000000000000002.log", "peers in reach"] {
        assert!(refused.contains(expected), "{expected} in: {refused}");
    }
    assert_eq!(noted(&*disk.as_disk(), &small()).unwrap(), Some(need), "and it survives the process");
}

#[test]
fn a_repaired_log_holds_what_the_peer_held_goes_on_and_keeps_the_damaged_files() {
    let (whole, disk) = (whole_log(), damaged(2, 300));
    repair(&disk, &committed(&whole), Some(4));
    let log = open_with(&disk.as_disk(), small()).unwrap();
    assert_eq!(all(&log), all(&open_with(&whole.as_disk(), small()).unwrap()));
    assert_eq!(log.standing().vote, Some(vote(4, 2)));
    append_range(&log, 4, 30..33);
    log.save_committed(at(4, 32)).unwrap();
    log.close().unwrap();
    assert_eq!(committed(&disk).len(), 33, "its history has no gap");
    assert!(disk.files().contains(&PathBuf::from(LOG_DIR).join("segment-0000000000000002.log.damaged")));
    assert!(!disk.files().contains(&Path::new(LOG_DIR).join(NEED_FILE)));
}

#[test]
fn a_vote_that_may_be_lost_is_named_so() {
    // The last vote lies in the last segment with frames, and nothing after it says it again.
    let disk = MemDisk::default();
    let log = open_with(&disk.as_disk(), small()).unwrap();
    append_range(&log, 1, 0..2);
    wait(|done| log.save_vote(vote(7, 2), done)).unwrap();
    append_range(&log, 1, 2..3);
    log.close().unwrap();
    let frames = storage_support::life::frames(&disk.bytes(&segment(1)));
    let flip = |number: usize| {
        let disk = disk.copy();
        disk.tamper(&segment(1), |bytes| bytes[frames[number].start as usize + 50] ^= 1);
        noted_damage(&disk)
    };
    assert!(!flip(2).vote_is_known, "a vote was there, and nothing else tells it");
    let entry = flip(1);
    assert!(entry.vote_is_known, "the vote after it is intact");
    assert_eq!(entry.vote, Some((7, 2, false)));
    let last = flip(3);
    assert!(!last.vote_is_known, "it may have been a vote: no later entry accounts for it");
    assert_eq!(last.acknowledged, Some(2));
}

#[test]
fn whenever_the_power_goes_in_a_repair_the_next_one_ends_it() {
    let (peer, whole) = (committed(&whole_log()), damaged(2, 300));
    let counted = whole.copy();
    repair(&counted, &peer, Some(4));
    let expected = all(&open_with(&counted.as_disk(), small()).unwrap());
    let operations = counted.operations();
    assert!(operations > 30, "{operations}");
    for power_fails_at in 0..=operations {
        let disk = whole.copy_with(Faults { power_fails_at: Some(power_fails_at), ..Faults::default() });
        let _ = try_repair(&disk, &peer, Some(4));
        for left in lefts(2) {
            let disk = disk.after_power_cut(left);
            // Whatever opens, opens whole.
            if let Ok(log) = open_with(&disk.as_disk(), small()) {
                assert_eq!(all(&log), expected, "{power_fails_at}, {left:?}");
            }
            for _ in 0..2 {
                try_repair(&disk, &peer, Some(4))
                    .unwrap_or_else(|e| panic!("{power_fails_at}, {left:?}: {e}"));
            }
            let log = open_with(&disk.as_disk(), small());
            let log = log.unwrap_or_else(|error| panic!("{power_fails_at}, {left:?}: {error}"));
            assert_eq!(all(&log), expected, "{power_fails_at}, {left:?}");
            assert_eq!(log.standing().vote, Some(vote(4, 2)), "{power_fails_at}, {left:?}");
        }
    }
}

#[test]
fn whichever_operation_fails_alone_in_a_repair_the_next_one_ends_it() {
    let (peer, whole) = (committed(&whole_log()), damaged(2, 300));
    let counted = whole.copy();
    repair(&counted, &peer, Some(4));
    let expected = all(&open_with(&counted.as_disk(), small()).unwrap());
    for faults in counted.single_faults() {
        let disk = whole.copy_with(faults);
        let _ = try_repair(&disk, &peer, Some(4));
        for disk in lefts(1).map(|left| disk.after_power_cut(left)).chain([disk.copy()]) {
            for _ in 0..2 {
                try_repair(&disk, &peer, Some(4)).unwrap_or_else(|error| panic!("{faults:?}: {error}"));
            }
            let log = open_with(&disk.as_disk(), small());
            let log = log.unwrap_or_else(|error| panic!("{faults:?}: {error}"));
            assert_eq!(all(&log), expected, "{faults:?}");
            assert_eq!(log.standing().vote, Some(vote(4, 2)), "{faults:?}");
        }
    }
}

fn rebuilding(disk: &MemDisk) -> Rebuild {
    let need = noted_damage(disk);
    Rebuild::begin(disk.as_disk(), Arc::new(OsEntropy), small(), need, None).unwrap()
}

#[test]
fn a_peer_that_sends_too_little_or_something_else_repairs_nothing() {
    let peer = committed(&whole_log());
    let why = |result: Result<(), StorageError>| match result {
        Err(StorageError::PeersEntry { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let mut short = rebuilding(&damaged(2, 300));
    let next = usize::try_from(short.next_index()).unwrap();
    short.take(peer[next..29].to_vec()).unwrap();
    assert!(why(short.finish()).contains("missing"));

    let mut gap = rebuilding(&damaged(2, 300));
    assert!(why(gap.take(peer[next + 1..].to_vec())).contains("does not follow"));

    let disk = damaged(2, 300);
    let mut other = rebuilding(&disk);
    let mut forged = peer[next..].to_vec();
    let last = forged.last_mut().unwrap();
    *last = LogEntry { at: last.at, body: EntryBody::Membership(Bytes::from_static(b"forged")) };
    assert!(why(other.take(forged)).contains("intact"));
    drop(other);
    assert!(matches!(open_planted(&disk, Planted::Nothing), Err(StorageError::NeedsRepair { .. })));
}

#[test]
fn an_archive_gives_ranges_in_order_beside_the_writer_and_past_damage() {
    let disk = whole_log();
    let archive = |disk: &MemDisk| Archive::new(disk.as_disk(), vec![PathBuf::from(LOG_DIR)], keys());
    let peer = committed(&disk);
    let whole = archive(&disk);
    for from in [0usize, 7, 13, 29] {
        assert_eq!(whole.range(from as u64, usize::MAX).unwrap(), peer[from..]);
    }
    let mut read = Vec::new();
    while let Some(next) = Some(whole.range(read.len() as u64, 40).unwrap()).filter(|range| !range.is_empty())
    {
        assert!(next.len() < 5, "{}", next.len());
        read.extend(next);
    }
    assert_eq!(read, peer);
    assert!(whole.range(30, usize::MAX).unwrap().is_empty());

    let log = open_with(&disk.as_disk(), small()).unwrap();
    append_range(&log, 4, 30..31);
    assert!(whole.range(30, usize::MAX).unwrap().is_empty(), "it is not known committed");
    log.save_committed(at(4, 30)).unwrap();
    append_range(&log, 4, 31..32);
    assert_eq!(whole.range(30, usize::MAX).unwrap(), [entry(4, 30)]);

    // Each flip hides some entries; what is given is right, and most is given.
    let disk = whole_log();
    for at in 192..disk.bytes(&segment(2)).len() {
        let disk = disk.copy();
        disk.tamper(&segment(2), |bytes| bytes[at] ^= 8);
        let archive = archive(&disk);
        let (mut given, mut next) = (0, 0);
        while next < peer.len() {
            let range = archive.range(next as u64, usize::MAX).unwrap();
            assert!(peer[next..].starts_with(&range), "flipped at {at}, from {next}");
            given += range.len();
            next += range.len().max(1);
        }
        assert!(given >= 26, "{given} of 30 with a flip at {at}");
    }
}

/// A member that lagged: its log ended at 10, it voted, and a snapshot came after which the log goes on.
fn jumped(floor: u64) -> MemDisk {
    let disk = MemDisk::default();
    let log = open_with(&disk.as_disk(), options(Path::new(LOG_DIR))).unwrap();
    wait(|done| log.save_vote(vote(1, 1), done)).unwrap();
    append_range(&log, 1, 0..11);
    wait(|done| log.save_vote(vote(9, 2), done)).unwrap();
    wait(|done| log.purge(at(9, floor), done)).unwrap();
    append_range(&log, 9, floor + 1..floor + 4);
    drop(log);
    disk
}

#[test]
fn a_vote_that_lay_beside_a_jump_to_a_purge_floor_is_never_taken_for_entries() {
    for floor in [11, 12, 13, 100] {
        let whole = jumped(floor);
        let files = storage_support::life::segments(&whole);
        let frames: Vec<_> = files
            .iter()
            .flat_map(|file| {
                let frames = storage_support::life::frames(&whole.bytes(file));
                frames.into_iter().map(move |frame| (file, frame))
            })
            .collect();
        // Whichever frames are lost, one after the other.
        for first in 0..frames.len() {
            for last in first..frames.len() {
                let disk = whole.copy();
                for (file, frame) in &frames[first..=last] {
                    disk.tamper(file, |bytes| bytes[frame.start as usize + 50] ^= 1);
                }
                let as_disk = disk.as_disk();
                let Err(StorageError::Corrupt(damage)) = open_with(&as_disk, options(Path::new(LOG_DIR)))
                else {
                    continue;
                };
                let need = note_damage(&*as_disk, &options(Path::new(LOG_DIR)), &damage).unwrap();
                let told = need.vote.map(|(term, ..)| term);
                let place = format!("floor {floor}, frames {first} to {last}: {need:?}");
                assert!(!need.vote_is_known || told == Some(9), "{place}");
                assert!(need.acknowledged >= Some(floor + 3), "{place}");
            }
        }
    }
}

#[test]
fn a_place_that_cannot_be_read_is_damage_there_and_repaired_and_all_else_is_salvaged() {
    let whole = whole_log();
    let peer = committed(&whole);
    for number in 1..=2 {
        for from in (0..whole.bytes(&segment(number)).len()).step_by(90) {
            let disk = whole.copy();
            disk.make_unreadable(&segment(number), from, from + 40);
            let Err(StorageError::Corrupt(damage)) = open_planted(&disk, Planted::Nothing) else {
                panic!("{number}, {from}: it was read");
            };
            assert_eq!((&damage.path, &damage.what), (&segment(number), &CorruptionKind::Unreadable));
            // By sectors: what the device gives back around it is not a part of the hole.
            assert!(damage.offset / 512 == from as u64 / 512, "{number}, {from}: {damage}");
            repair(&disk, &peer, Some(4));
            let log = open_planted(&disk, Planted::Nothing).unwrap();
            assert_eq!(all(&log), peer, "{number}, {from}");
            assert_eq!(log.standing().vote.map(|vote| vote.term >= 4), Some(true));
        }
    }
    // A reader beside it, who looks for what is intact, gets the rest.
    let disk = whole.copy();
    disk.make_unreadable(&segment(2), 512, 700);
    let archive = Archive::new(disk.as_disk(), vec![PathBuf::from(LOG_DIR)], keys());
    let given: usize = (0..30).map(|from| archive.range(from, 0).unwrap().len()).sum();
    assert!((24..30).contains(&given), "{given} of 30");
}

#[test]
fn a_read_that_fails_once_is_no_damage() {
    let whole = whole_log();
    let expected = all(&open_planted(&whole.copy(), Planted::Nothing).unwrap());
    for at in 0..40 {
        let disk = whole.copy_with(Faults { fails_at: Some((Op::Read, at)), ..Faults::default() });
        match open_planted(&disk, Planted::Nothing) {
            Ok(log) => assert_eq!(all(&log), expected, "read {at}"),
            Err(error) => panic!("read {at}: {error}"),
        }
    }
}
