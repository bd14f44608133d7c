//! What an open makes of what it finds: a torn tail is cut, all other damage is refused by file and offset.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use events::ids::ClusterId;
use events::log::frame::FrameDamage;
use events::log::keys::{KeyEncryptionKey, SegmentKeys};
use events::log::segment::SealedHeader;
use nodes::storage::error::{CorruptionKind, StorageError};
use nodes::storage::log::LogOptions;
use std::collections::BTreeSet;
use std::path::Path;
use storage_support::mem_disk::{Left, MemDisk};
use storage_support::{
    LOG_DIR, all, append, append_range, at, entry, keys, open, open_with, options, segment, vote, wait,
};

/// A log of a vote and entries 0 to 4 that ended without closing, each record durable.
fn crashed_log() -> MemDisk {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    wait(|done| log.save_vote(vote(3, 1), done)).unwrap();
    append_range(&log, 3, 0..5);
    disk.after_power_cut(Left::Everything)
}

fn corruption(disk: &MemDisk) -> (String, u64, CorruptionKind) {
    match open(&disk.as_disk()) {
        Err(StorageError::Corrupt(corruption)) => {
            let file = corruption.path.file_name().unwrap().to_string_lossy().into_owned();
            (file, corruption.offset, corruption.what)
        }
        Err(other) => panic!("expected corruption, got {other}"),
        Ok(_) => panic!("expected corruption, but it opened"),
    }
}

fn last_frame(disk: &MemDisk, number: u64) -> usize {
    let bytes = disk.bytes(&segment(number));
    bytes.windows(4).rposition(|window| window == [0xf7, b'm', b'f', b'r']).unwrap()
}

#[test]
fn what_was_written_is_there_after_a_reopen() {
    let disk = crashed_log();
    let log = open(&disk.as_disk()).unwrap();
    let expected: Vec<_> = (0..5).map(|index| entry(3, index)).collect();
    assert_eq!(all(&log), expected);
    assert_eq!(log.standing().vote, Some(vote(3, 1)));
    append_range(&log, 4, 5..8);
    log.close().unwrap();
    let log = open(&disk.as_disk()).unwrap();
    assert_eq!(all(&log).len(), 8);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_node_votes_as_before() {
    let whole = crashed_log();
    let start = last_frame(&whole, 1);
    let end = whole.bytes(&segment(1)).len();
    for length in start..end {
        let disk = whole.copy();
        disk.tamper(&segment(1), |bytes| bytes.truncate(length));
        let log = open(&disk.as_disk()).unwrap();
        assert_eq!(all(&log).len(), 4, "cut to {length} bytes");
        assert_eq!(log.standing().vote, Some(vote(3, 1)));
        append(&log, &[entry(5, 4)]).unwrap();
        assert_eq!(all(&log)[4], entry(5, 4));
    }
}

#[test]
fn a_tail_of_zeros_or_garbage_is_cut() {
    for rubbish in [vec![0; 5000], vec![0xf7, b'm', b'f', b'r', 9, 9, 9], b"garbage".repeat(100)] {
        let disk = crashed_log();
        disk.tamper(&segment(1), |bytes| bytes.extend_from_slice(&rubbish));
        let log = open(&disk.as_disk()).unwrap();
        assert_eq!(all(&log).len(), 5);
    }
}

#[test]
fn a_bit_flipped_before_the_last_frame_is_refused_by_file_and_offset() {
    let whole = crashed_log();
    let bytes = whole.bytes(&segment(1));
    let frames: Vec<u64> = (0..bytes.len() - 4)
        .filter(|&at| bytes[at..at + 4] == [0xf7, b'm', b'f', b'r'])
        .map(|at| at as u64)
        .collect();
    assert_eq!(frames.len(), 6);
    for flipped in 192..last_frame(&whole, 1) {
        let disk = whole.copy();
        disk.tamper(&segment(1), |bytes| bytes[flipped] ^= 4);
        let (file, offset, what) = corruption(&disk);
        assert_eq!(file, "segment-0000000000000001.log");
        let frame = frames.iter().rev().find(|&&start| start <= flipped as u64).unwrap();
        assert_eq!(offset, *frame, "bit flipped at {flipped}");
        assert!(matches!(what, CorruptionKind::Frame(_)), "{what:?}");
        assert_eq!(disk.bytes(&segment(1)).len(), bytes.len(), "nothing was changed");
    }
}

#[test]
fn a_bit_flipped_in_the_last_frame_of_a_log_that_was_closed_is_refused() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    append_range(&log, 1, 0..3);
    let last_entry = last_frame(&disk, 1);
    log.close().unwrap();
    disk.tamper(&segment(1), |bytes| bytes[last_entry + 45] ^= 1);
    let (_, offset, what) = corruption(&disk);
    assert_eq!((offset, what), (last_entry as u64, CorruptionKind::Frame(FrameDamage::Checksum)));
}

#[test]
fn damage_in_a_segment_before_the_last_is_never_taken_for_a_torn_tail() {
    let disk = crashed_log();
    drop(open(&disk.as_disk()).unwrap());
    let log = open(&disk.as_disk()).unwrap();
    append_range(&log, 4, 5..6);
    drop(log);
    let end = disk.bytes(&segment(1)).len();
    disk.tamper(&segment(1), |bytes| bytes[end - 1] ^= 1);
    assert_eq!(corruption(&disk).0, "segment-0000000000000001.log");
    disk.tamper(&segment(1), |bytes| bytes.truncate(end - 10));
    assert_eq!(corruption(&disk).2, CorruptionKind::Length { expected: end as u64, found: end as u64 - 10 });
    disk.lose(&segment(1));
    assert_eq!(corruption(&disk).2, CorruptionKind::Missing);
}

#[test]
fn a_damaged_header_before_frames_is_refused() {
    let disk = crashed_log();
    for flipped in 0..192 {
        let disk = disk.copy();
        disk.tamper(&segment(1), |bytes| bytes[flipped] ^= 1);
        let (_, offset, what) = corruption(&disk);
        assert_eq!(offset, 0);
        assert!(matches!(what, CorruptionKind::Header(_)), "byte {flipped}: {what:?}");
    }
}

#[test]
fn a_segment_whose_creation_was_cut_short_is_made_anew() {
    for length in 0..=192 {
        let disk = crashed_log();
        let mut begun = MemDisk::default().copy();
        drop(open(&begun.as_disk()).unwrap());
        begun = begun.after_power_cut(Left::Everything);
        let mut bytes = begun.bytes(&segment(1));
        bytes.truncate(length);
        bytes.last_mut().into_iter().for_each(|byte| *byte ^= 0xff);
        disk.put(&segment(2), bytes);
        let log = open(&disk.as_disk()).unwrap();
        assert_eq!(all(&log).len(), 5);
        append_range(&log, 4, 5..6);
        drop(log);
        assert_eq!(all(&open(&disk.as_disk()).unwrap()).len(), 6);
    }
}

#[test]
fn a_damaged_tail_is_no_torn_tail_once_a_later_segment_was_begun() {
    let disk = crashed_log();
    disk.put(&segment(2), b"cut short".to_vec());
    let end = disk.bytes(&segment(1)).len();
    disk.tamper(&segment(1), |bytes| bytes[end - 1] ^= 1);
    assert_eq!(corruption(&disk).0, "segment-0000000000000001.log");
}

#[test]
fn every_open_and_every_truncation_begins_a_new_generation_and_every_segment_has_its_own_salt() {
    let disk = MemDisk::default();
    let small = || LogOptions { segment_bytes_target: 600, ..options(Path::new(LOG_DIR)) };
    let log = open_with(&disk.as_disk(), small()).unwrap();
    append_range(&log, 1, 0..10);
    wait(|done| log.truncate_after(Some(at(1, 8)), done)).unwrap();
    append_range(&log, 2, 9..10);
    drop(log);
    append_range(&open_with(&disk.as_disk(), small()).unwrap(), 3, 10..11);
    let segments = storage_support::life::segments(&disk).into_iter();
    let headers: Vec<_> =
        segments.map(|path| SealedHeader::parse(&disk.bytes(&path)).unwrap().claims().clone()).collect();
    let generations: Vec<_> = headers.iter().map(|header| header.identity.generation).collect();
    assert_eq!(generations, [1, 1, 2, 3]);
    let salts: BTreeSet<_> = headers.iter().map(|header| header.salt).collect();
    assert_eq!(salts.len(), headers.len());
}

#[test]
fn opening_again_and_again_leaves_no_empty_segments_behind() {
    let disk = crashed_log();
    for _ in 0..10 {
        drop(open(&disk.as_disk()).unwrap());
    }
    assert_eq!(storage_support::life::segments(&disk).len(), 2);
}

#[test]
fn a_segment_of_another_place_is_refused() {
    let disk = MemDisk::default();
    for _ in 0..3 {
        let log = open(&disk.as_disk()).unwrap();
        let next = log.standing().last.map_or(0, |last| last.index + 1);
        append_range(&log, 1, next..next + 1);
        drop(log);
    }
    let second = disk.bytes(&segment(2));
    disk.tamper(&segment(3), |bytes| *bytes = second);
    assert_eq!(corruption(&disk).2, CorruptionKind::Misplaced { found: 2 });
}

#[test]
fn a_log_rolls_into_segments_and_reads_over_all_of_them() {
    let disk = MemDisk::default();
    let small =
        || LogOptions { segment_bytes_target: 1000, cache_bytes_max: 0, ..options(Path::new(LOG_DIR)) };
    let log = open_with(&disk.as_disk(), small()).unwrap();
    append_range(&log, 1, 0..100);
    let expected: Vec<_> = (0..100).map(|index| entry(1, index)).collect();
    assert_eq!(all(&log), expected);
    drop(log);
    assert!(disk.files().len() > 5);
    assert_eq!(all(&open_with(&disk.as_disk(), small()).unwrap()), expected);
}

#[test]
fn a_purged_log_opens_from_the_first_segment_that_it_needs() {
    let disk = MemDisk::default();
    let small = || LogOptions { segment_bytes_target: 1000, ..options(Path::new(LOG_DIR)) };
    let log = open_with(&disk.as_disk(), small()).unwrap();
    append_range(&log, 1, 0..100);
    wait(|done| log.purge(at(1, 79), done)).unwrap();
    append_range(&log, 1, 100..120);
    drop(log);
    disk.tamper(&segment(1), |bytes| bytes[200] ^= 1);
    let log = open_with(&disk.as_disk(), small()).unwrap();
    assert_eq!(all(&log).first().map(|entry| entry.at), Some(at(1, 80)));
    assert_eq!(all(&log).len(), 40);
    assert_eq!(log.standing().floor, Some(at(1, 79)));
}

#[test]
fn everything_of_the_standing_survives_a_reopen() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    wait(|done| log.save_vote(vote(2, 1), done)).unwrap();
    append_range(&log, 2, 0..10);
    log.save_committed(at(2, 6)).unwrap();
    wait(|done| log.truncate_after(Some(at(2, 7)), done)).unwrap();
    wait(|done| log.purge(at(2, 4), done)).unwrap();
    let standing = log.standing();
    assert_eq!(standing.last, Some(at(2, 7)));
    drop(log);
    for _ in 0..3 {
        let log = open(&disk.as_disk()).unwrap();
        assert_eq!(log.standing(), standing);
        assert_eq!(all(&log).iter().map(|entry| entry.at.index).collect::<Vec<_>>(), [5, 6, 7]);
    }
}

#[test]
fn a_snapshot_past_the_log_survives_a_reopen_and_the_log_goes_on_after_it() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    append_range(&log, 1, 0..5);
    wait(|done| log.purge(at(7, 100), done)).unwrap();
    append_range(&log, 7, 101..103);
    drop(log);
    let log = open(&disk.as_disk()).unwrap();
    assert_eq!(all(&log), [entry(7, 101), entry(7, 102)]);
}

#[test]
fn another_clusters_data_is_refused_by_name_with_what_to_do() {
    let disk = crashed_log();
    let other = ClusterId::from_bytes([9; 16]);
    let options = LogOptions { cluster: other, ..options(Path::new(LOG_DIR)) };
    let error = open_with(&disk.as_disk(), options).err().unwrap().to_string();
    assert!(error.contains(&storage_support::CLUSTER.to_string()), "{error}");
    assert!(error.contains(&other.to_string()), "{error}");
    assert!(error.contains("start it with"), "{error}");
}

#[test]
fn another_nodes_data_is_refused() {
    let disk = crashed_log();
    let options = LogOptions { node: 2, ..options(Path::new(LOG_DIR)) };
    let error = open_with(&disk.as_disk(), options).err().unwrap();
    assert!(matches!(error, StorageError::OtherNode { found: 1, expected: 2, .. }), "{error}");
}

#[test]
fn a_wrong_keyring_is_refused_by_the_id_of_the_key_and_changes_nothing() {
    let disk = crashed_log();
    let before = disk.bytes(&segment(1));
    for (id, complaint) in
        [(2, "key-encryption key 1, which this keyring does not hold"), (1, "is not the one")]
    {
        let keys = SegmentKeys::new(vec![KeyEncryptionKey::new(id, [1; 32])]).unwrap();
        let options = LogOptions { keys, ..options(Path::new(LOG_DIR)) };
        let error = open_with(&disk.as_disk(), options).err().unwrap().to_string();
        assert!(error.contains(complaint), "{error}");
        assert!(error.contains("segment-0000000000000001.log"), "{error}");
    }
    assert_eq!(disk.bytes(&segment(1)), before);
}

#[test]
fn a_rotated_key_seals_what_is_new_and_older_segments_still_open() {
    let disk = crashed_log();
    let rotated = || {
        let newest = KeyEncryptionKey::new(2, [43; 32]);
        SegmentKeys::new(vec![newest, keys().newest().clone()]).unwrap()
    };
    let options = || LogOptions { keys: rotated(), ..options(Path::new(LOG_DIR)) };
    let log = open_with(&disk.as_disk(), options()).unwrap();
    append_range(&log, 4, 5..6);
    drop(log);
    assert_eq!(all(&open_with(&disk.as_disk(), options()).unwrap()).len(), 6);
    let error = open(&disk.as_disk()).err().unwrap().to_string();
    assert!(error.contains("segment-0000000000000002.log"), "{error}");
}

#[test]
fn a_log_in_use_is_refused_until_it_is_closed() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    assert!(matches!(open(&disk.as_disk()), Err(StorageError::InUse { .. })));
    log.close().unwrap();
    open(&disk.as_disk()).unwrap();
}

#[test]
fn no_plain_text_of_an_entry_reaches_the_disk() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    append(&log, &[entry(1, 0)]).unwrap();
    let bytes = disk.bytes(&segment(1));
    assert!(!bytes.windows(7).any(|window| window == b"entry 0"));
}
