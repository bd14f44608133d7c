//! What the log holds above its purge floor, in memory: positions of all entries, and the bodies of recent ones.
//!
//! Invariants: `slots` has no holes and begins at `first`; entries from `cached_from` on hold their body; a slot
//! without a body has a place on disk.

use super::error::StorageError;
use super::gaps::Gap;
use super::segment_file::Place;
use bytes::Bytes;
use events::ids::LogIndex;
use events::log::record::{EntryBody, LogPosition, PurgeFloor, Record, VoteRecord};
use events::log::standing::{Standing, StandingError};
use std::collections::VecDeque;
use std::ops::Range;

/// A raft entry as storage knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub at: LogPosition,
    pub body: EntryBody<Bytes>,
}

/// Names one append, so that a late word about where it was written never reaches an entry that replaced it.
pub(super) type Ticket = u64;

pub(super) struct LogView {
    standing: Standing,
    first: u64,
    slots: VecDeque<Slot>,
    cached_from: u64,
    cached_bytes: usize,
    cache_bytes_max: usize,
    next_ticket: Ticket,
}

struct Slot {
    term: u64,
    ticket: Ticket,
    place: Option<Place>,
    body: Option<EntryBody<Bytes>>,
}

/// An entry found: at hand, or on disk.
pub(super) enum Found {
    Cached(LogEntry),
    OnDisk(LogPosition, Place),
}

/// What a cached entry costs beside its bytes, roughly.
const CACHED_OVERHEAD_BYTES: usize = 64;

impl LogView {
    /// A log that stands there and whose earlier entries are out of sight.
    pub(super) fn new(standing: Standing, cache_bytes_max: usize) -> Self {
        let first = standing.last.map_or(0, |last| last.index + 1);
        LogView {
            standing,
            first,
            slots: VecDeque::new(),
            cached_from: first,
            cached_bytes: 0,
            cache_bytes_max,
            next_ticket: 0,
        }
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    pub(super) fn save_vote(&mut self, vote: VoteRecord) -> Result<(), StandingError> {
        self.standing.follow(&Record::<Bytes>::Vote(vote))
    }

    /// Whether this says anything new.
    pub(super) fn commit(&mut self, position: LogPosition) -> Result<bool, StandingError> {
        if self.standing.committed >= Some(position) {
            return Ok(false);
        }
        self.standing.follow(&Record::<Bytes>::Committed(position)).map(|()| true)
    }

    /// Takes all of `entries`, or none if they do not follow.
    pub(super) fn append(&mut self, entries: &[LogEntry]) -> Result<Ticket, StandingError> {
        let mut standing = self.standing;
        for entry in entries {
            standing.follow(&Record::<Bytes>::Entry { at: entry.at, body: EntryBody::Blank })?;
        }
        self.standing = standing;
        self.next_ticket += 1;
        for entry in entries {
            self.cached_bytes += cost(&entry.body);
            self.push(
                entry.at,
                Slot {
                    term: entry.at.term,
                    ticket: self.next_ticket,
                    place: None,
                    body: Some(entry.body.clone()),
                },
            );
        }
        Ok(self.next_ticket)
    }

    /// Takes an entry that was found on disk.
    pub(super) fn recover(&mut self, at: LogPosition, place: Place) -> Result<(), StandingError> {
        self.standing.follow(&Record::<Bytes>::Entry { at, body: EntryBody::Blank })?;
        self.push(at, Slot { term: at.term, ticket: 0, place: Some(place), body: None });
        self.cached_from = self.end();
        Ok(())
    }

    fn push(&mut self, at: LogPosition, slot: Slot) {
        if self.slots.is_empty() {
            self.first = at.index;
            self.cached_from = at.index;
        }
        self.slots.push_back(slot);
    }

    /// Removes every entry after `keep`; whether there was any.
    pub(super) fn truncate(&mut self, keep: Option<LogPosition>) -> Result<bool, StandingError> {
        if keep.map(|keep| keep.index) > self.standing.last.map(|last| last.index)
            || keep == self.standing.last
        {
            return Ok(false);
        }
        let known = keep.is_none_or(|keep| self.standing.floor == Some(keep) || self.holds(keep));
        if !known {
            return Err(StandingError::TruncationMissing { keep: keep.map(|keep| (keep.term, keep.index)) });
        }
        self.recover_truncation(keep)?;
        Ok(true)
    }

    /// Follows a truncation that was found on disk.
    pub(super) fn recover_truncation(&mut self, keep: Option<LogPosition>) -> Result<(), StandingError> {
        self.standing.follow(&Record::<Bytes>::Truncation { keep })?;
        self.drop_after(keep.map(|keep| keep.index));
        Ok(())
    }

    /// Raises the purge floor; `None` if it is there already. A snapshot past the log ends the local history at what
    /// was known committed: local entries beyond that may never have been agreed on.
    pub(super) fn purge(&mut self, floor: LogPosition) -> Result<Option<PurgeFloor>, StorageError> {
        if self.standing.floor >= Some(floor) {
            return Ok(None);
        }
        if let Some(slot) = self.slot(floor.index).filter(|slot| slot.term != floor.term) {
            let (index, held, purged) = (floor.index, slot.term, floor.term);
            return Err(StorageError::PurgeConflict { index, held, purged });
        }
        let history_through = self.history_through(floor);
        let purge = PurgeFloor { floor, history_through };
        self.recover_floor(purge)?;
        Ok(Some(purge))
    }

    /// Up to where this log would hold history below `floor`.
    fn history_through(&self, floor: LogPosition) -> Option<LogIndex> {
        if self.slot(floor.index).is_some() {
            return Some(floor.index);
        }
        let sure = self.standing.committed.max(self.standing.floor);
        sure.map(|position| position.index.min(floor.index))
    }

    /// What the log would lack of history once it is purged through `floor`.
    pub(super) fn gap_below(&self, floor: LogPosition) -> Option<Gap> {
        if self.standing.floor >= Some(floor) {
            return None;
        }
        let from = self.history_through(floor).map_or(0, |through| through + 1);
        (from <= floor.index).then_some(Gap { from, through: floor.index, term: floor.term })
    }

    /// Follows a purge floor that was found on disk.
    pub(super) fn recover_floor(&mut self, purge: PurgeFloor) -> Result<(), StandingError> {
        self.standing.follow(&Record::<Bytes>::PurgeFloor(purge))?;
        while self.first <= purge.floor.index
            && let Some(slot) = self.slots.pop_front()
        {
            self.cached_bytes -= slot.body.as_ref().map_or(0, cost);
            self.first += 1;
        }
        self.cached_from = self.cached_from.max(self.first);
        Ok(())
    }

    /// Notes where entry `index` was written, and forgets old bodies if there are too many.
    pub(super) fn placed(&mut self, index: u64, ticket: Ticket, place: Place) {
        if let Some(slot) = self.slot_mut(index)
            && slot.ticket == ticket
        {
            slot.place = Some(place);
        }
        while self.cached_bytes > self.cache_bytes_max && self.evict_oldest() {}
    }

    fn evict_oldest(&mut self) -> bool {
        let Some(slot) = self.slot_mut(self.cached_from).filter(|slot| slot.place.is_some()) else {
            return false;
        };
        let freed = slot.body.take().as_ref().map_or(0, cost);
        self.cached_bytes -= freed;
        self.cached_from += 1;
        true
    }

    /// The entries in `range` that are here, in order, until their bytes exceed `bytes_max`; at least one if any is.
    pub(super) fn find(&self, range: Range<u64>, bytes_max: usize) -> Vec<Found> {
        let (start, end) = (range.start.max(self.first), range.end.min(self.end()));
        let (mut found, mut bytes) = (Vec::new(), 0);
        for index in start..end {
            let Some(slot) = self.slot(index) else { break };
            let at = LogPosition { term: slot.term, index };
            match (&slot.body, &slot.place) {
                (Some(body), _) => {
                    bytes += cost(body);
                    found.push(Found::Cached(LogEntry { at, body: body.clone() }));
                }
                (None, Some(place)) => {
                    bytes += place.length as usize;
                    found.push(Found::OnDisk(at, place.clone()));
                }
                (None, None) => unreachable!("a slot without a body has a place"),
            }
            if bytes > bytes_max {
                break;
            }
        }
        found
    }

    /// Whether an entry above the purge floor may lie in `segment`.
    pub(super) fn reads(&self, segment: u64) -> bool {
        let first = self.slots.front().and_then(|slot| slot.place.as_ref());
        first.is_some_and(|place| place.segment.cipher.identity().segment <= segment)
    }

    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    fn holds(&self, at: LogPosition) -> bool {
        self.slot(at.index).is_some_and(|slot| slot.term == at.term)
    }

    fn drop_after(&mut self, keep: Option<u64>) {
        while keep.is_none_or(|keep| self.end() > keep + 1)
            && let Some(slot) = self.slots.pop_back()
        {
            self.cached_bytes -= slot.body.as_ref().map_or(0, cost);
        }
        self.cached_from = self.cached_from.min(self.end());
    }
}

fn cost(body: &EntryBody<Bytes>) -> usize {
    body.bytes().len() + CACHED_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests;
