//! When a batch goes, and in which lane.
//!
//! A lane that is free takes what waits if no other has anything in flight, and at once if the last batch went a moment
//! ago; else only once there is enough of it or it waited long enough, since small batches cost the whole cluster as much
//! as large ones. So on a LAN, where a round is shorter than that, one batch follows the other and grows with the load;
//! and no heartbeat waits for another's round across the world.
//!
//! Invariants: a lane has one proposal in flight at a time, and its batches are numbered one after the other under its
//! own boot number, so that the fold can tell what came before; a proposal whose end is unknown is answered with
//! nothing, never with a failure.

use super::batcher::{Barrier, Decided, Inner, LogAccess, Settle};
use super::queue::Taken;
use crate::proposer::ProposeError;
use events::batch::BatchId;
use events::ids::NodeId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

/// Proposals that one node has in flight at most. Each lane counts as a boot of the node in the fold's memory.
pub const LANES: usize = 4;
/// Batches that are in flight or being answered.
const UNDER_WAY_MAX: usize = 2 * LANES;
/// So many heartbeats are a batch worth proposing beside others.
const ENOUGH_ROWS: usize = 1024;
/// The same for events, which are larger and cost more each.
pub(super) const ENOUGH_EVENTS: usize = 64;
/// What waited so long goes, however little it is.
pub(super) const LONG_ENOUGH: Duration = Duration::from_millis(20);
/// Batches that are not large begin so far apart: under load one that is half full costs as much as a full one.
pub(super) const APART: Duration = Duration::from_millis(2);

/// Proposes one batch after the other.
struct Lane {
    boot: u64,
    counter: u64,
}

impl Lane {
    fn next(&mut self, node: NodeId) -> BatchId {
        self.counter += 1;
        BatchId { node, boot: self.boot, counter: self.counter }
    }
}

/// What the batcher and each of its proposals share.
struct Work<S: Settle> {
    inner: Arc<Inner<S>>,
    log: LogAccess,
    settle: Arc<S>,
}

/// When the batch that fills is to go.
enum Due {
    Now,
    /// Unless a lane becomes free before, or enough comes.
    At(Instant),
    /// There is nothing, or no lane.
    Never,
}

/// The task that hands batches to lanes.
pub(super) struct Dispatcher<S: Settle> {
    work: Arc<Work<S>>,
    idle: Vec<Lane>,
    freed: (mpsc::UnboundedSender<Lane>, mpsc::UnboundedReceiver<Lane>),
    under_way: JoinSet<()>,
    /// Since when the batch that fills is looked at.
    waiting_since: Option<Instant>,
    /// When the last batch went.
    proposed_at: Option<Instant>,
}

impl<S: Settle> Dispatcher<S> {
    pub fn new(inner: Arc<Inner<S>>, log: LogAccess, settle: Arc<S>) -> Self {
        let work = Work { inner, log, settle };
        let idle = work.log.boots.iter().map(|&boot| Lane { boot, counter: 0 }).collect();
        Dispatcher {
            work: Arc::new(work),
            idle,
            freed: mpsc::unbounded_channel(),
            under_way: JoinSet::new(),
            waiting_since: None,
            proposed_at: None,
        }
    }

    /// Runs until the batcher was closed and everything that waited is settled.
    pub async fn run(mut self) {
        loop {
            let due_at = match self.due() {
                Due::Now => {
                    self.propose();
                    continue;
                }
                Due::At(at) => Some(at),
                Due::Never => None,
            };
            // Settling may fill the queue again (a raced resume), so the end is only reached when both are empty.
            if self.work.inner.closed.load(Ordering::Acquire)
                && self.under_way.is_empty()
                && self.work.inner.queue.lock().is_empty()
            {
                return;
            }
            tokio::select! {
                Some(lane) = self.freed.1.recv() => self.idle.push(lane),
                Some(_) = self.under_way.join_next(), if !self.under_way.is_empty() => {}
                () = self.work.inner.filled.notified() => {}
                () = sleep_until(due_at.unwrap_or_else(Instant::now)), if due_at.is_some() => {}
            }
        }
    }

    fn due(&mut self) -> Due {
        while let Ok(lane) = self.freed.1.try_recv() {
            self.idle.push(lane);
        }
        while self.under_way.try_join_next().is_some() {}
        let (rows, events) = self.work.inner.queue.lock().waiting();
        if rows + events == 0 {
            self.waiting_since = None;
            return Due::Never;
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        if self.idle.is_empty() || self.under_way.len() >= UNDER_WAY_MAX {
            return Due::Never;
        }
        let is_enough = rows >= ENOUGH_ROWS || events >= ENOUGH_EVENTS;
        let is_last = self.work.inner.closed.load(Ordering::Acquire);
        let mut due_at = since + LONG_ENOUGH;
        if self.idle.len() == LANES {
            due_at = due_at.min(self.proposed_at.map_or(since, |at| at + APART));
        }
        if is_enough || is_last || due_at <= Instant::now() { Due::Now } else { Due::At(due_at) }
    }

    fn propose(&mut self) {
        let Some(mut lane) = self.idle.pop() else { return };
        self.waiting_since = None;
        self.proposed_at = Some(Instant::now());
        let taken = self.work.inner.queue.lock().take(lane.next(self.work.log.node));
        let (work, freed) = (Arc::clone(&self.work), self.freed.0.clone());
        self.under_way.spawn(async move {
            let decided = work.decide(taken).await;
            let _ = freed.send(lane);
            work.settle.settle(decided).await;
        });
    }
}

impl<S: Settle> Work<S> {
    async fn decide(&self, taken: Taken<S::Row, S::Event>) -> Decided<S::Row, S::Event> {
        let Taken { batch, contents, rows, events } = taken;
        let begun_millis = self.log.clock.monotonic_millis();
        let result = match batch.encode() {
            Ok(bytes) => {
                self.inner.proposed.fetch_add(1, Ordering::Relaxed);
                let span = self.settle.span(&rows, &events);
                self.log.propose.propose(bytes).instrument(span).await
            }
            Err(error) => Err(ProposeError::Malformed { why: error.to_string() }),
        };
        let mut queue = self.inner.queue.lock();
        let joined = match &result {
            Ok(outcomes) => {
                self.inner.note_barrier(Barrier { begun_millis, index: outcomes.index });
                queue.committed(contents, outcomes.index)
            }
            Err(_) => queue.failed(&contents),
        };
        drop(queue);
        Decided { result, rows, joined, events }
    }
}
