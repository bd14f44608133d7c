//! A heartbeat on its way through ingress, from the bus to its verdict, allocates nothing of its own: what is allocated is
//! a burst's or a batch's.

use crate::throughput::attest;
use crate::world::{TOO_LONG, World, limits};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use nodes::bus::subject::UpKind;
use nodes::bus::{Bus, BusError, BusHealth, Message, Outgoing, Subject, Subscription};
use parking_lot::Mutex;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::sync::watch;
use tokio::time::timeout;

const DEVICES: usize = 128;
/// What a heartbeat may cost on average: growth of what a burst shares, and more bursts where the machine is busy. One
/// allocation for each would be 1.
const OF_A_HEARTBEAT_MAX: f64 = 0.5;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts on each thread.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

#[allow(unsafe_code, reason = "an allocator that counts hands everything on to the system's")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no counter any more.
        let _ = ALLOCATED.try_with(|allocated| allocated.set(allocated.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

/// A bus that delivers what was made before, and counts answers: nothing of its own is allocated while it does.
#[derive(Clone)]
struct Quiet(Arc<Inner>);

struct Inner {
    heartbeats: Mutex<(Vec<Message>, Option<Waker>)>,
    answered: watch::Sender<usize>,
    health: watch::Sender<BusHealth>,
}

struct QuietSubscription(Option<Quiet>);

impl Quiet {
    fn new() -> Self {
        let (answered, health) = (watch::Sender::new(0), watch::Sender::new(BusHealth::Connected));
        Quiet(Arc::new(Inner { heartbeats: Mutex::default(), answered, health }))
    }

    /// Delivers `messages`, the last first, and says what was allocated until all of them were answered.
    async fn allocated_by(&self, messages: Vec<Message>) -> u64 {
        let mut answered = self.0.answered.subscribe();
        let all = *answered.borrow() + messages.len();
        let before = ALLOCATED.get();
        let waker = {
            let mut heartbeats = self.0.heartbeats.lock();
            heartbeats.0 = messages;
            heartbeats.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
        let answers = answered.wait_for(|answered| *answered >= all);
        timeout(TOO_LONG, answers).await.expect("all must be answered").unwrap();
        ALLOCATED.get() - before
    }
}

impl Bus for Quiet {
    fn subscribe<'a>(
        &'a self,
        pattern: &'a str,
        _group: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, BusError>> {
        let of_heartbeats = pattern == UpKind::Heartbeat.pattern();
        let subscription = QuietSubscription(of_heartbeats.then(|| self.clone()));
        async move { Ok(Box::new(subscription) as Box<dyn Subscription>) }.boxed()
    }

    fn publish<'a>(&'a self, burst: &'a mut Vec<Outgoing>) -> BoxFuture<'a, Result<(), BusError>> {
        self.0.answered.send_modify(|answered| *answered += burst.len());
        burst.clear();
        async { Ok(()) }.boxed()
    }

    fn health(&self) -> watch::Receiver<BusHealth> {
        self.0.health.subscribe()
    }
}

impl Subscription for QuietSubscription {
    fn poll_burst(&mut self, cx: &mut Context<'_>, into: &mut Vec<Message>, max: usize) -> Poll<bool> {
        let Some(Quiet(bus)) = &self.0 else { return Poll::Pending };
        let mut heartbeats = bus.heartbeats.lock();
        if heartbeats.0.is_empty() {
            heartbeats.1 = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let rest = heartbeats.0.len().saturating_sub(max);
        into.extend(heartbeats.0.drain(rest..).rev());
        Poll::Ready(true)
    }

    fn leave(&mut self) -> BoxFuture<'_, Result<(), BusError>> {
        async { Ok(()) }.boxed()
    }
}

/// A message as a client gives it: parts of the buffer into which it read.
fn as_read(subject: &str, inbox: &str, payload: &[u8]) -> Message {
    let mut buffer = BytesMut::new();
    let mut part = |bytes: &[u8]| -> Bytes {
        buffer.extend_from_slice(bytes);
        buffer.split().freeze()
    };
    let subject = Subject::from_utf8(part(subject.as_bytes())).unwrap();
    let reply = Some(Subject::from_utf8(part(inbox.as_bytes())).unwrap());
    Message { subject, reply, payload: part(payload), trace: None }
}

#[tokio::test]
async fn a_heartbeat_costs_no_allocation_of_its_own() {
    let mut world = World::new().await;
    let mut fleet: Vec<_> = (0..DEVICES)
        .map(|_| {
            let terminal = world.burn();
            let live = attest(&mut world, &terminal);
            (terminal, live)
        })
        .collect();
    let fold = world.nodes[0].fold.clone();
    let bus = Quiet::new();
    let (ingress, _serving) = world.start_ingress(Arc::new(bus.clone()), fold, limits());
    let mut beats = |times: usize| {
        let mut messages = Vec::with_capacity(times * DEVICES);
        for _ in 0..times {
            for (terminal, live) in &mut fleet {
                live.acked = live.sequence;
                let sealed = terminal.seal_heartbeat(live);
                let subject = format!("muster.v1.eu.up.{}.{}.heartbeat", terminal.source, terminal.id);
                messages.push(as_read(&subject, &format!("_INBOX_{}.1", terminal.id), &sealed));
            }
        }
        messages.reverse();
        messages
    };
    // Sessions are found, tables grow.
    for _ in 0..4 {
        bus.allocated_by(beats(1)).await;
    }
    let (few, many) = (bus.allocated_by(beats(1)).await, bus.allocated_by(beats(9)).await);
    let of_a_heartbeat = many.saturating_sub(few) as f64 / (8 * DEVICES) as f64;
    eprintln!(
        "{DEVICES} heartbeats: {few} allocations, nine times as many: {many}; {of_a_heartbeat:.3} each"
    );
    let counters = ingress.counters();
    assert_eq!(counters.verdicts as usize, 14 * DEVICES, "{counters:?}");
    // But for the first of each device, which tells what was not known of it.
    assert_eq!(counters.heartbeats_routine as usize, 13 * DEVICES, "{counters:?}");
    assert!(few > 0, "the allocator must count");
    assert!(of_a_heartbeat <= OF_A_HEARTBEAT_MAX, "{of_a_heartbeat} allocations a heartbeat");
}
