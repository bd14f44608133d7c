//! The one thread that writes.
//!
//! Group commit by natural batching: it takes everything that is queued, writes once, syncs once, and only then calls
//! back. While it syncs, the next group gathers. What nobody waits for lingers a moment, so that it is written with what
//! comes next, and once however often it moved on. After the first failure it writes nothing any more.

use super::error::{Poisoned, StorageError};
use super::poison::Poison;
use super::segment_file::Place;
use super::segment_writer::SegmentWriter;
use super::view::{LogView, Ticket};
use bytes::Bytes;
use events::log::record::Record;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Called once, from the writer's thread: after what was asked is durable, or when it failed.
pub type Done = Box<dyn FnOnce(Result<(), Poisoned>) + Send>;

/// Records that belong together.
pub(super) struct Request {
    pub(super) records: Vec<Record<Bytes>>,
    pub(super) ticket: Ticket,
    pub(super) durability: Durability,
    pub(super) done: Done,
}

/// When a request counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Once it survives a power cut.
    Synced,
    /// Once it is written; it becomes durable with whatever is synced next.
    Written,
}

/// What nobody waits for is written after this, if nothing comes that takes it along.
const LINGER: Duration = Duration::from_millis(20);

/// A group holds about this many bytes, so that the first in it does not wait for ever.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

pub(super) struct Writer {
    pub(super) segments: SegmentWriter,
    pub(super) view: Arc<RwLock<LogView>>,
    pub(super) poison: Poison,
}

impl Writer {
    /// Serves requests until all senders are gone, then closes the segment.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        let _guard = PanicGuard(self.poison.clone());
        while let Ok(first) = requests.recv() {
            let mut group = gather(first, requests);
            linger(&mut group, requests);
            keep_last_committed(&mut group);
            if let Err(error) = self.write(&group) {
                self.fail(&error, group, requests);
                return;
            }
            group.into_iter().for_each(|request| (request.done)(Ok(())));
        }
        if let Err(error) = self.segments.close() {
            self.poison.set(&error.to_string());
        }
    }

    fn write(&mut self, group: &[Request]) -> Result<(), StorageError> {
        let mut placed = Vec::new();
        for request in group {
            for record in &request.records {
                let place = self.segments.push(record)?;
                if let Record::Entry { at, .. } = record {
                    placed.push((at.index, request.ticket, place));
                }
            }
        }
        self.segments.write()?;
        self.place(placed);
        if group.iter().any(|request| request.durability == Durability::Synced) {
            self.segments.sync()?;
        }
        Ok(())
    }

    fn place(&self, placed: Vec<(u64, Ticket, Place)>) {
        let mut view = self.view.write();
        placed.into_iter().for_each(|(index, ticket, place)| view.placed(index, ticket, place));
    }

    fn fail(&self, error: &StorageError, group: Vec<Request>, requests: &Receiver<Request>) {
        let poisoned = self.poison.set(&error.to_string());
        for request in group.into_iter().chain(requests.iter()) {
            (request.done)(Err(poisoned.clone()));
        }
    }
}

fn gather(first: Request, requests: &Receiver<Request>) -> Vec<Request> {
    let mut bytes = first.bytes();
    let mut group = vec![first];
    while bytes < GROUP_BYTES_MAX
        && let Ok(request) = requests.try_recv()
    {
        bytes += request.bytes();
        group.push(request);
    }
    group
}

/// Waits for a request that somebody waits for, if there is none in the group yet.
fn linger(group: &mut Vec<Request>, requests: &Receiver<Request>) {
    let until = Instant::now() + LINGER;
    while group.iter().all(|request| request.durability == Durability::Written) {
        match requests.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(next) => group.extend(gather(next, requests)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Of several committed indices in one group the last one says all.
fn keep_last_committed(group: &mut [Request]) {
    let mut is_last = true;
    for request in group.iter_mut().rev() {
        if matches!(request.records[..], [Record::Committed(_)]) && !std::mem::take(&mut is_last) {
            request.records.clear();
        }
    }
}

impl Request {
    fn bytes(&self) -> usize {
        self.records.iter().map(Record::body_length).sum()
    }
}

/// A writer that panics leaves the log as unknown as a failed write does.
struct PanicGuard(Poison);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set("the log's writer panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::log::record::LogPosition;

    fn request(record: Record<Bytes>) -> Request {
        let (ticket, durability, done) = (Ticket::MIN, Durability::Written, Box::new(|_| ()));
        Request { records: vec![record], ticket, durability, done }
    }

    fn at(index: u64) -> LogPosition {
        LogPosition { term: 1, index }
    }

    #[test]
    fn of_several_committed_indices_only_the_last_is_written_and_nothing_else_is_left_out() {
        let vote = || Record::Vote(events::log::record::VoteRecord { term: 1, node: 1, committed: true });
        let mut group: Vec<_> =
            [Record::Committed(at(1)), vote(), Record::Committed(at(2)), Record::Committed(at(3)), vote()]
                .into_iter()
                .map(request)
                .collect();
        keep_last_committed(&mut group);
        let left: Vec<_> = group.iter().map(|request| request.records.first()).collect();
        assert_eq!(left, [None, Some(&vote()), None, Some(&Record::Committed(at(3))), Some(&vote())]);
    }
}
