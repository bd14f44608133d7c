//! Sealed segments are archived and removed where somebody wants that: history is whole in log and archive together,
//! whenever the power goes and whatever fails, and raft's part of the log is never touched.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod copies;
#[path = "../storage_support/mod.rs"]
mod storage_support;

use events::log::record::EntryBody;
use events::time::Timestamp;
use nodes::storage::archive::Archive;
use nodes::storage::disk::{Disk, DiskFile, DiskLock};
use nodes::storage::error::StorageError;
use nodes::storage::log::DurableLog;
use nodes::storage::log_reader::{History, LogReader};
use nodes::storage::repair::{Rebuild, note_damage};
use nodes::storage::retention::{Holdings, MANIFEST_FILE, Manifest, Retention};
use nodes::storage::scrub::Scrub;
use nodes::storage::view::LogEntry;
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage_support::life::{lefts, small};
use storage_support::mem_disk::{Faults, MemDisk};
use storage_support::{CLUSTER, LOG_DIR, NODE, all, append, at, keys, open_with, segment, vote, wait};

const ARCHIVE_DIR: &str = "/archive/node-1";

fn retention(disk: &MemDisk) -> Retention {
    let dirs = (PathBuf::from(LOG_DIR), PathBuf::from(ARCHIVE_DIR));
    Retention::new(disk.as_disk(), dirs, (CLUSTER, NODE), keys())
}

fn archived(number: u64) -> PathBuf {
    Path::new(ARCHIVE_DIR).join(format!("segment-{number:016}.log"))
}

/// A batch that is stamped a second after the one before.
fn stamped(term: u64, index: u64) -> LogEntry {
    let batch = format!("entry {index} of term {term}");
    let payload = events::batch::stamped(Timestamp::from_millis(1000 * index), batch.as_bytes());
    LogEntry { at: at(term, index), body: EntryBody::Batch(payload.into()) }
}

/// Entries 0 to 59, truncated and written anew in between, committed, and purged through 44; closed.
fn long_log() -> MemDisk {
    let disk = MemDisk::default();
    let log = open_with(&disk.as_disk(), small()).unwrap();
    wait(|done| log.save_vote(vote(1, 1), done)).unwrap();
    for index in 0..25 {
        append(&log, &[stamped(1, index)]).unwrap();
    }
    log.save_committed(at(1, 15)).unwrap();
    wait(|done| log.truncate_after(Some(at(1, 19)), done)).unwrap();
    for index in 20..60 {
        append(&log, &[stamped(2, index)]).unwrap();
        log.save_committed(at(2, index)).unwrap();
    }
    wait(|done| log.purge(at(2, 44), done)).unwrap();
    log.close().unwrap();
    // The floor stands in the header of a segment that is begun after it.
    let log = open_with(&disk.as_disk(), small()).unwrap();
    for index in 60..70 {
        append(&log, &[stamped(2, index)]).unwrap();
    }
    log.save_committed(at(2, 69)).unwrap();
    log.close().unwrap();
    disk
}

/// Entries, and gaps with both their ends.
type Found = (Vec<LogEntry>, Vec<(u64, u64)>);

fn history_in(disk: &MemDisk, dir: &str) -> Result<Found, StorageError> {
    let (mut entries, mut gaps) = (Vec::new(), Vec::new());
    for history in LogReader::open(disk.as_disk(), dir.into(), keys())? {
        match history? {
            History::Entry(held) => entries.push(held.entry),
            History::Gap { from, through } => gaps.push((from, through)),
        }
    }
    Ok((entries, gaps))
}

/// History of log and archive together; where both hold an entry it is the same.
fn whole_history(disk: &MemDisk) -> Vec<LogEntry> {
    let mut held = std::collections::BTreeMap::new();
    for dir in [LOG_DIR, ARCHIVE_DIR] {
        for entry in history_in(disk, dir).unwrap().0 {
            let before = held.insert(entry.at.index, entry.clone());
            assert!(before.is_none_or(|before| before == entry));
        }
    }
    held.into_values().collect()
}

fn last_shelved(holdings: &Holdings) -> u64 {
    holdings.shelved.last().unwrap().segment
}

#[test]
fn every_segment_that_no_open_reads_is_copied_with_a_line_that_says_what_it_holds() {
    let disk = long_log();
    let (history, _) = history_in(&disk, LOG_DIR).unwrap();
    let holdings = retention(&disk).archive().unwrap();
    assert!(holdings.shelved.len() > 3, "{holdings:?}");
    let manifest = Manifest::read(&*disk.as_disk(), Path::new(ARCHIVE_DIR)).unwrap().unwrap();
    let mut next = 0;
    for (line, shelved) in manifest.lines().iter().zip(&holdings.shelved) {
        let (original, copy) = (disk.bytes(&segment(line.segment)), disk.bytes(&archived(line.segment)));
        assert_eq!(original, copy);
        let digest: String = Sha256::digest(&copy).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((&line.sha256, line.bytes), (&digest, copy.len() as u64));
        assert_eq!((line.cluster, line.node, line.segment), (CLUSTER, NODE, shelved.segment));
        if let Some(first) = line.first {
            assert_eq!(first, next, "what was truncated is in no line, and nothing is left out");
            next = line.last.unwrap() + 1;
            assert_eq!(line.last_stamp, Some(Timestamp::from_millis(1000 * (next - 1))));
        }
    }
    assert!(next > 30 && next <= 45, "{next}: never what raft still reads");
    assert_eq!(holdings.archived_through, Some(next - 1));
    assert_eq!(history_in(&disk, ARCHIVE_DIR).unwrap(), (history[..next as usize].to_vec(), vec![]));
    let again = retention(&disk.copy_with(Faults { power_fails_at: Some(0), ..Faults::default() }));
    assert_eq!(again.archive().unwrap(), holdings, "what is archived is not written again");
}

#[test]
fn what_was_retired_is_a_gap_in_the_log_is_read_from_the_archive_and_the_node_goes_on() {
    let disk = long_log();
    let (history, _) = history_in(&disk, LOG_DIR).unwrap();
    let before = all(&open_with(&disk.as_disk(), small()).unwrap());
    let holdings = retention(&disk).archive().unwrap();
    let through = last_shelved(&holdings);
    retention(&disk).retire(through).unwrap();
    assert!((1..=through).all(|gone| !disk.files().contains(&segment(gone))));

    let (left, gaps) = history_in(&disk, LOG_DIR).unwrap();
    let first = left.first().unwrap().at.index;
    assert_eq!(gaps, [(0, first - 1)]);
    assert_eq!(left, history[first as usize..]);
    let mut reader = LogReader::open(disk.as_disk(), LOG_DIR.into(), keys()).unwrap();
    assert!(reader.by_ref().all(|history| history.is_ok()));
    assert!(reader.report().retired_through.is_some());
    assert_eq!(whole_history(&disk), history);

    for index in 70..90 {
        let log = open_with(&disk.as_disk(), small()).unwrap();
        assert!(all(&log).starts_with(&before));
        append(&log, &[stamped(2, index)]).unwrap();
        log.save_committed(at(2, index)).unwrap();
        log.close().unwrap();
    }
    assert_eq!(whole_history(&disk).len(), 90);
    let dirs = vec![PathBuf::from(LOG_DIR), PathBuf::from(ARCHIVE_DIR)];
    let archive = Archive::new(disk.as_disk(), dirs, keys());
    assert_eq!(archive.range(0, usize::MAX).unwrap().first(), history.first(), "peers are given it");
    assert_eq!(archive.range(85, usize::MAX).unwrap().len(), 5);
}

#[test]
fn nothing_is_retired_that_is_not_archived_or_that_an_open_would_read() {
    let disk = long_log();
    let files = disk.files();
    retention(&disk).retire(u64::MAX).unwrap();
    assert!(files.iter().all(|path| disk.files().contains(path)), "there is no archive yet");

    let through = last_shelved(&retention(&disk).archive().unwrap());
    retention(&disk).retire(u64::MAX).unwrap();
    assert!(disk.files().contains(&segment(through + 1)));
    let log = open_with(&disk.as_disk(), small()).unwrap();
    assert_eq!(all(&log).first().map(|entry| entry.at.index), Some(45));
    drop(log);

    // A copy that is lost from the middle of the manifest keeps what comes after it.
    let disk = long_log();
    retention(&disk).archive().unwrap();
    disk.tamper(&Path::new(ARCHIVE_DIR).join(MANIFEST_FILE), |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let kept: Vec<_> = text.lines().filter(|line| !line.contains("\"segment\":3")).collect();
        *bytes = (kept.join("\n") + "\n").into_bytes();
    });
    retention(&disk).retire(u64::MAX).unwrap();
    assert!(!disk.files().contains(&segment(2)) && disk.files().contains(&segment(3)));
}

/// Archives and retires in steps, as far as the disk lasts.
fn archive_and_retire(disk: &MemDisk) -> Result<(), StorageError> {
    let holdings = retention(disk).archive()?;
    for shelved in &holdings.shelved {
        retention(disk).retire(shelved.segment)?;
    }
    Ok(())
}

#[test]
fn whenever_the_power_goes_or_the_disk_fails_history_is_whole_and_the_next_attempt_ends_it() {
    let whole = long_log();
    let (history, _) = history_in(&whole, LOG_DIR).unwrap();
    let held = all(&open_with(&whole.copy().as_disk(), small()).unwrap());
    let counted = whole.copy();
    archive_and_retire(&counted).unwrap();
    let operations = counted.operations();
    assert!(operations > 60, "{operations}");
    let cuts = (0..=operations).map(|at| Faults { power_fails_at: Some(at), ..Faults::default() });
    for faults in cuts.chain(counted.single_faults()) {
        let disk = whole.copy_with(faults);
        let _ = archive_and_retire(&disk);
        // What is not synced is all the same where the power stays.
        for left in lefts(if faults.power_fails_at.is_some() { 2 } else { 0 }) {
            let disk = disk.after_power_cut(left);
            let log = open_with(&disk.as_disk(), small());
            let log = log.unwrap_or_else(|error| panic!("{faults:?}, {left:?}: {error}"));
            assert_eq!(all(&log), held, "{faults:?}, {left:?}");
            drop(log);
            assert_eq!(whole_history(&disk), history, "{faults:?}, {left:?}");
            archive_and_retire(&disk).unwrap_or_else(|error| panic!("{faults:?}, {left:?}: {error}"));
            assert_eq!(whole_history(&disk), history, "{faults:?}, {left:?}");
        }
    }
}

/// As an archiver that removes a segment before its copy is on the disk would leave things.
#[test]
fn the_check_above_catches_a_copy_that_is_not_synced() {
    let whole = long_log();
    let (history, _) = history_in(&whole, LOG_DIR).unwrap();
    let disk =
        whole.copy_with(Faults { sync: storage_support::mem_disk::SyncPromise::Broken, ..Faults::default() });
    archive_and_retire(&disk).unwrap();
    let disk = disk.after_power_cut(storage_support::mem_disk::Left::Nothing);
    let readable = [LOG_DIR, ARCHIVE_DIR].into_iter().filter_map(|dir| history_in(&disk, dir).ok());
    let left: Vec<_> = readable.flat_map(|(entries, _)| entries).collect();
    assert!(!history.iter().all(|entry| left.contains(entry)));
}

#[test]
fn a_full_archive_is_an_error_removes_nothing_and_leaves_nothing_half_written() {
    let disk = long_log();
    let used = disk.used();
    let full = disk.copy_with(Faults { capacity: Some(used + 300), ..Faults::default() });
    let refused = retention(&full).archive().unwrap_err();
    assert!(matches!(refused, StorageError::NoRoom { .. }), "{refused}");
    assert!(disk.files().iter().all(|path| full.files().contains(path)));
    let counted = disk.copy();
    retention(&counted).archive().unwrap();
    for faults in counted.single_faults() {
        let disk = disk.copy_with(faults);
        let _ = retention(&disk).archive();
        assert!(!disk.files().iter().any(|path| path.ends_with("copy.tmp")), "{faults:?}");
    }
}

#[test]
fn no_copy_is_made_of_what_the_log_of_the_same_disk_needs() {
    let disk = long_log();
    let capacity = disk.used() + 5_000;
    let disk = disk.copy_with(Faults { capacity: Some(capacity), ..Faults::default() });
    let refused = retention(&disk).leaving_free(3_000).archive().unwrap_err();
    assert!(matches!(refused, StorageError::NoRoom { .. }), "{refused}");
    let left = capacity - disk.used();
    assert!((2_000..4_500).contains(&left), "{left}");
    assert!(disk.files().contains(&archived(1)), "as far as there was room");
}

#[test]
fn what_lies_before_damage_is_archived_and_retired_and_the_damage_is_named() {
    let whole = long_log();
    let (history, _) = history_in(&whole, LOG_DIR).unwrap();
    let shelved = last_shelved(&retention(&whole.copy()).archive().unwrap());
    let spoil: [fn(&MemDisk, u64); 3] = [
        |disk, number| disk.lose(&segment(number)),
        |disk, number| disk.tamper(&segment(number), |bytes| bytes[20] ^= 1),
        |disk, number| disk.tamper(&segment(number), |bytes| bytes[300] ^= 1),
    ];
    for (spoil, damaged) in spoil.into_iter().flat_map(|spoil| (1..=shelved).map(move |it| (spoil, it))) {
        let disk = whole.copy();
        let copy = disk.bytes(&segment(damaged));
        spoil(&disk, damaged);
        for _ in 0..2 {
            let holdings = retention(&disk).archive().unwrap();
            let damage = holdings.damage.clone().unwrap();
            let name = format!("segment-{damaged:016}.log is corrupt at offset");
            assert!(damage.contains(&name), "{damage}");
            assert!(holdings.archived_segments < damaged && !disk.files().contains(&archived(damaged)));
            if damaged == shelved {
                assert!(holdings.archived_segments > 2, "{holdings:?}");
            }
            retention(&disk).retire(u64::MAX).unwrap();
        }
        disk.lose(&segment(damaged));
        disk.put(&segment(damaged), copy);
        assert_eq!(retention(&disk).archive().unwrap().damage, None);
        assert_eq!(whole_history(&disk), history, "{damaged}");
        let (archived, gaps) = history_in(&disk, ARCHIVE_DIR).unwrap();
        assert_eq!((archived[..].len() > 30, gaps), (true, vec![]), "no line says too little");
    }
}

#[test]
fn a_reader_beside_the_node_goes_on_where_segments_are_removed_under_it() {
    let disk = long_log();
    let (history, _) = history_in(&disk, LOG_DIR).unwrap();
    let through = last_shelved(&retention(&disk).archive().unwrap());
    let mut reader = LogReader::open(disk.as_disk(), LOG_DIR.into(), keys()).unwrap();
    let mut seen: Vec<_> = reader.by_ref().take(3).map(Result::unwrap).collect();
    retention(&disk).retire(through).unwrap();
    seen.extend(reader.map(Result::unwrap));
    let gaps: Vec<_> = seen.iter().filter(|it| matches!(it, History::Gap { .. })).collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let mut next = 0;
    for it in &seen {
        match it {
            History::Entry(held) => {
                assert_eq!(held.entry, history[next as usize]);
                next += 1;
            }
            History::Gap { from, through } => {
                assert_eq!(*from, next);
                next = through + 1;
            }
        }
    }
    assert_eq!(next as usize, history.len());
}

#[test]
fn a_log_whose_beginning_was_retired_and_whose_rest_is_gone_or_damaged_is_refused_and_repaired_from_a_peer() {
    let whole = long_log();
    let (history, _) = history_in(&whole, LOG_DIR).unwrap();
    let through = last_shelved(&retention(&whole).archive().unwrap());
    retention(&whole).retire(through).unwrap();
    let first = through + 1;
    let lost = whole.copy();
    lost.files().iter().filter(|path| path.starts_with(LOG_DIR)).for_each(|path| {
        if path.extension().is_some_and(|end| end == "log") {
            lost.lose(path);
        }
    });
    let refused = open_with(&lost.as_disk(), small()).err().unwrap().to_string();
    assert!(refused.contains(&format!("segment-{first:016}.log is corrupt at offset 0")), "{refused}");

    for flipped in [10, 250] {
        let disk = whole.copy();
        disk.tamper(&segment(first), |bytes| bytes[flipped] ^= 1);
        let Err(StorageError::Corrupt(damage)) = open_with(&disk.as_disk(), small()) else {
            panic!("a damaged log opened")
        };
        let need = note_damage(&*disk.as_disk(), &small(), &damage).unwrap();
        assert_eq!((need.from_segment, need.acknowledged), (first, Some(69)));
        let entropy = Arc::new(nodes::entropy::OsEntropy);
        let mut rebuild = Rebuild::begin(disk.as_disk(), entropy, small(), need, None).unwrap();
        let next = rebuild.next_index() as usize;
        rebuild.take(history[next..].to_vec()).unwrap();
        rebuild.finish().unwrap();
        let log: DurableLog = open_with(&disk.as_disk(), small()).unwrap();
        for index in 70..90 {
            append(&log, &[stamped(2, index)]).unwrap();
            log.save_committed(at(2, index)).unwrap();
        }
        drop(log);
        let longer = whole_history(&disk);
        assert_eq!((&longer[..70], longer.len()), (&history[..], 90));
    }
}

#[test]
fn another_nodes_archive_is_refused_and_a_manifest_that_a_crash_cut_short_goes_on() {
    let disk = long_log();
    retention(&disk).archive().unwrap();
    let dirs = (PathBuf::from(LOG_DIR), PathBuf::from(ARCHIVE_DIR));
    let other = Retention::new(disk.as_disk(), dirs, (CLUSTER, 2), keys());
    assert!(matches!(other.archive(), Err(StorageError::OtherNode { .. })));

    let manifest = Path::new(ARCHIVE_DIR).join(MANIFEST_FILE);
    let whole = disk.bytes(&manifest);
    disk.tamper(&manifest, |bytes| bytes.truncate(bytes.len() - 10));
    let holdings = retention(&disk).archive().unwrap();
    assert_eq!(disk.bytes(&manifest), whole);
    assert_eq!(last_shelved(&holdings), holdings.archived_segments);

    disk.tamper(&manifest, |bytes| bytes[5] = b'}');
    let refused = retention(&disk).archive().unwrap_err().to_string();
    assert!(refused.contains("manifest.jsonl is malformed at offset 0"), "{refused}");
}
