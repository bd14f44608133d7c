//! Natural batching: while proposals are in flight, the next batch fills.
//!
//! ```text
//!   admission ──fill──▶ queue ──take──▶ lane 1 ─▶ propose ──outcomes──▶ settle (verdicts, answers)
//!                         ▲       └───▶ lane 2 ─▶ propose                  │
//!                         └── fills ◀──────────────┘ in flight             └── meanwhile the lane proposes the next
//! ```
//!
//! When a batch goes, and in which lane, [`super::dispatcher`] decides.

use super::dispatcher::{Dispatcher, LANES};
use super::queue::{Queue, QueueLimits};
use crate::clock::Clock;
use crate::proposer::{ProposeError, Proposer};
use events::ids::{LogIndex, NodeId};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use projector::outcome::Outcomes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::Span;

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

pub(super) struct Inner<S: Settle> {
    pub queue: Mutex<Queue<S::Row, S::Event>>,
    barrier: Mutex<Option<Barrier>>,
    pub filled: Notify,
    pub closed: AtomicBool,
    pub proposed: AtomicU64,
}

/// Whatever was committed before `begun_millis` has an index below `index`: this node's own batch, proposed then,
/// was committed there.
#[derive(Clone, Copy)]
pub(super) struct Barrier {
    pub begun_millis: u64,
    pub index: LogIndex,
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
        tokio::spawn(Dispatcher::new(Arc::clone(&self.0), log, settle).run())
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

impl<S: Settle> Inner<S> {
    /// Lanes end in any order; the latest begun proves most.
    pub fn note_barrier(&self, barrier: Barrier) {
        let mut known = self.barrier.lock();
        if known.is_none_or(|known| known.begun_millis <= barrier.begun_millis) {
            *known = Some(barrier);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::dispatcher::{APART, ENOUGH_EVENTS, LONG_ENOUGH};
    use crate::ingress::queue::Favour;
    use events::batch::{BatchId, access};
    use events::vocabulary::{Event, Tick};
    use std::time::Duration;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

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
    async fn a_small_batch_that_follows_at_once_waits_a_moment_and_a_lone_one_does_not() {
        let mut bench = a_bench();
        let mut began = Instant::now();
        for pause in [Duration::ZERO, APART, APART / 2] {
            tokio::time::sleep(pause).await;
            bench.put(1);
            let (_, answer) = bench.proposals.recv().await.unwrap();
            let expected = if began == Instant::now() { Duration::ZERO } else { APART };
            assert_eq!(began.elapsed(), expected, "after a pause of {pause:?}");
            began = Instant::now();
            answer.send(Ok(committed())).unwrap();
            bench.decided.recv().await.unwrap();
        }
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
