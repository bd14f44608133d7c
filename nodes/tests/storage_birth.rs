//! An empty log begins with a birth file, once, whenever the power goes; without one it was wiped, and is refused.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use events::ids::ClusterId;
use events::log::keys::KeyEncryptionKey;
use events::log::segment::{HEADER_BYTES, SealedHeader};
use nodes::entropy::OsEntropy;
use nodes::storage::birth::{BIRTH_FILE, Beginning, Birth};
use nodes::storage::error::{CorruptionKind, StorageError};
use nodes::storage::log::{DurableLog, LogOptions};
use std::path::{Path, PathBuf};
use storage_support::mem_disk::{Faults, Left, MemDisk};
use storage_support::peer::{committed, repair};
use storage_support::{
    CLUSTER, LOG_DIR, NODE, all, append, at, entry, open_with, options, segment, vote, wait,
};

const DATA: &str = "/data";

fn birth() -> Birth {
    Birth::fresh(CLUSTER, NODE, 1, &OsEntropy)
}

fn birth_path() -> PathBuf {
    Path::new(DATA).join(BIRTH_FILE)
}

/// A disk as `muster cluster init` leaves it for a node.
fn laid_out(birth: &Birth) -> MemDisk {
    let disk = MemDisk::default();
    birth.lay_down(&disk, Path::new(DATA)).unwrap();
    disk.after_power_cut(Left::Nothing)
}

fn born() -> LogOptions {
    LogOptions { beginning: Beginning::BirthFile(birth_path()), ..options(Path::new(LOG_DIR)) }
}

fn open(disk: &MemDisk) -> Result<DurableLog, StorageError> {
    open_with(&disk.as_disk(), born())
}

/// A node's first start, as far as the power lasts.
fn first_start(disk: &MemDisk) -> Result<(), StorageError> {
    let log = open(disk)?;
    wait(|done| log.save_vote(vote(3, 1), done))?;
    append(&log, &[entry(3, 0)])
}

const LEFTS: [Left; 6] =
    [Left::Nothing, Left::Everything, Left::Some(1), Left::Some(2), Left::Some(3), Left::Some(4)];

#[test]
fn an_empty_log_without_a_birth_file_is_refused_by_name_with_what_to_do() {
    let disk = MemDisk::default();
    let refused = open(&disk).err().unwrap().to_string();
    for expected in ["/data/birth.json", "node 1", "gone for good", "muster cluster init"] {
        assert!(refused.contains(expected), "{expected} in: {refused}");
    }
    assert!(disk.files().is_empty(), "and nothing was begun");
}

#[test]
fn a_birth_file_begins_one_log_and_a_wiped_one_is_refused() {
    let disk = laid_out(&birth());
    first_start(&disk).unwrap();
    assert!(!disk.files().contains(&birth_path()), "the log carries it now");
    assert_eq!(all(&open(&disk).unwrap()), [entry(3, 0)], "a restart needs none");
    for path in disk.files() {
        disk.lose(&path);
    }
    assert!(matches!(open(&disk).err(), Some(StorageError::NotBorn { node: 1, .. })));
}

#[test]
fn whenever_the_power_goes_in_the_first_starts_the_node_begins_in_the_end_and_keeps_what_it_acknowledged() {
    let whole = laid_out(&birth());
    first_start(&whole).unwrap();
    let operations = whole.operations();
    assert!(operations > 5);
    let laid_out = laid_out(&birth());
    for first in 0..=operations {
        for left in LEFTS {
            let disk = laid_out.copy_with(Faults { power_fails_at: Some(first), ..Faults::default() });
            let acknowledged = first_start(&disk).is_ok();
            let after_first = disk.after_power_cut(left);
            for second in 0..=operations {
                let disk =
                    after_first.copy_with(Faults { power_fails_at: Some(second), ..Faults::default() });
                drop(open(&disk));
                let disk = disk.after_power_cut(left);
                let log = open(&disk).unwrap_or_else(|error| panic!("{first}, {second}, {left:?}: {error}"));
                assert!(!acknowledged || all(&log) == [entry(3, 0)], "{first}, {second}, {left:?}");
                assert!(!disk.files().contains(&birth_path()), "{first}, {second}, {left:?}");
            }
        }
    }
}

#[test]
fn whichever_operation_fails_alone_in_the_first_start_the_next_one_begins_and_keeps_what_was_acknowledged() {
    let laid_out = laid_out(&birth());
    let counted = laid_out.copy();
    first_start(&counted).unwrap();
    for faults in counted.single_faults() {
        let disk = laid_out.copy_with(faults);
        let acknowledged = first_start(&disk).is_ok();
        for disk in LEFTS.into_iter().map(|left| disk.after_power_cut(left)).chain([disk.copy()]) {
            let log = open(&disk).unwrap_or_else(|error| panic!("{faults:?}: {error}"));
            assert!(!acknowledged || all(&log) == [entry(3, 0)], "{faults:?}");
            assert!(!disk.files().contains(&birth_path()), "{faults:?}");
        }
    }
}

#[test]
fn starts_without_a_record_never_lose_the_birth() {
    let disk = laid_out(&birth());
    for _ in 0..3 {
        open(&disk).unwrap().close().unwrap();
    }
    let segments = disk.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "log"));
    assert_eq!(segments.count(), 2, "the first one carries the birth, the last one is this open's");
}

#[test]
fn a_birth_that_is_laid_down_while_the_power_goes_is_whole_or_not_there() {
    let (birth, whole) = (birth(), MemDisk::default());
    birth.lay_down(&whole, Path::new(DATA)).unwrap();
    for power_fails_at in 0..=whole.operations() {
        let disk = MemDisk::with(Faults { power_fails_at: Some(power_fails_at), ..Faults::default() });
        let laid = birth.lay_down(&disk, Path::new(DATA)).is_ok();
        for left in LEFTS {
            let disk = disk.after_power_cut(left);
            match open(&disk) {
                Ok(_) => {}
                Err(StorageError::NotBorn { .. }) => assert!(!laid, "it was durable: {left:?}"),
                Err(other) => panic!("{power_fails_at}, {left:?}: {other}"),
            }
        }
    }
}

#[test]
fn a_birth_of_another_cluster_node_or_life_is_refused_by_name() {
    let mine = birth();
    let other = ClusterId::from_bytes([9; 16]);
    let refused = |birth: &Birth| open(&laid_out(birth)).err();
    assert!(matches!(
        refused(&Birth { cluster: other, ..mine.clone() }),
        Some(StorageError::OtherCluster { .. })
    ));
    assert!(matches!(refused(&Birth { node: 2, ..mine.clone() }), Some(StorageError::OtherNode { .. })));

    let disk = laid_out(&mine);
    first_start(&disk).unwrap();
    birth().lay_down(&disk, Path::new(DATA)).unwrap();
    assert!(matches!(open(&disk).err(), Some(StorageError::BornTwice { .. })));

    let disk = MemDisk::default();
    disk.put(&birth_path(), b"{ \"cluster\": 1 }".to_vec());
    let error = open(&disk).err().unwrap().to_string();
    assert!(error.contains("birth.json") && error.contains("malformed"), "{error}");
}

#[test]
fn a_second_birth_is_never_laid_over_the_first() {
    let disk = laid_out(&birth());
    let before = disk.bytes(&birth_path());
    birth().lay_down(&disk, Path::new(DATA)).unwrap_err();
    assert_eq!(disk.bytes(&birth_path()), before);
}

#[test]
fn a_segment_of_another_life_of_the_same_node_is_corruption() {
    let (one, two) = (laid_out(&birth()), laid_out(&birth()));
    for disk in [&one, &two] {
        first_start(disk).unwrap();
        open(disk).unwrap().close().unwrap();
        append(&open(disk).unwrap(), &[entry(3, 1)]).unwrap();
    }
    let last =
        one.files().into_iter().rfind(|path| path.extension().is_some_and(|end| end == "log")).unwrap();
    assert_ne!(last, segment(1));
    one.put(&last, two.bytes(&last));
    let error = open(&one).err().unwrap().to_string();
    assert!(error.contains("another life"), "{error}");
}

/// A node that runs since its birth and was never started again: one segment, and all that was ever acknowledged in it.
fn young(birth: &Birth) -> MemDisk {
    let disk = laid_out(birth);
    let log = open(&disk).unwrap();
    wait(|done| log.save_vote(vote(3, 1), done)).unwrap();
    for index in 0..6 {
        append(&log, &[entry(3, index)]).unwrap();
        log.save_committed(at(3, index)).unwrap();
    }
    drop(log);
    disk
}

fn mark_of(disk: &MemDisk) -> u64 {
    SealedHeader::parse(&disk.bytes(&segment(1))).unwrap().claims().birth
}

#[test]
fn a_flip_in_the_only_header_there_is_ends_no_life_the_note_beside_it_has_the_mark_too() {
    let birth = birth();
    let whole = young(&birth);
    let peer = committed(&whole);
    assert_eq!((mark_of(&whole), peer.len()), (birth.mark(), 6));
    for flipped in 0..HEADER_BYTES {
        let disk = whole.copy();
        disk.tamper(&segment(1), |bytes| bytes[flipped] ^= 1);
        assert!(matches!(open(&disk), Err(StorageError::Corrupt(_))), "{flipped}");
        repair(&disk, &peer, Some(3));
        let log = open(&disk).unwrap_or_else(|error| panic!("{flipped}: {error}"));
        assert_eq!(all(&log), peer, "{flipped}");
        assert!(log.standing().vote.unwrap().term > 3, "{flipped}: for whom its vote was is sealed");
        assert_eq!(mark_of(&disk), birth.mark(), "{flipped}");
    }
}

#[test]
fn a_note_of_an_older_version_has_no_mark_and_is_read_as_before() {
    let birth = birth();
    let disk = young(&birth);
    let text = b"{\n  \"segment\": 1,\n  \"generation\": 1\n}";
    let key = KeyEncryptionKey::new(1, [42; 32]);
    let tag = key.authenticate(&[b"newest.json", CLUSTER.as_bytes(), &NODE.to_le_bytes(), text]);
    let tag: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    let proof =
        format!("{{\"sealed\":{{\"cluster\":\"{CLUSTER}\",\"node\":{NODE},\"key\":1,\"tag\":\"{tag}\"}}}}\n");
    disk.put(&note_path(), [&text[..], b"\n", proof.as_bytes()].concat());
    let gone = disk.copy();
    gone.lose(&segment(1));
    assert!(matches!(open(&gone), Err(StorageError::Corrupt(_))), "it is believed");
    assert_eq!(all(&open(&disk).unwrap()).len(), 6);
    let note = String::from_utf8(disk.bytes(&note_path())).unwrap();
    assert!(note.contains(&format!("\"birth\": {}", birth.mark())), "{note}");
}

#[test]
fn the_only_segment_of_another_life_is_not_taken_for_that_of_this_one() {
    let birth = birth();
    let (mine, other) = (young(&birth), young(&self::birth()));
    let peer = committed(&mine);
    mine.put(&segment(1), other.bytes(&segment(1)));
    let Err(StorageError::Corrupt(damage)) = open(&mine) else { panic!("another life was believed") };
    assert_eq!((damage.path, damage.what), (segment(1), CorruptionKind::OtherBirth));
    repair(&mine, &peer, Some(3));
    let log = open(&mine).unwrap();
    assert_eq!(all(&log), peer);
    assert!(log.standing().vote.unwrap().term > 3, "what this life voted is not known");
}

fn note_path() -> PathBuf {
    Path::new(LOG_DIR).join("newest.json")
}
