//! Natural batching: while one proposal is in flight, the next batch fills.
//!
//! ```text
//!   admission ──fill──▶ queue ──take──▶ propose ──outcomes──▶ settle (verdicts, answers)
//!                         ▲                │                     │
//!                         └── fills ◀──────┘ in flight           └── meanwhile the next is proposed already
//! ```
//!
//! Invariants: one proposal is in flight at a time, and a batch's counter follows the one before it, so that the
//! fold can tell what came before; a proposal whose end is unknown is answered with nothing, never with a failure.

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
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{Instrument, Span};

/// Batches whose outcomes are being answered while the next is in flight.
const SETTLING_MAX: usize = 4;

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
        tokio::spawn(Work { inner: Arc::clone(&self.0), log, settle }.run())
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
    /// This start's own random number, shared with nobody else who proposes: the fold takes a batch for known whose
    /// counter is not above the highest of its boot.
    pub boot: u64,
}

struct Work<S: Settle> {
    inner: Arc<Inner<S>>,
    log: LogAccess,
    settle: Arc<S>,
}

impl<S: Settle> Work<S> {
    async fn run(self) {
        let mut settling = JoinSet::new();
        let mut counter = 0;
        loop {
            // Settling may fill the queue again (a raced resume), so the end is only reached when both are empty.
            let Some(taken) = self.take(counter + 1) else {
                if self.inner.closed.load(Ordering::Acquire) && settling.is_empty() {
                    return;
                }
                tokio::select! {
                    () = self.inner.filled.notified() => {}
                    Some(_) = settling.join_next(), if !settling.is_empty() => {}
                }
                continue;
            };
            counter += 1;
            let decided = self.decide(taken).await;
            while settling.len() >= SETTLING_MAX {
                settling.join_next().await;
            }
            let settle = Arc::clone(&self.settle);
            settling.spawn(async move { settle.settle(decided).await });
        }
    }

    fn take(&self, counter: u64) -> Option<Taken<S::Row, S::Event>> {
        let mut queue = self.inner.queue.lock();
        let id = BatchId { node: self.log.node, boot: self.log.boot, counter };
        (!queue.is_empty()).then(|| queue.take(id))
    }

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
                let index = outcomes.index;
                *self.inner.barrier.lock() = Some(Barrier { begun_millis, index });
                queue.committed(contents, index)
            }
            Err(_) => queue.failed(&contents),
        };
        drop(queue);
        Decided { result, rows, joined, events }
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
        let log = LogAccess { propose: Arc::new(Held(propose)), clock, node: 7, boot: 99 };
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

    #[tokio::test]
    async fn while_one_proposal_is_in_flight_the_next_batch_fills() {
        let mut bench = a_bench();
        bench.put(1);
        let (first, answer) = bench.proposals.recv().await.unwrap();
        assert_eq!(access(&first).unwrap().batch_id(), BatchId { node: 7, boot: 99, counter: 1 });
        (2..50).for_each(|name| bench.put(name));
        assert!(bench.proposals.try_recv().is_err(), "one proposal is in flight at a time");
        answer.send(Ok(committed())).unwrap();
        let (second, _answer) = bench.proposals.recv().await.unwrap();
        assert_eq!(access(&second).unwrap().batch_id().counter, 2);
        assert_eq!(access(&second).unwrap().events.len(), 48);
        assert_eq!(bench.decided.recv().await.unwrap().events, [1]);
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
