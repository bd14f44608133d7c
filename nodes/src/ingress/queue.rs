//! The next batch while it fills, and which heartbeats are under way.
//!
//! ```text
//!   admitted ──▶ filling ──take──▶ in flight ──outcomes──▶ settled ──applied here──▶ forgotten
//!                   ▲                  ▲                      ▲
//!                   └── the same bytes again join the first ──┘  (and are logged once)
//! ```
//!
//! Invariants: what waits fits one batch (`events::limits`); a message that is under way is not put in twice, so
//! that repeating it cannot grow the log; while the queue is half full, only favoured ones still find a place, so
//! that a crowd of others cannot starve them.

use events::batch::{Batch, BatchId, EncodedEvent, HeartbeatRow};
use events::ids::{LogIndex, Sequence, Slot};
use events::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, BATCH_HEARTBEATS_MAX};
use events::vocabulary::{Event, EventError};
use std::collections::{HashMap, HashSet, VecDeque};

/// Room that an event takes besides its bytes.
const EVENT_OVERHEAD_BYTES: usize = 16;
/// Of one batch's bytes, what events may take; the rest is for rows and the batch's own structure.
const EVENTS_BYTES_MAX: usize = BATCH_BYTES_MAX - BATCH_HEARTBEATS_MAX * 24;
/// Repetitions that wait for the first of their kind, in one batch.
const JOINED_MAX: usize = 1024;

/// Names an authentic message by its tag, which nobody but its sender can make.
pub type MessageTag = [u8; 16];

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    pub rows_max: usize,
    pub events_max: usize,
}

impl QueueLimits {
    /// What was configured, within what fits one batch.
    #[must_use]
    pub fn within_batch(rows_max: usize) -> Self {
        QueueLimits { rows_max: rows_max.clamp(1, BATCH_HEARTBEATS_MAX), events_max: BATCH_EVENTS_MAX }
    }
}

/// Who gets a place when they get few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Favour {
    Common,
    /// Heartbeats of licensed devices, and what this node itself has to say.
    Favoured,
}

/// What became of a row that asked for a place. A waiter that got none comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum RowPlace<R> {
    Placed,
    /// The same bytes are under way: answered with them.
    Joined,
    /// The same bytes are committed, but not applied here yet.
    Settling(LogIndex, R),
    /// The same sequence with other content is under way.
    Contradicts(R),
    /// It is new, and its device has no token left for one.
    TooFast(R),
    Full(R),
}

/// A batch on its way, with those who wait for its outcomes.
#[derive(Debug)]
pub struct Taken<R, E> {
    pub batch: Batch,
    pub contents: Contents,
    pub rows: Vec<R>,
    pub events: Vec<E>,
}

/// What a batch holds, for as long as it is under way.
#[derive(Debug, Default)]
pub struct Contents {
    number: u64,
    heartbeats: Vec<(Slot, Sequence)>,
    tags: Vec<MessageTag>,
}

pub struct Queue<R, E> {
    limits: QueueLimits,
    filling: Filling<R, E>,
    /// Number of the batch that fills.
    number: u64,
    under_way: HashMap<(Slot, Sequence), UnderWay>,
    tags: HashSet<MessageTag>,
    joined: Vec<(u64, u32, R)>,
    settled: VecDeque<Settled>,
}

struct Filling<R, E> {
    batch: Batch,
    tags: Vec<MessageTag>,
    events_bytes: usize,
    rows: Vec<R>,
    events: Vec<E>,
}

#[derive(Clone, Copy)]
struct UnderWay {
    digest: u32,
    epoch_low: u16,
    batch: u64,
    row: u32,
    /// Zero until its batch is settled.
    index: LogIndex,
}

struct Settled {
    index: LogIndex,
    contents: Contents,
}

impl<R, E> Queue<R, E> {
    #[must_use]
    pub fn new(limits: QueueLimits) -> Self {
        Queue {
            limits,
            filling: Filling::new(),
            number: 1,
            under_way: HashMap::new(),
            tags: HashSet::new(),
            joined: Vec::new(),
            settled: VecDeque::new(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filling.batch.is_empty()
    }

    /// Puts a routine heartbeat into the next batch, or lets it join itself. Only a new one costs a token: repeating
    /// a device's bytes must not use up its rate.
    pub fn row(
        &mut self,
        row: HeartbeatRow,
        favour: Favour,
        token: impl FnOnce() -> bool,
        waiter: R,
    ) -> RowPlace<R> {
        if let Some(first) = self.under_way.get(&(row.slot, row.sequence)).copied() {
            return self.again(first, row, waiter);
        }
        if !token() {
            return RowPlace::TooFast(waiter);
        }
        let max = match favour {
            Favour::Favoured => self.limits.rows_max,
            Favour::Common => self.limits.rows_max.div_ceil(2),
        };
        if self.filling.rows.len() >= max {
            return RowPlace::Full(waiter);
        }
        let (batch, at) = (self.number, self.filling.rows.len() as u32);
        let first = UnderWay { digest: row.digest, epoch_low: row.epoch_low, batch, row: at, index: 0 };
        self.under_way.insert((row.slot, row.sequence), first);
        self.filling.batch.heartbeats.push(row);
        self.filling.rows.push(waiter);
        RowPlace::Placed
    }

    /// Whether the message of this tag is on its way into the log.
    #[must_use]
    pub fn is_under_way(&self, tag: &MessageTag) -> bool {
        self.tags.contains(tag)
    }

    /// Puts an event into the next batch; gives the waiter back if there is no place, or if the message of this
    /// tag is under way already.
    pub fn event(
        &mut self,
        event: &Event,
        favour: Favour,
        tag: Option<MessageTag>,
        waiter: E,
    ) -> Result<(), Refused<E>> {
        if tag.is_some_and(|tag| self.tags.contains(&tag)) {
            return Err(Refused::UnderWay(waiter));
        }
        let bytes = match event.encode() {
            Ok(bytes) => bytes,
            Err(why) => return Err(Refused::Malformed(waiter, why)),
        };
        let (events_max, bytes_max) = match favour {
            Favour::Favoured => (self.limits.events_max, EVENTS_BYTES_MAX),
            Favour::Common => (self.limits.events_max.div_ceil(2), EVENTS_BYTES_MAX / 2),
        };
        let total = self.filling.events_bytes + bytes.len() + EVENT_OVERHEAD_BYTES;
        if self.filling.events.len() >= events_max || total > bytes_max {
            return Err(Refused::Full(waiter));
        }
        self.filling.events_bytes = total;
        self.filling.batch.events.push(EncodedEvent { kind: event.kind(), bytes });
        self.filling.events.push(waiter);
        self.filling.tags.extend(tag);
        self.tags.extend(tag);
        Ok(())
    }

    /// Takes the batch that filled and begins the next.
    pub fn take(&mut self, id: BatchId) -> Taken<R, E> {
        let filled = std::mem::replace(&mut self.filling, Filling::new());
        let columns = &filled.batch.heartbeats;
        let heartbeats = columns.slot.iter().copied().zip(columns.sequence.iter().copied()).collect();
        let contents = Contents { number: self.number, heartbeats, tags: filled.tags };
        self.number += 1;
        Taken { batch: Batch { id, ..filled.batch }, contents, rows: filled.rows, events: filled.events }
    }

    /// Notes that a batch is committed at `index`, and hands out those that joined its rows. Its messages stay
    /// known until this node applied them: until then the fold here would take them for new.
    pub fn committed(&mut self, contents: Contents, index: LogIndex) -> Vec<(u32, R)> {
        for key in &contents.heartbeats {
            if let Some(under_way) = self.under_way.get_mut(key) {
                under_way.index = index;
            }
        }
        let joined = self.joined_of(contents.number);
        self.settled.push_back(Settled { index, contents });
        joined
    }

    /// Forgets a batch which did not come about or is unknown.
    pub fn failed(&mut self, contents: &Contents) -> Vec<(u32, R)> {
        self.forget(contents);
        self.joined_of(contents.number)
    }

    /// Forgets what this node has applied: from here on the fold knows better.
    pub fn applied(&mut self, applied: LogIndex) {
        while self.settled.front().is_some_and(|settled| settled.index <= applied) {
            if let Some(settled) = self.settled.pop_front() {
                self.forget(&settled.contents);
            }
        }
    }

    fn forget(&mut self, contents: &Contents) {
        for heartbeat in &contents.heartbeats {
            self.under_way.remove(heartbeat);
        }
        for tag in &contents.tags {
            self.tags.remove(tag);
        }
    }

    fn again(&mut self, first: UnderWay, row: HeartbeatRow, waiter: R) -> RowPlace<R> {
        if first.digest != row.digest || first.epoch_low != row.epoch_low {
            return RowPlace::Contradicts(waiter);
        }
        if first.index > 0 {
            return RowPlace::Settling(first.index, waiter);
        }
        if self.joined.len() >= JOINED_MAX {
            return RowPlace::Full(waiter);
        }
        self.joined.push((first.batch, first.row, waiter));
        RowPlace::Joined
    }

    fn joined_of(&mut self, number: u64) -> Vec<(u32, R)> {
        let theirs = self.joined.extract_if(.., |(batch, _, _)| *batch == number);
        theirs.map(|(_, row, waiter)| (row, waiter)).collect()
    }
}

impl<R, E> Filling<R, E> {
    fn new() -> Self {
        let unnamed = BatchId { node: 0, boot: 0, counter: 0 };
        let batch = Batch::new(unnamed);
        Filling { batch, tags: Vec::new(), events_bytes: 0, rows: Vec::new(), events: Vec::new() }
    }
}

/// Why an event found no place.
#[derive(Debug)]
pub enum Refused<E> {
    Full(E),
    UnderWay(E),
    Malformed(E, EventError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::vocabulary::{CodeVoided, Tick};

    const ID: BatchId = BatchId { node: 1, boot: 2, counter: 3 };

    fn row(slot: Slot, sequence: Sequence, digest: u32) -> HeartbeatRow {
        HeartbeatRow { slot, epoch_low: 1, sequence, digest, seen_low: 0, unacked: 1, condition: 0 }
    }

    fn a_queue() -> Queue<&'static str, u32> {
        Queue::new(QueueLimits { rows_max: 8, events_max: 4 })
    }

    #[test]
    fn the_same_bytes_again_are_answered_with_the_first_and_logged_once() {
        let mut queue = a_queue();
        assert_eq!(queue.row(row(1, 1, 7), Favour::Favoured, || true, "first"), RowPlace::Placed);
        assert_eq!(queue.row(row(1, 1, 7), Favour::Favoured, || true, "while filling"), RowPlace::Joined);
        let taken = queue.take(ID);
        assert_eq!(taken.rows, ["first"]);
        assert_eq!(queue.row(row(1, 1, 7), Favour::Favoured, || true, "in flight"), RowPlace::Joined);
        let joined = queue.committed(taken.contents, 40);
        assert_eq!(joined, [(0, "while filling"), (0, "in flight")]);
        assert_eq!(
            queue.row(row(1, 1, 7), Favour::Favoured, || true, "not applied"),
            RowPlace::Settling(40, "not applied")
        );
        queue.applied(39);
        assert!(matches!(
            queue.row(row(1, 1, 7), Favour::Favoured, || true, "still not"),
            RowPlace::Settling(40, _)
        ));
        queue.applied(40);
        assert_eq!(
            queue.row(row(1, 1, 7), Favour::Favoured, || true, "the fold's to judge"),
            RowPlace::Placed
        );
    }

    #[test]
    fn other_content_under_the_same_sequence_does_not_join() {
        let mut queue = a_queue();
        queue.row(row(1, 1, 7), Favour::Favoured, || true, "first");
        assert_eq!(
            queue.row(row(1, 1, 8), Favour::Favoured, || true, "other"),
            RowPlace::Contradicts("other")
        );
        assert_eq!(queue.row(row(1, 2, 8), Favour::Favoured, || true, "next"), RowPlace::Placed);
    }

    #[test]
    fn a_batch_that_failed_leaves_nothing_behind() {
        let mut queue = a_queue();
        queue.row(row(1, 1, 7), Favour::Favoured, || true, "first");
        queue.row(row(1, 1, 7), Favour::Favoured, || true, "second");
        let taken = queue.take(ID);
        let joined = queue.failed(&taken.contents);
        assert_eq!(joined, [(0, "second")]);
        assert_eq!(queue.row(row(1, 1, 7), Favour::Favoured, || true, "retry"), RowPlace::Placed);
    }

    #[test]
    fn repeating_a_heartbeat_does_not_use_up_its_devices_rate() {
        let mut queue = a_queue();
        assert_eq!(queue.row(row(1, 1, 7), Favour::Common, || true, "first"), RowPlace::Placed);
        let spent = || panic!("a repetition must not ask for a token");
        assert_eq!(queue.row(row(1, 1, 7), Favour::Common, spent, "again"), RowPlace::Joined);
        assert_eq!(queue.row(row(1, 2, 7), Favour::Common, || false, "next"), RowPlace::TooFast("next"));
    }

    #[test]
    fn a_crowd_of_others_does_not_take_the_places_of_licensed_devices() {
        let mut queue = a_queue();
        let placed = |place| place == RowPlace::Placed;
        let common =
            (0..20).filter(|&slot| placed(queue.row(row(slot, 1, 0), Favour::Common, || true, "c"))).count();
        assert_eq!(common, 4);
        let favoured = (100..120)
            .filter(|&slot| placed(queue.row(row(slot, 1, 0), Favour::Favoured, || true, "f")))
            .count();
        assert_eq!(favoured, 4);
    }

    #[test]
    fn events_have_their_own_bounds_and_come_back_when_there_is_no_place() {
        let mut queue = a_queue();
        let tick = Event::from(Tick {});
        assert!(queue.event(&tick, Favour::Common, None, 1).is_ok());
        assert!(queue.event(&tick, Favour::Common, None, 2).is_ok());
        assert!(matches!(queue.event(&tick, Favour::Common, None, 3), Err(Refused::Full(3))));
        assert!(queue.event(&tick, Favour::Favoured, None, 4).is_ok());
        assert_eq!(queue.take(ID).events, [1, 2, 4]);
        let code = events::ids::CodeDigest::from_bytes([0; 16]);
        let huge = Event::from(CodeVoided { code, reason: "x".repeat(300_000) });
        assert!(matches!(queue.event(&huge, Favour::Favoured, None, 5), Err(Refused::Malformed(5, _))));
    }

    #[test]
    fn a_message_under_way_is_not_put_in_twice() {
        let mut queue = a_queue();
        let (tick, tag) = (Event::from(Tick {}), Some([7; 16]));
        assert!(queue.event(&tick, Favour::Common, tag, 1).is_ok());
        assert!(matches!(queue.event(&tick, Favour::Common, tag, 2), Err(Refused::UnderWay(2))));
        let taken = queue.take(ID);
        assert!(matches!(queue.event(&tick, Favour::Common, tag, 3), Err(Refused::UnderWay(3))));
        queue.committed(taken.contents, 9);
        assert!(matches!(queue.event(&tick, Favour::Common, tag, 4), Err(Refused::UnderWay(4))));
        queue.applied(9);
        assert!(queue.event(&tick, Favour::Common, tag, 5).is_ok());
    }

    #[test]
    fn whatever_fills_the_queue_fits_one_batch() {
        let mut queue: Queue<(), ()> = Queue::new(QueueLimits::within_batch(usize::MAX));
        for slot in 0..BATCH_HEARTBEATS_MAX as u32 + 9 {
            queue.row(row(slot, 1, 0), Favour::Favoured, || true, ());
        }
        let code = events::ids::CodeDigest::from_bytes([0; 16]);
        let event = Event::from(CodeVoided { code, reason: "x".repeat(1_000) });
        while queue.event(&event, Favour::Favoured, None, ()).is_ok() {}
        assert!(queue.take(ID).batch.encode().is_ok());
    }
}
