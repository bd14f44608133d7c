//! A snapshot is built on a disk that fills up at any byte, or of which any operation fails alone.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use events::log::record::EntryBody;
use futures::FutureExt;
use nodes::entropy::OsEntropy;
use nodes::raft::machine::Machine;
use nodes::raft::refused_snapshot::RefusedSnapshots;
use nodes::raft::snapshot::FileShelf;
use nodes::shared_projector::SharedProjector;
use nodes::storage::log::DurableLog;
use nodes::storage::snapshot_file::{SnapshotFiles, SnapshotOptions};
use nodes::storage::view::LogEntry;
use nodes::telemetry::measures::Measures;
use openraft::RaftSnapshotBuilder;
use openraft::storage::RaftStateMachine;
use projector::Projector;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage_support::mem_disk::{Faults, MemDisk};
use storage_support::{CLUSTER, LOG_DIR, NODE, at, keys, options};

const DIR: &str = "/data/snapshots";

/// What became of a snapshot.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Made,
    Skipped,
    /// The log ended with it, so the process ends for the disk.
    DiskFailed,
    /// Raft would end, and nobody would know that it was the disk.
    RaftFailed,
}

/// A node's machine on this disk, whose log is purged so far; nothing if its log cannot be opened.
fn machine(disk: &MemDisk, floor: u64) -> Option<(Machine, Arc<DurableLog>, Arc<Measures>)> {
    let log = DurableLog::open(disk.as_disk(), Arc::new(OsEntropy), options(Path::new(LOG_DIR))).ok()?;
    let (log, measures) = (Arc::new(log), Arc::new(Measures::default()));
    let options =
        SnapshotOptions { dir: DIR.into(), cluster: CLUSTER, node: NODE, keys: keys(), reserve_bytes: 0 };
    let files = SnapshotFiles::open(disk.as_disk(), Arc::new(OsEntropy), options).ok()?;
    let refused = RefusedSnapshots::new(log.clone(), measures.clone());
    let projector = SharedProjector::new(Projector::new());
    let shelf = Arc::new(FileShelf(files));
    let machine = Machine::open(projector, shelf, Arc::new(move || floor), refused).ok()?;
    Some((machine, log, measures))
}

/// It builds a snapshot.
async fn build(disk: &MemDisk) -> Option<End> {
    let (mut machine, log, measures) = machine(disk, 0)?;
    let built = machine.get_snapshot_builder().await.build_snapshot().await;
    let is_poisoned = log.poison().failed().now_or_never().is_some();
    Some(match built {
        Ok(_) if measures.snapshots_skipped.get() > 0 => End::Skipped,
        Ok(_) => End::Made,
        Err(_) if is_poisoned => End::DiskFailed,
        Err(_) => End::RaftFailed,
    })
}

fn used(disk: &MemDisk) -> usize {
    disk.files().iter().map(|path| disk.bytes(path).len()).sum()
}

fn snapshot() -> PathBuf {
    PathBuf::from(DIR).join("snapshot-00000000000000000000.snap")
}

/// A disk with a log that was opened once.
fn begun() -> MemDisk {
    let disk = MemDisk::default();
    DurableLog::open(disk.as_disk(), Arc::new(OsEntropy), options(Path::new(LOG_DIR))).unwrap();
    disk
}

#[tokio::test]
async fn wherever_the_disk_is_full_the_snapshot_is_skipped_and_its_room_given_back_and_a_later_one_is_made() {
    let begun = begun();
    let mut skipped = 0;
    for capacity in (used(&begun)..).step_by(7) {
        let full = begun.copy_with(Faults { capacity: Some(capacity), ..Faults::default() });
        match build(&full).await {
            // So little is left that the log itself is not opened.
            None => continue,
            Some(End::Skipped) => skipped += 1,
            Some(End::Made) => break,
            Some(other) => panic!("{other:?} with {capacity} bytes"),
        }
        assert!(full.files().iter().all(|file| !file.starts_with(DIR)), "{capacity}: {:?}", full.files());
        assert_eq!(build(&full.copy()).await, Some(End::Made), "once there is room");
    }
    assert!(skipped > 20, "{skipped}");
}

#[tokio::test]
async fn whichever_operation_fails_alone_while_a_snapshot_is_built_raft_never_ends_for_a_reason_that_names_no_disk()
 {
    let begun = begun();
    let counted = begun.copy();
    assert_eq!(build(&counted).await, Some(End::Made));
    let (mut made, mut failed) = (0, 0);
    for faults in counted.single_faults() {
        let disk = begun.copy_with(faults);
        match build(&disk).await {
            None => {}
            Some(End::Made) => {
                made += 1;
                assert!(disk.files().contains(&snapshot()), "{faults:?}");
            }
            Some(End::DiskFailed) => failed += 1,
            Some(other) => panic!("{other:?}: {faults:?}"),
        }
    }
    assert!(failed >= 5, "{failed} of the faults hit the snapshot, and {made} did no harm");
}

#[tokio::test]
async fn a_member_that_waits_for_a_snapshot_is_sent_one_that_there_is_no_room_to_keep() {
    let (begun, mut shown) = (begun(), 0);
    for capacity in (used(&begun)..).step_by(50) {
        let full = begun.copy_with(Faults { capacity: Some(capacity), ..Faults::default() });
        let Some((mut machine, log, measures)) = machine(&full, 1) else { continue };
        let entry = |index| LogEntry { at: at(1, index), body: EntryBody::Blank };
        machine.take_history(vec![entry(0), entry(1)]).unwrap();
        let sent = machine.get_current_snapshot().await.unwrap().unwrap();
        assert_eq!(sent.meta.last_log_id.map(|at| at.index), Some(1));
        assert!(sent.snapshot.total() > 0 && log.poison().failed().now_or_never().is_none());
        if measures.snapshots_skipped.get() == 0 {
            break;
        }
        shown += 1;
    }
    assert!(shown > 2, "{shown}");
}
