//! Natural batching: while proposals are in flight, the next batch fills.
//!
//! ```text
//!   admission ──fill──▶ queue ──take──▶ lane 1 ─▶ propose ──outcomes──▶ settle (verdicts, answers)
//!                         ▲       └───▶ lane 2 ─▶ propose                  │
//!                         └── fills ◀──────────────┘ in flight             └── meanwhile the lane proposes the next
//! ```
//!
//! A lane that is free takes what waits at once if no other has anything in flight; else only once there is enough of it
//! or it waited long enough, since small batches cost the whole cluster as much as large ones. So on a LAN, where a round
//! is shorter than that, one batch follows the other and grows with the load; and no heartbeat waits for another's round
//! across the world.
//!
//! Invariants: a lane has one proposal in flight at a time, and its batches are numbered one after the other under its
//! own boot number, so that the fold can tell what came before; a proposal whose end is unknown is answered with
//! nothing, never with a failure.

use super::queue::{Queue, QueueLimits, Taken};
use crate::clock::Clock;
use crate::proposer::{ProposeError, Proposer};
use events::batch::BatchId;
use events::ids::{LogIndex, NodeId};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use projector::outcome::Outcomes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, Span};

/// Proposals that one node has in flight at most. Each lane counts as a boot of the node in the fold's memory.
pub const LANES: usize = 4;
/// Batches that are in flight or being answered.
const UNDER_WAY_MAX: usize = 2 * LANES;
/// So many heartbeats are a batch worth proposing beside others.
const ENOUGH_ROWS: usize = 1024;
/// The same for events, which are larger and cost more each.
const ENOUGH_EVENTS: usize = 64;
/// What waited so long goes, however little it is.
const LONG_ENOUGH: Duration = Duration::from_millis(20);

/// The way into the log, as ingress needs it. Proposing the same batch again is harmless.
pub trait Propose: Send + Sync + 'static {
    fn propose(&self, batch: Vec<u8>) -> BoxFuture<'_, Result<Outcomes, ProposeError>>;
}

impl Propose for Proposer {
    fn propose(&self, batch: Vec<u8>) -> BoxFuture<'_, Result<Outcomes, ProposeError>> {
        Proposer::propose(self, batch).boxed()
    }
}

/// Answers those who wait.
pub trait Settle: Send + Sync + 'static {
    /// Who waits for a row.
    type Row: Send + 'static;
    /// Who waits for an event.
    type Event: Send + 'static;

    fn settle(&self, decided: Decided<Self::Row, Self::Event>) -> BoxFuture<'_, ()>;

    /// The span in which the batch of these waiters is proposed.
    fn span(&self, rows: &[Self::Row], events: &[Self::Event]) -> Span {
        let _ = (rows, events);
        Span::none()
    }
}

/// What became of a batch.
#[derive(Debug)]
pub struct Decided<R, E> {
    pub result: Result<Outcomes, ProposeError>,
    /// In the order of the batch's rows.
    pub rows: Vec<R>,
    /// The same heartbeats again, by row.
    pub joined: Vec<(u32, R)>,
    /// In the order of the batch's events.
    pub events: Vec<E>,
}

/// A handle to the queue and its task; clones share both.
pub struct Batcher<S: Settle>(Arc<Inner<S>>);

impl<S: Settle> Clone for Batcher<S> {
    fn clone(&self) -> Self {
        Batcher(Arc::clone(&self.0))
    }
}

struct Inner<S: Settle> {
    queue: Mutex<Queue<S::Row, S::Event>>,
    barrier: Mutex<Option<Barrier>>,
    filled: Notify,
    closed: AtomicBool,
    proposed: AtomicU64,
}

/// Whatever was committed before `begun_millis` has an index below `index`: this node's own batch, proposed then,
/// was committed there.
#[derive(Clone, Copy)]
struct Barrier {
    begun_millis: u64,
    index: LogIndex,
}

impl<S: Settle> Batcher<S> {
    #[must_use]
    pub fn new(limits: QueueLimits) -> Self {
        Batcher(Arc::new(Inner {
            queue: Mutex::new(Queue::new(limits)),
            barrier: Mutex::new(None),
            filled: Notify::new(),
            closed: AtomicBool::new(false),
            proposed: AtomicU64::new(0),
        }))
    }

    /// Runs until [`Batcher::close`] was called and everything that waited is settled.
    pub fn run(&self, log: LogAccess, settle: Arc<S>) -> JoinHandle<()> {
        tokio::spawn(Dispatcher::new(Work { inner: Arc::clone(&self.0), log, settle }).run())
    }

    /// Fills the next batch under one lock; `applied` is how far this node's fold is.
    pub fn fill<T>(&self, applied: LogIndex, fill: impl FnOnce(&mut Queue<S::Row, S::Event>) -> T) -> T {
        let mut queue = self.0.queue.lock();
        queue.applied(applied);
        let filled = fill(&mut queue);
        let wake = !queue.is_empty();
        drop(queue);
        if wake {
            self.0.filled.notify_one();
        }
        filled
    }

    /// Whether this node, having applied `applied`, surely knows all that was committed when a message arrived at
    /// `arrived_millis`.
    #[must_use]
    pub fn has_caught_up(&self, arrived_millis: u64, applied: LogIndex) -> bool {
        let barrier = *self.0.barrier.lock();
        barrier.is_some_and(|b| b.begun_millis > arrived_millis && applied >= b.index)
    }

    /// Heartbeats and events that wait for the next batch.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        self.0.queue.lock().waiting()
    }

    /// Batches proposed since the node started.
    #[must_use]
    pub fn proposed(&self) -> u64 {
        self.0.proposed.load(Ordering::Relaxed)
    }

    /// Lets the task end once nothing waits any more.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.filled.notify_one();
    }
}

/// How the batcher reaches the log.
pub struct LogAccess {
    pub propose: Arc<dyn Propose>,
    pub clock: Arc<dyn Clock>,
    pub node: NodeId,
    /// Of this start and of each lane, random, shared with nobody else who proposes: the fold takes a batch for known
    /// whose counter is not above the highest of its boot.
    pub boots: [u64; LANES],
}

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
struct Dispatcher<S: Settle> {
    work: Arc<Work<S>>,
    idle: Vec<Lane>,
    freed: (mpsc::UnboundedSender<Lane>, mpsc::UnboundedReceiver<Lane>),
    under_way: JoinSet<()>,
    /// Since when the batch that fills is looked at.
    waiting_since: Option<Instant>,
}

impl<S: Settle> Dispatcher<S> {
    fn new(work: Work<S>) -> Self {
        let idle = work.log.boots.iter().map(|&boot| Lane { boot, counter: 0 }).collect();
        Dispatcher {
            work: Arc::new(work),
            idle,
            freed: mpsc::unbounded_channel(),
            under_way: JoinSet::new(),
            waiting_since: None,
        }
    }

    async fn run(mut self) {
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
        let alone = self.idle.len() == LANES;
        let is_due = alone
            || rows >= ENOUGH_ROWS
            || events >= ENOUGH_EVENTS
            || since.elapsed() >= LONG_ENOUGH
            || self.work.inner.closed.load(Ordering::Acquire);
        if is_due { Due::Now } else { Due::At(since + LONG_ENOUGH) }
    }

    fn propose(&mut self) {
        let Some(mut lane) = self.idle.pop() else { return };
        self.waiting_since = None;
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

impl<S: Settle> Inner<S> {
    /// Lanes end in any order; the latest begun proves most.
    fn note_barrier(&self, barrier: Barrier) {
        let mut known = self.barrier.lock();
        if known.is_none_or(|known| known.begun_millis <= barrier.begun_millis) {
            *known = Some(barrier);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::queue::Favour;
    use events::batch::access;
    use events::vocabulary::{Event, Tick};
    use tokio::sync::mpsc;

    type Sent = (Vec<u8>, tokio::sync::oneshot::Sender<Result<Outcomes, ProposeError>>);

    /// A log that answers when the test says so.
    struct Held(mpsc::UnboundedSender<Sent>);

    impl Propose for Held {
        fn propose(&self, batch: Vec<u8>) -> BoxFuture<'_, Result<Outcomes, ProposeError>> {
            let (answer, answered) = tokio::sync::oneshot::channel();
            self.0.send((batch, answer)).unwrap();
            async move { answered.await.unwrap() }.boxed()
        }
    }

    struct Noted(mpsc::UnboundedSender<Decided<(), u32>>);

    impl Settle for Noted {
        type Row = ();
        type Event = u32;
        fn settle(&self, decided: Decided<(), u32>) -> BoxFuture<'_, ()> {
            self.0.send(decided).unwrap();
            async {}.boxed()
        }
    }

    struct Bench {
        batcher: Batcher<Noted>,
        proposals: mpsc::UnboundedReceiver<Sent>,
        decided: mpsc::UnboundedReceiver<Decided<(), u32>>,
        task: JoinHandle<()>,
    }

    fn a_bench() -> Bench {
        let (propose, proposals) = mpsc::unbounded_channel();
        let (settle, decided) = mpsc::unbounded_channel();
        let batcher = Batcher::new(QueueLimits::within_batch(100));
        let clock = Arc::new(crate::clock::SystemClock::new());
        let log = LogAccess { propose: Arc::new(Held(propose)), clock, node: 7, boots: [96, 97, 98, 99] };
        let task = batcher.run(log, Arc::new(Noted(settle)));
        Bench { batcher, proposals, decided, task }
    }

    impl Bench {
        fn put(&self, name: u32) {
            let tick = Event::from(Tick {});
            self.batcher.fill(0, |queue| queue.event(&tick, Favour::Favoured, None, name).unwrap());
        }
    }

    fn committed() -> Outcomes {
        let mut fold = projector::Projector::new();
        let batch = events::batch::Batch::new(BatchId { node: 1, boot: 1, counter: 1 }).encode().unwrap();
        let payload = events::batch::stamped(events::time::Timestamp::from_millis(1), &batch);
        fold.apply(1, &payload).unwrap().outcomes
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_proposal_is_in_flight_the_next_batch_fills() {
        let mut bench = a_bench();
        bench.put(1);
        let (first, answer) = bench.proposals.recv().await.unwrap();
        assert_eq!(access(&first).unwrap().batch_id(), BatchId { node: 7, boot: 99, counter: 1 });
        (2..10).for_each(|name| bench.put(name));
        tokio::task::yield_now().await;
        assert!(bench.proposals.try_recv().is_err(), "little does not go while another is in flight");
        answer.send(Ok(committed())).unwrap();
        let (second, _answer) = bench.proposals.recv().await.unwrap();
        assert_eq!(access(&second).unwrap().batch_id().counter, 2, "the lane goes on counting");
        assert_eq!(access(&second).unwrap().events.len(), 8);
        assert_eq!(bench.decided.recv().await.unwrap().events, [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waited_long_enough_or_is_much_goes_beside_what_is_in_flight() {
        let mut bench = a_bench();
        bench.put(1);
        let (_, _first) = bench.proposals.recv().await.unwrap();
        bench.put(2);
        let began = Instant::now();
        let (waited, _second) = bench.proposals.recv().await.unwrap();
        assert_eq!(began.elapsed(), LONG_ENOUGH);
        (0..ENOUGH_EVENTS as u32).for_each(|name| bench.put(10 + name));
        let (much, _third) = bench.proposals.recv().await.unwrap();
        assert_eq!(began.elapsed(), LONG_ENOUGH, "enough does not wait");
        let boots = [&waited, &much].map(|bytes| access(bytes).unwrap().batch_id().boot);
        assert_eq!(boots, [98, 97], "each lane numbers under its own boot");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_in_flight_than_there_are_lanes() {
        let mut bench = a_bench();
        let mut held = Vec::new();
        for name in 0..LANES as u32 {
            bench.put(name);
            held.push(bench.proposals.recv().await.unwrap());
        }
        (0..ENOUGH_EVENTS as u32).for_each(|name| bench.put(10 + name));
        tokio::time::sleep(2 * LONG_ENOUGH).await;
        assert!(bench.proposals.try_recv().is_err());
        held.pop().unwrap().1.send(Ok(committed())).unwrap();
        let (next, _answer) = bench.proposals.recv().await.unwrap();
        assert_eq!(access(&next).unwrap().events.len(), ENOUGH_EVENTS);
    }

    #[tokio::test]
    async fn the_barrier_is_the_latest_begun_whatever_ends_last() {
        let bench = a_bench();
        bench.batcher.0.note_barrier(Barrier { begun_millis: 20, index: 9 });
        bench.batcher.0.note_barrier(Barrier { begun_millis: 10, index: 12 });
        assert!(bench.batcher.has_caught_up(15, 9));
        assert!(!bench.batcher.has_caught_up(15, 8));
        assert!(!bench.batcher.has_caught_up(20, 12));
    }

    #[tokio::test]
    async fn closing_settles_what_waits_and_then_ends() {
        let mut bench = a_bench();
        bench.put(1);
        bench.batcher.close();
        let (_, answer) = bench.proposals.recv().await.unwrap();
        answer.send(Err(ProposeError::Unknown { why: "test".into() })).unwrap();
        bench.task.await.unwrap();
        let decided = bench.decided.recv().await.unwrap();
        assert!(matches!(decided.result, Err(ProposeError::Unknown { .. })));
        assert_eq!(decided.events, [1]);
    }
}
