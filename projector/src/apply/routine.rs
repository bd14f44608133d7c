//! Routine heartbeats: nearly all of the log. By slot, without hashing, without the cold record, without allocation
//! but for what is not usual.

use super::step::Step;
use crate::outcome::{HeartbeatOutcome, HeartbeatStatus};
use crate::state::row::{Row, marks};
use crate::state::story::Happening;
use crate::state::window::Place;
use events::batch::HeartbeatRow;
use events::ids::{LogIndex, Slot};
use events::vocabulary::heartbeat::condition;

impl Step<'_> {
    /// Judges one row again: the state may have moved since a node admitted it.
    pub(crate) fn routine(&mut self, heard: &HeartbeatRow) -> HeartbeatOutcome {
        let Some(row) = self.state.rows.get_mut(heard.slot) else { return self.unknown_slot() };
        if !is_routine(row, heard) {
            return self.answer(heard.slot, HeartbeatStatus::Again);
        }
        let acked = heard.sequence.saturating_sub(u32::from(heard.unacked));
        let place = row.window.accept(heard.sequence, heard.digest, acked);
        if place != Place::New {
            return self.answer(heard.slot, status_of_row(place));
        }
        row.heartbeats += 1;
        row.last_heard = self.now;
        let condition_before = std::mem::replace(&mut row.condition, heard.condition);
        let (source, lease_is_due) = (row.source, row.has(marks::LICENSED) && row.lease_due <= self.now);
        let directed = row.has(marks::DIRECTED);
        if let Some(source) = self.state.sources.get_mut(source) {
            source.heartbeats += 1;
            source.last_heard = self.now;
        }
        self.state.heartbeats += 1;
        if condition_before != heard.condition {
            self.tell_condition(heard.slot, condition_before, heard.condition);
        }
        if directed {
            // What reports a directive as obeyed comes as an event while one is not settled.
            self.count_unheeded(heard.slot, seen_of_row(self.index, heard.seen_low));
        }
        if condition_before != heard.condition {
            self.hear_update(heard.slot, condition_before, heard.condition);
        }
        let mut outcome = self.answer(heard.slot, HeartbeatStatus::Committed);
        self.offer_update(heard.slot, &mut outcome);
        if lease_is_due {
            outcome.license = self.lease(heard.slot).map(Box::new);
        }
        outcome
    }

    /// The answer to a row of a batch that came before: what the window still knows.
    pub(crate) fn routine_again(&self, heard: &HeartbeatRow) -> HeartbeatOutcome {
        let Some(row) = self.state.rows.get(heard.slot) else { return self.unknown_slot() };
        if row.epoch == 0 || row.epoch as u16 != heard.epoch_low {
            return self.answer(heard.slot, HeartbeatStatus::EpochStale);
        }
        self.answer(heard.slot, status_of_row(row.window.place(heard.sequence, heard.digest)))
    }

    /// A node admits only slots that the log assigned; nobody waits for this answer.
    fn unknown_slot(&self) -> HeartbeatOutcome {
        HeartbeatOutcome {
            status: HeartbeatStatus::EpochStale,
            ..HeartbeatOutcome::usual(self.state.heartbeat_millis)
        }
    }

    pub(crate) fn tell_condition(&mut self, slot: Slot, before: u8, after: u8) {
        let restricted = after & condition::RESTRICTED != 0;
        if restricted != (before & condition::RESTRICTED != 0) {
            self.tell(slot, Happening::BootCheck { restricted });
        }
    }
}

/// Only the low bits of the epoch travel; a device never has two epochs that share them.
fn is_routine(row: &Row, heard: &HeartbeatRow) -> bool {
    row.epoch != 0 && row.epoch as u16 == heard.epoch_low && heard.sequence != 0 && !row.has(marks::FORKED)
}

/// The highest index up to this entry's that has these low bits: only they travel.
fn seen_of_row(index: LogIndex, seen_low: u32) -> LogIndex {
    index - u64::from((index as u32).wrapping_sub(seen_low))
}

/// A row carries too little to prove a clone: what contradicts is to be proposed again with everything it says.
fn status_of_row(place: Place) -> HeartbeatStatus {
    match place {
        Place::New | Place::Contradicted => HeartbeatStatus::Again,
        Place::Repeated => HeartbeatStatus::Retried,
        Place::Answered => HeartbeatStatus::Replayed,
        Place::TooOld => HeartbeatStatus::EpochStale,
    }
}
