//! openraft's own suite for log stores, against the real log on the real disk.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use events::log::segment::HEADER_BYTES;
use futures::{FutureExt, Stream, StreamExt};
use nodes::entropy::OsEntropy;
use nodes::raft::log_store::LogStore;
use nodes::raft::types::{
    EncodedOutcomes, Entry, EntryPayload, LogId, SnapshotMeta, StoredMembership, TypeConfig,
};
use nodes::storage::disk::OsDisk;
use nodes::storage::error::Poisoned;
use nodes::storage::log::{DurableLog, LogOptions};
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::SnapshotOf;
use openraft::{OptionalSend, RaftLogReader, RaftSnapshotBuilder, StorageError};
use std::io;
use std::sync::Arc;
use tempfile::TempDir;

/// A machine that only remembers where it is.
#[derive(Clone, Default)]
struct Bystander {
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<SnapshotMeta>,
}

impl Bystander {
    fn apply_one(&mut self, entry: Entry) {
        self.applied = Some(entry.log_id);
        if let EntryPayload::Membership(membership) = entry.payload {
            self.membership = StoredMembership::new(Some(entry.log_id), membership);
        }
    }
}

/// Hands the built snapshot back to its machine, which a clone could not.
struct BystanderMachine(Arc<parking_lot::Mutex<Bystander>>);

impl RaftSnapshotBuilder<TypeConfig> for BystanderMachine {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, Vec<u8>>> {
        let mut machine = self.0.lock();
        let meta = SnapshotMeta { last_log_id: machine.applied, last_membership: machine.membership.clone() };
        machine.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: Vec::new() })
    }
}

impl RaftStateMachine<TypeConfig> for BystanderMachine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = BystanderMachine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let machine = self.0.lock();
        Ok((machine.applied, machine.membership.clone()))
    }

    async fn apply<Entries>(&mut self, mut entries: Entries) -> io::Result<()>
    where
        Entries: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            self.0.lock().apply_one(entry);
            if let Some(responder) = responder {
                responder.send(EncodedOutcomes::default());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> BystanderMachine {
        BystanderMachine(Arc::clone(&self.0))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, _: Vec<u8>) -> io::Result<()> {
        let mut machine = self.0.lock();
        machine.applied = meta.last_log_id;
        machine.membership = meta.last_membership.clone();
        machine.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<TypeConfig, Vec<u8>>>> {
        Ok(self.0.lock().snapshot.clone().map(|meta| Snapshot { meta, snapshot: Vec::new() }))
    }
}

/// Builds each store in a directory of its own. With a tiny cache and tiny segments every read goes to the disk, over
/// many files.
struct Builder {
    tiny: bool,
}

impl StoreBuilder<TypeConfig, LogStore, BystanderMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, BystanderMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let mut options = storage_support::options(&dir.path().join("log"));
        if self.tiny {
            options.segment_bytes_target = 300;
            options.cache_bytes_max = 0;
        }
        let log = DurableLog::open(Arc::new(OsDisk), Arc::new(OsEntropy), options).unwrap();
        let machine = BystanderMachine(Arc::new(parking_lot::Mutex::new(Bystander::default())));
        Ok((dir, LogStore::new(Arc::new(log)), machine))
    }
}

#[tokio::test]
async fn the_log_store_passes_openrafts_suite() {
    Suite::test_all(Builder { tiny: false }).await.unwrap();
}

#[tokio::test]
async fn the_log_store_passes_openrafts_suite_when_every_read_goes_to_the_disk() {
    Suite::test_all(Builder { tiny: true }).await.unwrap();
}

#[tokio::test]
async fn a_read_that_would_begin_after_a_purged_entry_fails_instead_of_leaving_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let options = storage_support::options(&dir.path().join("log"));
    let log = Arc::new(DurableLog::open(Arc::new(OsDisk), Arc::new(OsEntropy), options).unwrap());
    for index in 0..6 {
        let body = events::log::record::EntryBody::Blank;
        let entry = nodes::storage::view::LogEntry { at: storage_support::at(1, index), body };
        storage_support::append(&log, &[entry]).unwrap();
    }
    storage_support::wait(|done| log.purge(storage_support::at(1, 2), done)).unwrap();
    let mut store = LogStore::new(log);
    let read = store.limited_get_log_entries(3, 6).await.unwrap();
    assert_eq!(read.len(), 3);
    for start in [0, 2] {
        assert!(store.limited_get_log_entries(start, 6).await.is_err(), "from {start}");
        assert!(store.limited_get_log_entries(start, 3).await.is_err(), "only purged ones, from {start}");
        let stream = store.entries_stream(start..6).await;
        let read: Vec<_> = stream.collect().await;
        assert!(read.iter().any(Result::is_err), "streamed from {start}: {read:?}");
    }
}

#[tokio::test]
async fn a_damaged_entry_that_raft_reads_ends_the_log_as_one_that_the_next_start_repairs() {
    let dir = tempfile::tempdir().unwrap();
    let options = storage_support::options(&dir.path().join("log"));
    let options = LogOptions { cache_bytes_max: 0, ..options };
    let log = Arc::new(DurableLog::open(Arc::new(OsDisk), Arc::new(OsEntropy), options).unwrap());
    storage_support::append_range(&log, 1, 0..6);
    let segment = dir.path().join("log/segment-0000000000000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[HEADER_BYTES + 60] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let mut store = LogStore::new(log.clone());
    assert!(store.limited_get_log_entries(0, 6).await.is_err());
    let ended = log.poison().failed().now_or_never();
    assert!(matches!(ended, Some(Poisoned::Condemned(_))), "{ended:?}");
}
