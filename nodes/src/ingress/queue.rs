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
/// Those of one message: what a terminal repeats within the moment that a batch takes.
const JOINED_PER_ROW_MAX: u8 = 4;

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
    /// The same bytes are under way, and whoever repeats them does it too often.
    TooOften(R),
    /// It is new, and its device has no token left for one.
    TooFast(R),
    Full(R),
}

/// What a place costs, asked for only once there is one: nobody pays for what he does not get.
pub struct Toll<N, A> {
    /// Takes a token of the device, for what is new.
    pub new: N,
    /// Takes a token of who repeats: repeating a device's bytes must not use up its rate.
    pub again: A,
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
    /// How many joined it.
    joined: u8,
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

    /// Heartbeats and events that wait for the next batch.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.filling.rows.len(), self.filling.events.len())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filling.batch.is_empty()
    }

    /// Puts a routine heartbeat into the next batch, or lets it join itself.
    pub fn row(
        &mut self,
        row: HeartbeatRow,
        favour: Favour,
        toll: Toll<impl FnOnce() -> bool, impl FnOnce(&R) -> bool>,
        waiter: R,
    ) -> RowPlace<R> {
        if self.holds(row.slot, row.sequence) {
            return self.again(row, toll.again, waiter);
        }
        let max = match favour {
            Favour::Favoured => self.limits.rows_max,
            Favour::Common => self.limits.rows_max.div_ceil(2),
        };
        if self.filling.rows.len() >= max {
            return RowPlace::Full(waiter);
        }
        if !(toll.new)() {
            return RowPlace::TooFast(waiter);
        }
        let (batch, at) = (self.number, self.filling.rows.len() as u32);
        let first =
            UnderWay { digest: row.digest, epoch_low: row.epoch_low, batch, row: at, joined: 0, index: 0 };
        self.under_way.insert((row.slot, row.sequence), first);
        self.filling.batch.heartbeats.push(row);
        self.filling.rows.push(waiter);
        RowPlace::Placed
    }

    /// Whether a row of this sequence is under way.
    #[must_use]
    pub fn holds(&self, slot: Slot, sequence: Sequence) -> bool {
        self.under_way.contains_key(&(slot, sequence))
    }

    /// Whether an event of so many bytes would find a place.
    #[must_use]
    pub fn has_place(&self, bytes: usize, favour: Favour) -> bool {
        let (events_max, bytes_max) = match favour {
            Favour::Favoured => (self.limits.events_max, EVENTS_BYTES_MAX),
            Favour::Common => (self.limits.events_max.div_ceil(2), EVENTS_BYTES_MAX / 2),
        };
        let total = self.filling.events_bytes + bytes + EVENT_OVERHEAD_BYTES;
        self.filling.events.len() < events_max && total <= bytes_max
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
        match EncodedEvent::of(event) {
            Ok(event) => self.encoded(event, favour, tag, waiter),
            Err(why) => Err(Refused::Malformed(waiter, why)),
        }
    }

    /// [`Queue::event`] of one that is encoded already.
    pub fn encoded(
        &mut self,
        event: EncodedEvent,
        favour: Favour,
        tag: Option<MessageTag>,
        waiter: E,
    ) -> Result<(), Refused<E>> {
        if tag.is_some_and(|tag| self.tags.contains(&tag)) {
            return Err(Refused::UnderWay(waiter));
        }
        if !self.has_place(event.bytes.len(), favour) {
            return Err(Refused::Full(waiter));
        }
        self.filling.events_bytes += event.bytes.len() + EVENT_OVERHEAD_BYTES;
        self.filling.batch.events.push(event);
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

    fn again(&mut self, row: HeartbeatRow, token: impl FnOnce(&R) -> bool, waiter: R) -> RowPlace<R> {
        let Some(first) = self.under_way.get_mut(&(row.slot, row.sequence)) else {
            return RowPlace::Full(waiter);
        };
        if first.digest != row.digest || first.epoch_low != row.epoch_low {
            return RowPlace::Contradicts(waiter);
        }
        if first.index > 0 {
            return RowPlace::Settling(first.index, waiter);
        }
        if self.joined.len() >= JOINED_MAX {
            return RowPlace::Full(waiter);
        }
        if first.joined >= JOINED_PER_ROW_MAX || !token(&waiter) {
            return RowPlace::TooOften(waiter);
        }
        first.joined += 1;
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
mod tests;
