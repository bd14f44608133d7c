//! Writes entries as a leader's node does: through the real log, synced, each followed by the word that it is committed.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use events::batch::{Batch, BatchId, stamped};
use events::ids::LogIndex;
use events::keyring::Keyring;
use events::log::record::{EntryBody, LogPosition, VoteRecord};
use events::time::Timestamp;
use events::vocabulary::Event;
use nodes::entropy::OsEntropy;
use nodes::node::core::LOG_FOLDER;
use nodes::raft::log_store::encode_membership;
use nodes::raft::types::{Membership, PeerNode};
use nodes::storage::birth::{BIRTH_FILE, Beginning, Birth};
use nodes::storage::disk::OsDisk;
use nodes::storage::error::Poisoned;
use nodes::storage::log::{DurableLog, LogOptions};
use nodes::storage::view::LogEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The node whose log it is; it leads all the time.
const NODE: u64 = 1;
/// Nodes that take messages in; each numbers its own batches.
const NODES: u64 = 3;
/// Bytes on their way to the disk: the writer's queue is not bounded by itself.
const UNDER_WAY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A node makes a snapshot about so often, and raft forgets what it holds,
const ENTRIES_PER_SNAPSHOT: u64 = 50_000;
/// but for so many entries, for those that lag.
const ENTRIES_KEPT: u64 = 10_000;

pub(super) struct Author {
    log: DurableLog,
    term: u64,
    next: LogIndex,
    /// What raft forgets with the next snapshot.
    forgotten: LogPosition,
    now: u64,
    batches: u64,
    events: u64,
    done: Sender<(usize, Result<(), Poisoned>)>,
    durable: Receiver<(usize, Result<(), Poisoned>)>,
    under_way_bytes: usize,
}

/// What an author wrote.
pub(super) struct Pages {
    pub(super) last: LogIndex,
    pub(super) until: Timestamp,
    pub(super) events: u64,
}

/// The membership of a cluster of one node, as its first entry holds it: a node can be started on a made log.
fn alone() -> Result<Bytes> {
    let node = PeerNode {
        peers_address: String::from("nobody:1"),
        name: String::from("node-1"),
        region: String::from("home"),
    };
    let membership = Membership::new(vec![BTreeSet::from([NODE])], BTreeMap::from([(NODE, node)]))?;
    Ok(encode_membership(&membership)?)
}

impl Author {
    /// Begins the log of a new node in `data`, with a first leader.
    pub(super) fn begin(data: &Path, keyring: &Keyring, now: u64) -> Result<Self> {
        let cluster = keyring.cluster;
        Birth::fresh(cluster, NODE, 1, &OsEntropy).lay_down(&OsDisk, data)?;
        let keys = keyring.segment_keys().context("the keyring's keys for segments")?;
        let birth = Beginning::BirthFile(data.join(BIRTH_FILE));
        let options = LogOptions::new(data.join(LOG_FOLDER), cluster, NODE, keys, birth);
        let log = DurableLog::open(Arc::new(OsDisk), Arc::new(OsEntropy), options)?;
        let (done, durable) = channel();
        let (term, next, batches, events, under_way_bytes) = (0, 0, 0, 0, 0);
        let forgotten = LogPosition { term, index: next };
        let mut author =
            Author { log, term, next, forgotten, now, batches, events, done, durable, under_way_bytes };
        author.append(EntryBody::Membership(alone()?))?;
        author.lead()?;
        Ok(author)
    }

    /// A leader of the next term begins.
    pub(super) fn lead(&mut self) -> Result<()> {
        self.term += 1;
        let vote = VoteRecord { term: self.term, node: NODE, committed: true };
        self.log.save_vote(vote, Box::new(|_| ()))?;
        self.append(EntryBody::Blank)
    }

    /// The index of the entry that comes next.
    pub(super) fn next_index(&self) -> LogIndex {
        self.next
    }

    /// Log time.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    /// It is never earlier than it was.
    pub(super) fn be_at(&mut self, millis: u64) {
        self.now = self.now.max(millis);
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.now += millis;
    }

    /// A batch of the node whose turn it is.
    pub(super) fn batch(&mut self) -> Batch {
        let (node, counter) = (1 + self.batches % NODES, 1 + self.batches / NODES);
        self.batches += 1;
        Batch::new(BatchId { node, boot: node, counter })
    }

    /// Commits `events` as one entry.
    pub(super) fn tell(&mut self, events: impl IntoIterator<Item = Event>) -> Result<()> {
        let mut batch = self.batch();
        events.into_iter().try_for_each(|event| batch.push(&event))?;
        self.commit(&batch)
    }

    pub(super) fn commit(&mut self, batch: &Batch) -> Result<()> {
        self.events += batch.events.len() as u64;
        self.append(EntryBody::Batch(stamped(self.now(), &batch.encode()?).into()))
    }

    fn append(&mut self, body: EntryBody<Bytes>) -> Result<()> {
        let at = LogPosition { term: self.term, index: self.next };
        let (bytes, done) = (body.bytes().len(), self.done.clone());
        // Whoever closed the author does not listen any more.
        let tell = Box::new(move |result| drop(done.send((bytes, result))));
        self.log.append(vec![LogEntry { at, body }], tell)?;
        self.log.save_committed(at)?;
        self.next += 1;
        self.under_way_bytes += bytes;
        if (self.next + ENTRIES_KEPT).is_multiple_of(ENTRIES_PER_SNAPSHOT) {
            self.forgotten = at;
        }
        if self.next.is_multiple_of(ENTRIES_PER_SNAPSHOT) {
            self.log.purge(self.forgotten, Box::new(|_| ()))?;
        }
        while self.under_way_bytes > UNDER_WAY_BYTES_MAX {
            let Ok((bytes, result)) = self.durable.recv() else { bail!("the log's writer is gone") };
            result?;
            self.under_way_bytes -= bytes;
        }
        Ok(())
    }

    /// Everything is durable when this returns.
    pub(super) fn close(self) -> Result<Pages> {
        self.log.close()?;
        let until = self.now();
        Ok(Pages { last: self.next - 1, until, events: self.events })
    }
}
