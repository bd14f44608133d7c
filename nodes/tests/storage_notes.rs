//! The small files beside a log: what they say is believed only as it was written, and the loss of the log's last file is
//! seen by one of them.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use bytes::Bytes;
use events::log::record::EntryBody;
use events::log::segment::HEADER_BYTES;
use nodes::storage::error::{CorruptionKind, StorageError};
use nodes::storage::log::DurableLog;
use nodes::storage::log_reader::LogReader;
use nodes::storage::repair::{NEED_FILE, Need, note_damage};
use nodes::storage::retention::Retention;
use nodes::storage::suspect::{SUSPECT_FILE, Suspect};
use nodes::storage::view::LogEntry;
use std::path::{Path, PathBuf};
use storage_support::life::{held, lefts, segments, small};
use storage_support::mem_disk::{Faults, MemDisk};
use storage_support::peer::{committed, repair};
use storage_support::{
    CLUSTER, LOG_DIR, NODE, all, append, append_range, at, entry, keys, open_with, segment, vote, wait,
};

fn file(name: &str) -> PathBuf {
    Path::new(LOG_DIR).join(name)
}

fn opened(disk: &MemDisk) -> Result<DurableLog, StorageError> {
    open_with(&disk.as_disk(), small())
}

/// Entries 0 to 29, all committed, of which the last segment holds some, and a vote.
fn log_with_a_vote_at_its_end() -> MemDisk {
    let disk = MemDisk::default();
    let log = opened(&disk).unwrap();
    wait(|done| log.save_vote(vote(1, 1), done)).unwrap();
    append_range(&log, 1, 0..27);
    drop(log);
    let log = opened(&disk).unwrap();
    append_range(&log, 1, 27..30);
    log.save_committed(at(1, 29)).unwrap();
    wait(|done| log.save_vote(vote(2, 3), done)).unwrap();
    drop(log);
    disk
}

fn noted(disk: &MemDisk) -> Need {
    let Err(StorageError::Corrupt(damage)) = opened(disk) else { panic!("a damaged log opened") };
    note_damage(&*disk.as_disk(), &small(), &damage).unwrap()
}

#[test]
fn a_last_segment_that_is_gone_or_has_no_whole_header_is_refused_and_repaired() {
    let whole = log_with_a_vote_at_its_end();
    let peer = committed(&whole);
    let last = segments(&whole).pop().unwrap();
    let spoilt = (0..HEADER_BYTES).step_by(16).map(|length| {
        let disk = whole.copy();
        disk.tamper(&last, |bytes| bytes.truncate(length));
        disk
    });
    let gone = whole.copy();
    gone.lose(&last);
    for disk in spoilt.chain([gone]) {
        let refused = opened(&disk).err().unwrap();
        assert!(matches!(&refused, StorageError::Corrupt(damage) if damage.path == last), "{refused}");
        let need = noted(&disk.copy());
        assert!(need.tail_is_lost && !need.vote_is_known, "{need:?}");
        repair(&disk, &peer, Some(2));
        let log = opened(&disk).unwrap();
        assert_eq!(all(&log), peer);
        assert!(log.standing().vote.unwrap().term > 2, "the vote that was lost is not given again");
        drop(log);
        drop(opened(&disk).unwrap());
    }
}

#[test]
fn an_older_file_in_the_place_of_the_last_one_is_refused() {
    let disk = log_with_a_vote_at_its_end();
    let empty = opened(&disk).unwrap();
    let last = segments(&disk).pop().unwrap();
    let older = disk.bytes(&last);
    drop(empty);
    // The number is given again, for another generation.
    let log = opened(&disk).unwrap();
    append_range(&log, 2, 30..31);
    drop(log);
    disk.tamper(&last, |bytes| *bytes = older);
    let Err(StorageError::Corrupt(damage)) = opened(&disk) else { panic!("an older file was believed") };
    assert!(matches!(damage.what, CorruptionKind::Generation { .. }), "{damage}");
    assert!(noted(&disk).tail_is_lost);
}

#[test]
fn a_folder_of_a_version_that_named_no_newest_segment_opens_as_before() {
    let disk = log_with_a_vote_at_its_end();
    disk.lose(&file("newest.json"));
    let last = segments(&disk).pop().unwrap();
    disk.tamper(&last, |bytes| bytes.truncate(100));
    let log = opened(&disk).unwrap();
    assert_eq!(all(&log).len(), 27);
}

/// Opens that write nothing take the empty segment of the one before away.
#[test]
fn whenever_the_power_goes_while_segments_come_and_go_there_is_no_false_alarm() {
    let live = |disk: &MemDisk| -> Result<(), StorageError> {
        for index in 0..3 {
            drop(opened(disk)?);
            drop(opened(disk)?);
            let log = opened(disk)?;
            append(&log, &[entry(1, 2 * index)])?;
            wait(|done| log.truncate_after((index > 0).then(|| at(1, 2 * index - 1)), done))?;
            append(&log, &[entry(1, 2 * index), entry(1, 2 * index + 1)])?;
        }
        Ok(())
    };
    let counted = MemDisk::default();
    live(&counted).unwrap();
    for power_fails_at in 0..=counted.operations() {
        let disk = MemDisk::with(Faults { power_fails_at: Some(power_fails_at), ..Faults::default() });
        let _ = live(&disk);
        for left in lefts(6) {
            let disk = disk.after_power_cut(left);
            for _ in 0..2 {
                opened(&disk).unwrap_or_else(|error| panic!("{power_fails_at}, {left:?}: {error}"));
            }
        }
    }
}

#[test]
fn a_flipped_header_counts_the_frames_behind_it_whatever_its_neighbours_length() {
    let disk = MemDisk::default();
    let log = opened(&disk).unwrap();
    let large = EntryBody::Batch(Bytes::from(vec![7; 7 << 20]));
    for index in 0..3 {
        append(&log, &[LogEntry { at: at(1, index), body: large.clone() }]).unwrap();
    }
    append_range(&log, 1, 3..5);
    drop(log);
    let last = segments(&disk).pop().unwrap();
    for flipped in (0..HEADER_BYTES).step_by(7) {
        let disk = disk.copy();
        disk.tamper(&last, |bytes| bytes[flipped] ^= 1);
        let Err(StorageError::Corrupt(damage)) = opened(&disk) else { continue };
        let need = note_damage(&*disk.as_disk(), &small(), &damage).unwrap();
        assert_eq!((need.acknowledged, need.tail_is_lost), (Some(4), false), "{flipped}");
        assert!(need.vote_is_known, "no vote lies there");
    }
    // Without the file that names the newest generation a few are tried.
    disk.lose(&file("newest.json"));
    disk.tamper(&last, |bytes| bytes[20] ^= 1);
    assert_eq!(noted(&disk).acknowledged, Some(4));
    let disk = log_with_a_vote_at_its_end();
    disk.tamper(&segments(&disk).pop().unwrap(), |bytes| bytes[20] ^= 1);
    let need = noted(&disk);
    assert_eq!((need.acknowledged, need.vote_is_known), (Some(29), false), "for whom it was is sealed");
}

#[test]
fn no_flip_in_what_says_which_segment_is_the_newest_changes_what_an_open_finds() {
    let whole = log_with_a_vote_at_its_end();
    let expected = held(&opened(&whole.copy()).unwrap());
    for flipped in 0..whole.bytes(&file("newest.json")).len() {
        let disk = whole.copy();
        disk.tamper(&file("newest.json"), |bytes| bytes[flipped] ^= 1);
        assert_eq!(held(&opened(&disk).unwrap()), expected, "{flipped}");
        assert_eq!(held(&opened(&disk).unwrap()), expected, "{flipped}");
    }
}

#[test]
fn a_need_for_repair_of_which_anything_flipped_is_refused_and_stays() {
    let whole = log_with_a_vote_at_its_end();
    whole.tamper(&segment(2), |bytes| bytes[250] ^= 1);
    noted(&whole);
    for flipped in 0..whole.bytes(&file(NEED_FILE)).len() {
        let disk = whole.copy();
        disk.tamper(&file(NEED_FILE), |bytes| bytes[flipped] ^= 1);
        let refused = opened(&disk).err().unwrap();
        let StorageError::Corrupt(damage) = &refused else {
            assert!(matches!(refused, StorageError::Key { .. }), "{flipped}: {refused}");
            continue;
        };
        assert_eq!((&damage.path, damage.offset), (&file(NEED_FILE), 0));
        assert!(nodes::storage::repair::noted(&*disk.as_disk(), &small()).is_err());
        assert!(disk.files().contains(&file(NEED_FILE)));
    }
}

#[test]
fn a_suspicion_of_which_anything_flipped_keeps_nobody_from_opening() {
    let whole = log_with_a_vote_at_its_end();
    let expected = held(&opened(&whole.copy()).unwrap());
    let damage =
        nodes::storage::error::Corruption { path: segment(1), offset: 5, what: CorruptionKind::Missing };
    Suspect::note(&*whole.as_disk(), Path::new(LOG_DIR), &damage).unwrap();
    for flipped in 0..whole.bytes(&file(SUSPECT_FILE)).len() {
        let disk = whole.copy();
        disk.tamper(&file(SUSPECT_FILE), |bytes| bytes[flipped] ^= 1);
        assert_eq!(held(&opened(&disk).unwrap()), expected, "{flipped}");
    }
}

fn are_all_in(files: &[PathBuf], disk: &MemDisk) -> bool {
    files.iter().all(|file| disk.files().contains(file))
}

/// What retention removed is named in a file: if it named more, needed segments would go.
#[test]
fn no_flip_in_what_was_retired_removes_a_segment_or_keeps_the_log_from_opening() {
    let disk = MemDisk::default();
    let log = opened(&disk).unwrap();
    append_range(&log, 1, 0..60);
    log.save_committed(at(1, 59)).unwrap();
    wait(|done| log.purge(at(1, 40), done)).unwrap();
    drop(log);
    let log = opened(&disk).unwrap();
    append_range(&log, 1, 60..62);
    drop(log);
    let dirs = (PathBuf::from(LOG_DIR), PathBuf::from("/archive"));
    let retention = Retention::new(disk.as_disk(), dirs, (CLUSTER, NODE), keys());
    retention.archive().unwrap();
    retention.retire(2).unwrap();
    let there = segments(&disk);
    let expected = held(&opened(&disk.copy()).unwrap());
    for flipped in 0..disk.bytes(&file("retired.json")).len() {
        let disk = disk.copy();
        disk.tamper(&file("retired.json"), |bytes| bytes[flipped] ^= 1);
        for _ in 0..2 {
            assert_eq!(held(&opened(&disk).unwrap()), expected, "{flipped}");
        }
        assert!(are_all_in(&there, &disk), "{flipped}");
        // Where the first header that is left is damaged too, nothing says what was removed.
        disk.tamper(&file("retired.json"), |bytes| bytes[flipped] ^= 1);
        disk.tamper(&segment(3), |bytes| bytes[20] ^= 1);
        assert!(opened(&disk).is_err(), "{flipped}");
        assert!(are_all_in(&there, &disk), "{flipped}");
    }
    drop(opened(&disk).unwrap());

    // An older file of the same name, genuine: what follows what it names begins elsewhere.
    let older = disk.copy();
    let retention = |disk: &MemDisk| {
        let dirs = (PathBuf::from(LOG_DIR), PathBuf::from("/archive"));
        Retention::new(disk.as_disk(), dirs, (CLUSTER, NODE), keys())
    };
    retention(&disk).retire(4).unwrap();
    let further = disk.bytes(&file("retired.json"));
    older.tamper(&segment(5), |bytes| bytes[10] ^= 1);
    older.tamper(&file("retired.json"), |bytes| *bytes = further);
    let before = segments(&older);
    let _ = opened(&older);
    assert_eq!(segments(&older), before, "nothing goes before the header after it agrees");
}

#[test]
fn a_reader_beside_a_node_that_starts_again_takes_its_new_segment_without_a_frame_for_no_loss() {
    let disk = log_with_a_vote_at_its_end();
    let reader = || LogReader::open(disk.as_disk(), PathBuf::from(LOG_DIR), keys()).unwrap();
    let read = |reader: LogReader| reader.of_cluster(CLUSTER).checking_end().map(|item| item.map(drop));
    let begun_before = reader();
    let log = opened(&disk).unwrap();
    let last = segments(&disk).pop().unwrap();
    assert_eq!(disk.bytes(&last).len(), HEADER_BYTES);
    assert!(read(begun_before).all(|item| item.is_ok()));
    // It is the loss of that file that is said, be it without a frame.
    let begun_before = {
        disk.lose(&last);
        reader()
    };
    let Some(Err(StorageError::Corrupt(damage))) = read(begun_before).last() else {
        panic!("nothing was said")
    };
    assert_eq!((damage.path, damage.what), (last, CorruptionKind::Missing));
    drop(log);
}
