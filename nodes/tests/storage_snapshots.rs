//! Snapshots on disk: whole or not there, the last two kept, damage passed over by name.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use bytes::Bytes;
use events::ids::ClusterId;
use events::log::snapshot::PART_BYTES;
use nodes::entropy::OsEntropy;
use nodes::peers::message::SnapshotChunk;
use nodes::raft::inbound::{Inbound, InboundError, Progress};
use nodes::raft::snapshot::FileShelf;
use nodes::raft::snapshot_bytes::SnapshotBytes;
use nodes::raft::types::{SnapshotMeta, Vote};
use nodes::storage::error::StorageError;
use nodes::storage::snapshot_file::{SnapshotFiles, SnapshotOptions, StoredSnapshot};
use nodes::storage::snapshot_spill::{PIECE_BYTES, TransferName};
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use storage_support::mem_disk::{Faults, Left, MemDisk};
use storage_support::{CLUSTER, NODE, keys};

const DIR: &str = "/data/snapshots";

fn options() -> SnapshotOptions {
    SnapshotOptions { dir: PathBuf::from(DIR), cluster: CLUSTER, node: NODE, keys: keys(), reserve_bytes: 0 }
}

fn files(disk: &MemDisk) -> SnapshotFiles {
    SnapshotFiles::open(disk.as_disk(), Arc::new(OsEntropy), options()).unwrap()
}

fn path(index: u64) -> PathBuf {
    PathBuf::from(DIR).join(format!("snapshot-{index:020}.snap"))
}

fn state(index: u64, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u64 * 31 + index) as u8).collect()
}

fn newest(disk: &MemDisk) -> Option<StoredSnapshot> {
    let loaded = files(disk).load_newest().unwrap();
    assert!(loaded.damaged.is_empty(), "{:?}", loaded.damaged);
    loaded.snapshot
}

#[test]
fn a_snapshot_of_any_size_is_loaded_as_it_was_saved() {
    const PART: usize = 1024 * 1024;
    for (index, length) in [0, 1, PART - 4, PART, PART + 1, 3 * PART + 7].into_iter().enumerate() {
        let disk = MemDisk::default();
        let (index, state) = (index as u64, state(index as u64, length));
        files(&disk).save(index, b"meta", &state).unwrap();
        assert!(
            newest(&disk) == Some(StoredSnapshot { index, meta: b"meta".to_vec(), state }),
            "{length} bytes"
        );
    }
}

#[test]
fn the_newest_is_loaded_and_the_last_two_are_kept() {
    let disk = MemDisk::default();
    assert_eq!(newest(&disk), None);
    for index in [5, 100, 20, 1000] {
        files(&disk).save(index, b"", &state(index, 50)).unwrap();
    }
    assert_eq!(newest(&disk).unwrap().index, 1000);
    assert_eq!(disk.files(), [path(100), path(1000)]);
}

#[test]
fn a_damaged_newest_is_passed_over_by_name_and_the_one_before_is_loaded() {
    let disk = MemDisk::default();
    files(&disk).save(1, b"meta", &state(1, 100)).unwrap();
    files(&disk).save(2, b"meta", &state(2, 100)).unwrap();
    let length = disk.bytes(&path(2)).len();
    for flipped in 0..length {
        let disk = disk.copy();
        disk.tamper(&path(2), |bytes| bytes[flipped] ^= 16);
        let loaded = files(&disk).load_newest().unwrap();
        assert_eq!(loaded.snapshot.unwrap().index, 1, "byte {flipped}");
        assert!(loaded.damaged[0].to_string().contains("snapshot-00000000000000000002.snap"));
    }
    for length in 0..length {
        let disk = disk.copy();
        disk.tamper(&path(2), |bytes| bytes.truncate(length));
        assert_eq!(files(&disk).load_newest().unwrap().snapshot.unwrap().index, 1, "{length} bytes");
    }
}

#[test]
fn a_newest_that_cannot_be_read_is_passed_over_as_a_damaged_one_is() {
    let disk = MemDisk::default();
    files(&disk).save(1, b"meta", &state(1, 100)).unwrap();
    files(&disk).save(2, b"meta", &state(2, 3 * PART_BYTES)).unwrap();
    for from in [0, 100, PART_BYTES, 2 * PART_BYTES + 9000] {
        let disk = disk.copy();
        disk.make_unreadable(&path(2), from, from + 10);
        let loaded = files(&disk).load_newest().unwrap();
        assert_eq!(loaded.snapshot.unwrap().index, 1, "from {from}");
        let why = loaded.damaged[0].to_string();
        assert!(why.contains("snapshot-00000000000000000002.snap") && why.contains("give back"), "{why}");
    }
}

#[test]
fn whenever_the_power_goes_the_old_or_the_new_snapshot_is_there_whole() {
    let mut seen_old_and_new = [false, false];
    for power_fails_at in 0.. {
        let disk = MemDisk::default();
        files(&disk).save(1, b"meta", &state(1, 3000)).unwrap();
        let disk = disk.copy_with(Faults { power_fails_at: Some(power_fails_at), ..Faults::default() });
        let saved = SnapshotFiles::open(disk.as_disk(), Arc::new(OsEntropy), options())
            .and_then(|files| files.save(2, b"meta", &state(2, 3000)));
        for left in [Left::Nothing, Left::Everything] {
            let snapshot = newest(&disk.after_power_cut(left)).unwrap();
            assert!(saved.is_err() || snapshot.index == 2, "a saved snapshot is durable");
            assert_eq!(snapshot.state, state(snapshot.index, 3000));
            seen_old_and_new[snapshot.index as usize - 1] = true;
        }
        if saved.is_ok() {
            break;
        }
    }
    assert_eq!(seen_old_and_new, [true, true]);
}

#[test]
fn what_a_crash_left_half_written_is_removed() {
    let disk = MemDisk::default();
    let half = PathBuf::from(DIR).join("snapshot-00000000000000000009.tmp");
    disk.put(&half, b"half".to_vec());
    assert_eq!(newest(&disk), None);
    assert!(disk.files().is_empty());
}

#[test]
fn a_full_disk_fails_the_save_and_keeps_the_old_snapshot() {
    let disk = MemDisk::default();
    files(&disk).save(1, b"meta", &state(1, 100)).unwrap();
    let full = disk.copy_with(Faults { capacity: Some(1000), ..Faults::default() });
    let error = files(&full).save(2, b"meta", &state(2, 5000)).unwrap_err();
    assert!(error.to_string().contains("snapshot-00000000000000000002.tmp"), "{error}");
    assert_eq!(full.files(), [path(1)], "the half-written one gave its room back at once");
    assert_eq!(newest(&full).unwrap().index, 1);
}

#[test]
fn another_clusters_or_nodes_snapshot_is_refused_and_never_passed_over() {
    let disk = MemDisk::default();
    files(&disk).save(1, b"meta", b"state").unwrap();
    let load = |options| {
        let files = SnapshotFiles::open(disk.as_disk(), Arc::new(OsEntropy), options).unwrap();
        files.load_newest().unwrap_err()
    };
    let other = ClusterId::from_bytes([9; 16]);
    assert!(matches!(
        load(SnapshotOptions { cluster: other, ..options() }),
        StorageError::OtherCluster { .. }
    ));
    assert!(matches!(load(SnapshotOptions { node: 2, ..options() }), StorageError::OtherNode { .. }));
}

#[test]
fn no_plain_text_of_a_state_reaches_the_disk() {
    let disk = MemDisk::default();
    files(&disk).save(1, b"meta", b"secret state").unwrap();
    assert!(!disk.bytes(&path(1)).windows(6).any(|window| window == b"secret"));
}

/// A disk on which so much is left besides what lies on it, and a log that is to keep 1,000 bytes of it.
fn with_room(disk: &MemDisk, room: usize) -> (MemDisk, SnapshotFiles) {
    let used: usize = disk.files().iter().map(|path| disk.bytes(path).len()).sum();
    let disk = disk.copy_with(Faults { capacity: Some(used + room), ..Faults::default() });
    let files = SnapshotFiles::open(disk.as_disk(), Arc::new(OsEntropy), keeping_room());
    (disk, files.unwrap())
}

fn keeping_room() -> SnapshotOptions {
    SnapshotOptions { reserve_bytes: 1_000, ..options() }
}

#[test]
fn a_snapshot_neither_comes_in_nor_is_made_where_the_log_would_lose_its_room() {
    let disk = MemDisk::default();
    files(&disk).save(1, b"meta", &state(1, 4_000)).unwrap();
    let name = TransferName { id: 1, index: 2, total: 5_000 };
    let (_, files) = with_room(&disk, 10_999);
    let refused = files.spill(name).err().unwrap().to_string();
    assert!(refused.contains("10999 bytes left") && refused.contains("11000 are needed"), "{refused}");
    let (_, files) = with_room(&disk, 11_000);
    assert!(files.spill(name).is_ok(), "it comes in, and is written once more where it is kept");

    let (_, files) = with_room(&disk, 5_000);
    assert!(matches!(files.check_room_for_another(), Err(StorageError::NoRoom { .. })));
    let (_, files) = with_room(&disk, 7_000);
    files.check_room_for_another().unwrap();
}

#[test]
fn what_came_in_gives_its_room_back_before_a_log_opens_on_a_full_disk() {
    let disk = MemDisk::default();
    let mut spill = files(&disk).spill(TransferName { id: 1, index: 2, total: 50 }).unwrap();
    spill.add(&[7; 50]).unwrap();
    let lying = disk.files();
    let (disk, _) = with_room(&disk, 1_000);
    SnapshotFiles::make_room(&*disk.as_disk(), &keeping_room()).unwrap();
    assert_eq!(disk.files(), lying, "there is room enough");
    let (disk, _) = with_room(&disk, 999);
    SnapshotFiles::make_room(&*disk.as_disk(), &keeping_room()).unwrap();
    assert!(disk.files().is_empty());
}

#[test]
fn nobody_is_offered_a_damaged_snapshot_and_it_goes_once_there_is_a_newer_one() {
    let whole = MemDisk::default();
    files(&whole).save(1, b"meta", &state(1, 100)).unwrap();
    files(&whole).save(2, b"meta", &state(2, 3 * PART_BYTES)).unwrap();
    for part in 0..3 {
        let disk = whole.copy();
        disk.tamper(&path(2), |bytes| bytes[500 + part * PART_BYTES] ^= 1);
        let files = files(&disk);
        // Nobody read it before it is sent. What a transfer finds the next one is not offered again.
        let (sent, _) = files.open_newest().unwrap().unwrap();
        let in_order =
            (0..3).try_for_each(|number| sent.piece(number * PART_BYTES as u64, PART_BYTES).map(drop));
        assert_eq!((sent.index(), in_order.is_err()), if part == 0 { (1, false) } else { (2, true) });
        assert_eq!(files.open_newest().unwrap().unwrap().0.index(), 1);
        let aside = path(2).with_extension("snap.damaged");
        assert_eq!(disk.files(), [path(1), aside]);
        // Another one of the same state is not taken for it by who still reads the old file.
        files.save(2, b"meta", &state(2, 100)).unwrap();
        assert_eq!(sent.piece(0, 3 * PART_BYTES).is_err(), part > 0);
        assert_eq!(disk.files(), [path(1), path(2)]);
        files.save(3, b"meta", &state(3, 100)).unwrap();
        assert_eq!(disk.files(), [path(2), path(3)]);
    }
}

#[test]
fn a_check_of_all_snapshots_sets_the_damaged_ones_aside_and_stops_when_it_is_told_to() {
    let disk = MemDisk::default();
    files(&disk).save(1, b"meta", &state(1, 100)).unwrap();
    files(&disk).save(2, b"meta", &state(2, 3 * PART_BYTES)).unwrap();
    disk.tamper(&path(2), |bytes| *bytes.last_mut().unwrap() ^= 1);
    let files = files(&disk);
    assert_eq!(files.check_all(|| false).unwrap(), 0);
    assert_eq!(files.check_all(|| true).unwrap(), 1);
    assert_eq!(disk.files(), [path(1), path(2).with_extension("snap.damaged")]);
    assert_eq!(files.check_all(|| true).unwrap(), 0);
}

#[test]
fn a_state_that_lies_somewhere_else_is_asked_for_a_part_at_a_time_and_saved_as_if_it_were_at_hand() {
    let disk = MemDisk::default();
    let whole = state(3, 3 * PART_BYTES + 7);
    let asked = Cell::new(0);
    let piece = |offset: u64, length: usize| {
        asked.set(asked.get().max(length));
        Ok(Bytes::copy_from_slice(&whole[offset as usize..offset as usize + length]))
    };
    files(&disk).save_from(3, b"meta", whole.len() as u64, &piece).unwrap();
    assert_eq!(asked.get(), PART_BYTES);
    assert!(newest(&disk) == Some(StoredSnapshot { index: 3, meta: b"meta".to_vec(), state: whole.clone() }));

    let short = |_, length: usize| Ok(Bytes::from(vec![0; length - 1]));
    assert!(
        files(&disk).save_from(4, b"meta", 100, &short).is_err(),
        "a state that is shorter than it was told"
    );
    assert_eq!(newest(&disk).unwrap().index, 3);
}

/// Sends all of a snapshot, two pieces, and gives what became of it.
async fn send(inbound: &Inbound, before_the_last: impl FnOnce()) -> Result<Progress, InboundError> {
    let pieces = [state(1, PIECE_BYTES), state(2, 500)];
    let total = (PIECE_BYTES + 500) as u64;
    let chunk = |offset: u64, data: &Vec<u8>| SnapshotChunk {
        transfer: 1,
        vote: Vote::new_committed(1, 2),
        meta: SnapshotMeta::default(),
        offset,
        total,
        data: Bytes::copy_from_slice(data),
    };
    inbound.add(2, chunk(0, &pieces[0])).await?;
    before_the_last();
    inbound.add(2, chunk(PIECE_BYTES as u64, &pieces[1])).await
}

#[tokio::test]
async fn a_snapshot_that_came_in_is_handed_on_as_the_file_it_lies_in_and_what_was_damaged_meanwhile_is_not() {
    let disk = MemDisk::default();
    let inbound = Inbound::new(Arc::new(FileShelf(files(&disk))));
    let Progress::Whole(data) = send(&inbound, || {}).await.unwrap() else { panic!("it is whole") };
    assert!(matches!(data, SnapshotBytes::OnDisk(_)), "not in memory");
    assert!(data.whole().unwrap() == [state(1, PIECE_BYTES), state(2, 500)].concat());

    let disk = MemDisk::default();
    let inbound = Inbound::new(Arc::new(FileShelf(files(&disk))));
    let damage = || disk.tamper(&disk.files()[0], |bytes| bytes[PIECE_BYTES / 2] ^= 1);
    let refused = send(&inbound, damage).await;
    assert!(matches!(refused, Err(InboundError::Disk(_))), "{refused:?}");
    assert!(disk.files().is_empty(), "it comes again from the beginning");
}
