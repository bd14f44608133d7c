//! Writes a log as a node does, through the real writer, and folds it beside, as the live node does.

use events::batch::{Batch, BatchId, EncodedEvent, HeartbeatRow, stamped};
use events::ids::{ClusterId, LogIndex};
use events::keyring::Keyring;
use events::log::checkpoint::Checkpoint;
use events::log::leaf::entry_leaf_hash;
use events::log::recent::RecentTree;
use events::log::record::{EntryBody, LogPosition};
use events::time::Timestamp;
use events::vocabulary::{CheckpointSigned, Event};
use nodes::entropy::{EntropyRng, OsEntropy};
use nodes::storage::backfill::BackfillPlace;
use nodes::storage::birth::Beginning;
use nodes::storage::disk::OsDisk;
use nodes::storage::gaps::{Gap, GapBook};
use nodes::storage::log::{DurableLog, LogOptions};
use nodes::storage::log_reader::{History, LogReader};
use nodes::storage::view::LogEntry;
use projector::{Applied, Outcome, Projector};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

/// 2025-10-09T08:53:20Z
pub(crate) const BEGIN: u64 = 1_760_000_000_000;

pub(crate) struct Author {
    pub(crate) dir: PathBuf,
    pub(crate) keyring: Keyring,
    pub(crate) fold: Projector,
    /// The Merkle tree of what was committed, as a live node keeps it.
    pub(crate) tree: RecentTree,
    /// The state's digest after each entry, as a live node knows it.
    pub(crate) digests: BTreeMap<LogIndex, String>,
    pub(crate) now: u64,
    node: u64,
    term: u64,
    next: LogIndex,
    counter: u64,
    log: Option<DurableLog>,
}

impl Author {
    /// A log with a membership and a leader's blank entry, in `dir/data`; the keyring is in `dir/keyring.json`.
    pub(crate) fn begin(dir: &Path) -> Self {
        let keyring = Keyring::generate(&mut EntropyRng(&OsEntropy), ClusterId::from_bytes([7; 16]));
        Author::begin_with(dir, keyring, 1)
    }

    pub(crate) fn begin_with(dir: &Path, keyring: Keyring, node: u64) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("keyring.json"), keyring.to_json().as_bytes()).unwrap();
        let mut author = Author {
            dir: dir.to_owned(),
            keyring,
            fold: Projector::new(),
            tree: RecentTree::default(),
            digests: BTreeMap::new(),
            now: BEGIN,
            node,
            term: 1,
            next: 0,
            counter: 0,
            log: None,
        };
        author.open();
        author.append(EntryBody::Membership(b"of one voter".to_vec().into()));
        author.fold.skip(0).unwrap();
        author.lead();
        author
    }

    /// The flags that every command about this log takes.
    pub(crate) fn flags(&self) -> [String; 4] {
        let flag = |path: PathBuf| path.to_str().unwrap().to_owned();
        ["--data".into(), flag(self.data()), "--keyring".into(), flag(self.dir.join("keyring.json"))]
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.data().join(format!("log/segment-{number:016}.log"))
    }

    fn open(&mut self) {
        let keys = self.keyring.segment_keys().unwrap();
        let (dir, cluster) = (self.data().join("log"), self.keyring.cluster);
        let options = LogOptions::new(dir, cluster, self.node, keys, Beginning::DangerUnasked);
        self.log = Some(DurableLog::open(Arc::new(OsDisk), Arc::new(OsEntropy), options).unwrap());
    }

    fn log(&self) -> &DurableLog {
        self.log.as_ref().unwrap()
    }

    /// The node stops: its log is closed in good order.
    pub(crate) fn stop(&mut self) {
        self.log.take().unwrap().close().unwrap();
    }

    /// Stops and starts again: what follows lies in a segment of its own.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.open();
    }

    /// Starts again after [`Author::stop`].
    pub(crate) fn restart_stopped(&mut self) {
        self.open();
    }

    /// A leader of the next term begins.
    pub(crate) fn lead(&mut self) {
        self.term += 1;
        let index = self.append(EntryBody::Blank);
        self.fold.skip(index).unwrap();
        self.note(index);
    }

    /// Appends entries that a later leader takes back.
    pub(crate) fn be_overruled(&mut self) {
        let keep = LogPosition { term: self.term, index: self.next - 1 };
        self.write(EntryBody::Batch(stamped(Timestamp::ZERO, b"never committed").into()));
        let (done, word) = channel();
        let tell = Box::new(move |result| done.send(result).unwrap());
        self.log().truncate_after(Some(keep), tell).unwrap();
        word.recv().unwrap().unwrap();
        self.lead();
    }

    /// Appends an entry of which nobody knows whether it was committed.
    pub(crate) fn leave_open(&mut self) {
        self.write(EntryBody::Batch(stamped(Timestamp::ZERO, b"not known committed").into()));
    }

    /// Entries up to here were purged and came in a snapshot, those before it are not in this log; what it lacks.
    pub(crate) fn take_snapshot_of(&mut self, other: &mut Author) -> Gap {
        self.stop();
        self.open();
        let at = LogPosition { term: other.term, index: other.next - 1 };
        let gap = self.log().gap_below(at).unwrap();
        let (done, word) = channel();
        self.log().purge(at, Box::new(move |result| done.send(result).unwrap())).unwrap();
        word.recv().unwrap().unwrap();
        (self.next, self.term, self.counter, self.now) = (other.next, other.term, other.counter, other.now);
        self.fold = Projector::from_snapshot(&other.fold.to_snapshot()).unwrap();
        self.tree = other.tree.clone();
        gap
    }

    /// Fills a gap with what `other` holds, as a node does.
    pub(crate) fn fill(&self, gap: Gap, other: &Author) {
        let keys = || self.keyring.segment_keys().unwrap();
        let begin = Beginning::DangerUnasked;
        let own = LogOptions::new(self.data().join("log"), self.keyring.cluster, self.node, keys(), begin);
        let (disk, dir) = (Arc::new(OsDisk), self.data().join("backfill"));
        let gaps = GapBook::open(disk.clone(), dir.clone()).unwrap();
        let backfill = BackfillPlace::new(disk, Arc::new(OsEntropy), &own, dir).open(&gaps).unwrap();
        let reader = LogReader::open(Arc::new(OsDisk), other.data().join("log"), keys()).unwrap();
        let entries = reader.filter_map(|item| match item.unwrap() {
            History::Entry(held) if held.entry.at.index >= gap.from => Some(held.entry),
            History::Entry(_) | History::Gap { .. } => None,
        });
        backfill.take(gap, entries.collect()).unwrap();
        assert_eq!(backfill.missing_from(gap), None);
    }

    fn write(&self, body: EntryBody<bytes::Bytes>) {
        let (done, word) = channel();
        let entry = LogEntry { at: LogPosition { term: self.term, index: self.next }, body };
        self.log().append(vec![entry], Box::new(move |result| done.send(result).unwrap())).unwrap();
        word.recv().unwrap().unwrap();
    }

    fn append(&mut self, body: EntryBody<bytes::Bytes>) -> LogIndex {
        self.tree.push(entry_leaf_hash(self.term, &body).unwrap());
        self.write(body);
        let index = self.next;
        self.log().save_committed(LogPosition { term: self.term, index }).unwrap();
        self.next += 1;
        index
    }

    fn note(&mut self, index: LogIndex) {
        self.digests.insert(index, self.fold.digest().to_string());
    }

    fn batch(&mut self) -> Batch {
        self.now += 1000;
        self.counter += 1;
        Batch::new(BatchId { node: self.node, boot: 1, counter: self.counter })
    }

    /// Commits a batch a second after the last one.
    pub(crate) fn commit(&mut self, events: &[Event], rows: &[HeartbeatRow]) -> Applied {
        let mut batch = self.batch();
        events.iter().for_each(|event| batch.push(event).unwrap());
        rows.iter().for_each(|row| batch.heartbeats.push(*row));
        let payload = stamped(Timestamp::from_millis(self.now), &batch.encode().unwrap());
        let index = self.append(EntryBody::Batch(payload.clone().into()));
        let applied = self.fold.apply(index, &payload).unwrap();
        self.note(index);
        applied
    }

    /// Commits an event of a version to come, with others around it; this version's fold passes over it.
    pub(crate) fn commit_unknown(&mut self, kind: u16, before: &Event, after: &Event) -> LogIndex {
        let mut batch = self.batch();
        batch.push(before).unwrap();
        batch.events.push(EncodedEvent { kind, bytes: vec![1, 2, 3] });
        batch.push(after).unwrap();
        let payload = stamped(Timestamp::from_millis(self.now), &batch.encode().unwrap());
        self.append(EntryBody::Batch(payload.into()))
    }

    #[track_caller]
    pub(crate) fn tell(&mut self, event: impl Into<Event>) -> Outcome {
        self.commit(&[event.into()], &[]).outcomes.events.remove(0)
    }

    #[track_caller]
    pub(crate) fn accept(&mut self, event: impl Into<Event>) {
        assert_eq!(self.tell(event), Outcome::Accepted);
    }

    /// The head of all that was committed.
    pub(crate) fn head(&self) -> Checkpoint {
        let (size, root) = (self.tree.size(), self.tree.frontier().root());
        Checkpoint { cluster: self.keyring.cluster, generation: Some(1), size, root }
    }

    /// The cluster signs its log; the checkpoint's size.
    pub(crate) fn checkpoint(&mut self) -> u64 {
        let head = self.head();
        let signature = head.signature(&self.keyring.checkpoint_key);
        let Checkpoint { size, root, .. } = head;
        self.accept(CheckpointSigned { generation: 1, size, root, signature });
        size
    }

    /// Raft needs nothing any more of what is committed; a segment that begins afterwards says so.
    pub(crate) fn purge(&mut self) {
        let at = LogPosition { term: self.term, index: self.next - 1 };
        let (done, word) = channel();
        self.log().purge(at, Box::new(move |result| done.send(result).unwrap())).unwrap();
        word.recv().unwrap().unwrap();
    }

    /// The last entry.
    pub(crate) fn index(&self) -> LogIndex {
        self.next - 1
    }

    pub(crate) fn digest(&self, index: LogIndex) -> &str {
        &self.digests[&index]
    }
}
