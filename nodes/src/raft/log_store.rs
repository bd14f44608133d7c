//! openraft's log, on top of [`DurableLog`].
//!
//! Nothing is decided here: entries and votes are turned into records and back, and openraft's callbacks are called
//! when storage says so, which is after `fdatasync` and never before.

use super::types::{Entry, EntryPayload, LogId, Membership, Payload, TypeConfig, Vote, log_id};
use crate::storage::error::{Poisoned, StorageError};
use crate::storage::gaps::GapBook;
use crate::storage::log::DurableLog;
use crate::storage::view::LogEntry;
use bytes::Bytes;
use events::log::record::{EntryBody, LogPosition, VoteRecord};
use futures::Stream;
use futures::stream::{self, StreamExt, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use tokio::sync::oneshot;

/// One read of entries takes about this many bytes: what goes to a follower in one message, or to apply at a time.
const READ_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The log as openraft sees it. Clones share the log.
#[derive(Clone)]
pub struct LogStore {
    log: Arc<DurableLog>,
    /// Where it is noted what a purge leaves out of history.
    gaps: Option<Arc<GapBook>>,
}

impl LogStore {
    #[must_use]
    pub fn new(log: Arc<DurableLog>) -> Self {
        LogStore { log, gaps: None }
    }

    #[must_use]
    pub fn noting(self, gaps: Arc<GapBook>) -> Self {
        LogStore { gaps: Some(gaps), ..self }
    }

    #[must_use]
    pub fn log(&self) -> &Arc<DurableLog> {
        &self.log
    }

    /// Makes everything durable and ends the writer; after raft was shut down.
    pub async fn close(&self) -> io::Result<()> {
        let log = Arc::clone(&self.log);
        blocking(move || log.close()).await
    }

    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let entries = self.log.entries(range, bytes_max)?;
        let entries = match entries.are_cached() {
            true => entries.read(),
            false => tokio::task::spawn_blocking(move || entries.read()).await.map_err(io::Error::other)?,
        };
        let entries = entries.inspect_err(|error| self.condemn(error))?;
        entries.into_iter().map(entry_from_log).collect()
    }

    /// Raft ends for an entry that it cannot read. The log ends first, so that whoever starts nodes knows that the next
    /// start reads that place too, and makes it good from peers.
    fn condemn(&self, error: &StorageError) {
        if let StorageError::Corrupt(damage) = error
            && damage.is_repairable()
        {
            self.log.condemn(&format!("an entry cannot be read: {damage}"));
        }
    }

    /// As [`LogStore::read`], and whatever is returned begins at `range.start`: raft takes it for consecutive.
    async fn read_from(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let start = range.start;
        let is_asked = !range.is_empty();
        let entries = self.read(range, bytes_max).await?;
        let purged = || self.log.standing().floor.is_some_and(|floor| start <= floor.index);
        let gap = entries.first().map_or_else(purged, |first| first.index() != start);
        if is_asked && gap {
            let why = format!("entry {start} was asked for, and is purged; a snapshot holds it");
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        Ok(entries)
    }

    /// One part of a stream: the entries from `range.start` on, and the range that is left.
    async fn read_part(self, range: Range<u64>) -> io::Result<(Vec<Entry>, Range<u64>)> {
        let entries = self.read_from(range.clone(), READ_BYTES_MAX).await?;
        let left = entries.last().map_or(range.end, |last| last.index() + 1)..range.end;
        Ok((entries, left))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.read(half_open(&range), usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read_from(start..end, READ_BYTES_MAX).await
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let parts = stream::try_unfold((self.clone(), half_open(&range)), |(store, range)| async move {
            if range.is_empty() {
                return Ok::<_, io::Error>(None);
            }
            let (entries, left) = store.clone().read_part(range).await?;
            Ok(Some((entries, (store, left))))
        });
        parts.map_ok(|entries| stream::iter(entries.into_iter().map(Ok))).try_flatten().boxed()
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log.standing().vote.map(vote_from_log))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let standing = self.log.standing();
        Ok(LogState {
            last_purged_log_id: standing.floor.map(id_from_log),
            last_log_id: standing.last.map(id_from_log),
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = VoteRecord {
            term: vote.leader_id.term,
            node: vote.leader_id.voted_for,
            committed: vote.committed,
        };
        durable(|done| self.log.save_vote(vote, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.log.save_committed(id_to_log(&committed))?;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.standing().committed.map(id_from_log))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(entry_to_log).collect::<io::Result<Vec<_>>>()?;
        let done =
            Box::new(move |result: Result<(), Poisoned>| callback.io_completed(result.map_err(Into::into)));
        Ok(self.log.append(entries, done)?)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let keep = last_log_id.as_ref().map(id_to_log);
        durable(|done| self.log.truncate_after(keep, done)).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let floor = id_to_log(&log_id);
        if let Some((gaps, gap)) = self.gaps.clone().zip(self.log.gap_below(floor)) {
            blocking(move || gaps.note(gap)).await?;
        }
        durable(|done| self.log.purge(floor, done)).await
    }
}

/// Submits, and waits until storage calls back.
async fn durable(
    submit: impl FnOnce(Box<dyn FnOnce(Result<(), Poisoned>) + Send>) -> Result<(), StorageError>,
) -> io::Result<()> {
    let (sender, receiver) = oneshot::channel();
    submit(Box::new(move |result| {
        // Whoever waited may be gone; the record is written all the same.
        let _ = sender.send(result);
    }))?;
    receiver.await.map_err(|_| io::Error::from(StorageError::Closed))?.map_err(Into::into)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?.map_err(Into::into)
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

fn id_to_log(id: &LogId) -> LogPosition {
    LogPosition { term: id.leader_id.term, index: id.index }
}

fn id_from_log(position: LogPosition) -> LogId {
    log_id(position.term, position.index)
}

fn vote_from_log(vote: VoteRecord) -> Vote {
    match vote.committed {
        true => Vote::new_committed(vote.term, vote.node),
        false => Vote::new(vote.term, vote.node),
    }
}

fn entry_to_log(entry: Entry) -> io::Result<LogEntry> {
    let body = match entry.payload {
        EntryPayload::Blank => EntryBody::Blank,
        EntryPayload::Normal(Payload(bytes)) => EntryBody::Batch(bytes),
        EntryPayload::Membership(membership) => EntryBody::Membership(encode_membership(&membership)?),
    };
    Ok(LogEntry { at: id_to_log(&entry.log_id), body })
}

pub(super) fn entry_from_log(entry: LogEntry) -> io::Result<Entry> {
    let payload = match entry.body {
        EntryBody::Blank => EntryPayload::Blank,
        EntryBody::Batch(bytes) => EntryPayload::Normal(Payload(bytes)),
        EntryBody::Membership(bytes) => EntryPayload::Membership(decode_membership(&bytes)?),
    };
    Ok(Entry::new(id_from_log(entry.at), payload))
}

/// The body of an entry that carries this membership.
pub fn encode_membership(membership: &Membership) -> io::Result<Bytes> {
    postcard::to_stdvec(membership).map(Bytes::from).map_err(io::Error::other)
}

/// The membership in an entry's body, as the log keeps it.
pub fn decode_membership(bytes: &[u8]) -> io::Result<Membership> {
    postcard::from_bytes(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
