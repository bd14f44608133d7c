//! Sealed segments are archived and removed where somebody wants that: history is whole in log and archive together,
//! whenever the power goes and whatever fails, and raft's part of the log is never touched.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

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
use nodes::storage::scrub::{Checked, Scrub};
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
fn a_full_archive_is_an_error_and_removes_nothing() {
    let disk = long_log();
    let used: usize = disk.files().iter().map(|path| disk.bytes(path).len()).sum();
    let full = disk.copy_with(Faults { capacity: Some(used + 300), ..Faults::default() });
    let refused = retention(&full).archive().unwrap_err().to_string();
    assert!(refused.contains("copy.tmp"), "{refused}");
    assert!(disk.files().iter().all(|path| full.files().contains(path)));
}

#[test]
fn a_damaged_segment_is_not_archived_and_is_named() {
    let disk = long_log();
    disk.tamper(&segment(2), |bytes| bytes[300] ^= 1);
    let refused = retention(&disk).archive().unwrap_err().to_string();
    assert!(refused.contains("segment-0000000000000002.log is corrupt at offset"), "{refused}");
    assert!(!disk.files().contains(&archived(2)));
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

#[test]
fn what_a_repair_wrote_anew_is_archived_in_the_place_of_what_it_replaced() {
    let disk = long_log();
    let (history, _) = history_in(&disk, LOG_DIR).unwrap();
    let before = retention(&disk).archive().unwrap();
    retention(&disk).retire(1).unwrap();
    disk.tamper(&segment(2), |bytes| bytes[10] ^= 1);
    let scrub = Scrub { disk: disk.as_disk(), dir: LOG_DIR.into(), keys: keys() };
    let Checked::Damaged(damage) = scrub.run(|| true).unwrap() else { panic!("it is damaged") };
    let need = note_damage(&*disk.as_disk(), &small(), &damage).unwrap();
    let entropy = Arc::new(nodes::entropy::OsEntropy);
    let mut rebuild = Rebuild::begin(disk.as_disk(), entropy, small(), need, None).unwrap();
    let next = rebuild.next_index() as usize;
    rebuild.take(history[next..].to_vec()).unwrap();
    rebuild.finish().unwrap();
    let log = open_with(&disk.as_disk(), small()).unwrap();
    wait(|done| log.purge(at(2, 60), done)).unwrap();
    append(&log, &[stamped(2, 70)]).unwrap();
    log.save_committed(at(2, 70)).unwrap();
    drop(log);
    drop(open_with(&disk.as_disk(), small()).unwrap());
    append(&open_with(&disk.as_disk(), small()).unwrap(), &[stamped(2, 71)]).unwrap();

    retention(&disk).retire(u64::MAX).unwrap();
    assert!(disk.files().contains(&segment(2)), "the copies are of what was damaged");
    let holdings = retention(&disk).archive().unwrap();
    assert!(disk.files().contains(&archived(2).with_extension("log.replaced")));
    assert_ne!(holdings.shelved, before.shelved);
    retention(&disk).retire(u64::MAX).unwrap();
    assert!(!disk.files().contains(&segment(2)));
    let whole = whole_history(&disk);
    assert_eq!((&whole[..70], whole.len()), (&history[..], 71));
}

#[test]
fn a_copy_that_is_not_what_was_read_is_no_copy_and_gets_no_line() {
    // The archive's disk gives back another byte than it was given.
    let disk = long_log();
    let liar = Liar { honest: disk.as_disk(), file: "copy.tmp" };
    let dirs = (PathBuf::from(LOG_DIR), PathBuf::from(ARCHIVE_DIR));
    let refused = Retention::new(Arc::new(liar), dirs, (CLUSTER, NODE), keys()).archive().unwrap_err();
    assert!(refused.to_string().contains("copy.tmp is corrupt"), "{refused}");
    assert!(Manifest::read(&*disk.as_disk(), Path::new(ARCHIVE_DIR)).unwrap().unwrap().lines().is_empty());
}

#[test]
fn a_segment_whose_copy_is_gone_cut_or_altered_stays_and_one_that_is_gone_is_copied_again() {
    let whole = long_log();
    let through = last_shelved(&retention(&whole).archive().unwrap());
    let spoil: [fn(&MemDisk); 3] = [
        |disk| disk.lose(&archived(2)),
        |disk| disk.tamper(&archived(2), |bytes| bytes.truncate(bytes.len() - 1)),
        |disk| disk.tamper(&archived(2), |bytes| bytes[300] ^= 1),
    ];
    for spoil in spoil {
        let disk = whole.copy();
        spoil(&disk);
        retention(&disk).retire(through).unwrap();
        assert!(!disk.files().contains(&segment(1)) && disk.files().contains(&segment(2)));
    }
    let disk = whole.copy();
    disk.lose(&archived(2));
    retention(&disk).archive().unwrap();
    assert_eq!(disk.bytes(&archived(2)), disk.bytes(&segment(2)));
    retention(&disk).retire(through).unwrap();
    assert!(!disk.files().contains(&segment(2)));
}

#[test]
fn a_reader_refuses_an_archive_whose_file_is_not_the_one_that_its_line_names() {
    let disk = long_log();
    retention(&disk).archive().unwrap();
    let (before, _) = history_in(&disk, ARCHIVE_DIR).unwrap();
    // Sound in itself, and another one: as an older copy that somebody put back.
    let other = long_log();
    retention(&other).archive().unwrap();
    disk.tamper(&archived(2), |bytes| *bytes = other.bytes(&archived(2)));
    let refused = history_in(&disk, ARCHIVE_DIR).unwrap_err().to_string();
    assert!(
        refused.contains("segment-0000000000000002.log is corrupt") && refused.contains("manifest"),
        "{refused}"
    );
    assert!(!before.is_empty());
}

#[test]
fn no_flip_in_a_manifest_is_believed() {
    let disk = long_log();
    retention(&disk).archive().unwrap();
    let manifest = Path::new(ARCHIVE_DIR).join(MANIFEST_FILE);
    let whole = Manifest::read(&*disk.as_disk(), Path::new(ARCHIVE_DIR)).unwrap().unwrap().lines().to_vec();
    let length = disk.bytes(&manifest).len();
    for flipped in 0..length {
        let disk = disk.copy();
        disk.tamper(&manifest, |bytes| bytes[flipped] ^= 1);
        match Manifest::read(&*disk.as_disk(), Path::new(ARCHIVE_DIR)) {
            Err(StorageError::ManifestMalformed { .. }) => {}
            // The last line has lost its end, as if a crash had cut it short: it is written again.
            Ok(Some(read)) => assert!(flipped == length - 1 && read.lines() == &whole[..whole.len() - 1]),
            other => panic!("{flipped}: {:?}", other.map(|_| ())),
        }
    }
}

/// A disk that gives back another byte of one file than it was given.
struct Liar {
    honest: Arc<dyn Disk>,
    file: &'static str,
}

struct LyingFile(Arc<dyn DiskFile>);

impl Disk for Liar {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.honest.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.honest.list(dir)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.honest.open_read(path)?;
        Ok(if path.ends_with(self.file) { Arc::new(LyingFile(file)) } else { file })
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.honest.open_write(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.honest.create_new(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.honest.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.honest.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.honest.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.honest.lock(path)
    }
}

impl DiskFile for LyingFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read_at(offset, buffer)?;
        if let Some(byte) = 300u64.checked_sub(offset).and_then(|at| buffer[..read].get_mut(at as usize)) {
            *byte ^= 1;
        }
        Ok(read)
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
