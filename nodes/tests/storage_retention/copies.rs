//! Copies in an archive, and lines of its manifest, that are not what they should be.

use super::*;

#[test]
fn what_a_repair_wrote_anew_is_archived_in_the_place_of_what_it_replaced() {
    let disk = long_log();
    let (history, _) = history_in(&disk, LOG_DIR).unwrap();
    let before = retention(&disk).archive().unwrap();
    retention(&disk).retire(1).unwrap();
    disk.tamper(&segment(2), |bytes| bytes[10] ^= 1);
    let scrub = Scrub { disk: disk.as_disk(), dir: LOG_DIR.into(), keys: keys() };
    let damage = &scrub.run(|| true).unwrap().unwrap().damaged[0];
    let need = note_damage(&*disk.as_disk(), &small(), damage).unwrap();
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
fn what_says_which_segments_were_retired_is_written_again_once_the_archive_says_it_too() {
    let disk = long_log();
    let (history, _) = history_in(&disk, LOG_DIR).unwrap();
    retention(&disk).archive().unwrap();
    retention(&disk).retire(2).unwrap();
    let retired = Path::new(LOG_DIR).join("retired.json");
    disk.lose(&retired);

    let without_a_copy = disk.copy();
    without_a_copy.lose(&archived(2));
    let damage = retention(&without_a_copy).archive().unwrap().damage.unwrap();
    assert!(damage.contains("segment-0000000000000001.log is corrupt"), "{damage}");
    assert!(!without_a_copy.files().contains(&retired), "they may be lost");

    assert_eq!(retention(&disk).archive().unwrap().damage, None);
    assert_eq!(history_in(&disk, LOG_DIR).unwrap().1.len(), 1, "what was retired is a gap, and no damage");
    assert_eq!(whole_history(&disk), history);
    drop(open_with(&disk.as_disk(), small()).unwrap());
    retention(&disk).retire(u64::MAX).unwrap();
    assert_eq!(whole_history(&disk), history);
}

#[test]
fn whichever_read_of_a_disk_fails_peers_are_given_what_lies_before_it_or_what_another_folder_holds() {
    let whole = long_log();
    let (history, _) = history_in(&whole, LOG_DIR).unwrap();
    retention(&whole).archive().unwrap();
    let range = |disk: &MemDisk| {
        let dirs = vec![PathBuf::from(LOG_DIR), PathBuf::from(ARCHIVE_DIR)];
        Archive::new(disk.as_disk(), dirs, keys()).range(0, usize::MAX)
    };
    let counted = whole.copy();
    assert_eq!(range(&counted).unwrap(), history);
    for faults in counted.single_faults() {
        let given = range(&whole.copy_with(faults)).unwrap_or_else(|error| panic!("{faults:?}: {error}"));
        assert!(!given.is_empty() && history.starts_with(&given), "{faults:?}");
    }
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
