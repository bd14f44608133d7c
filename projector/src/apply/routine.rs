//! Routine heartbeats: nearly all of the log. By slot, without hashing, without the cold record, without allocation
//! but for what is not usual.
//!
//! ```text
//!   rows ─▶ a few at a time: look at all their devices ─▶ one after the other ─┬─▶ as nearly all: hear ─▶ the usual outcome
//!                            (memory answers together)                         └─▶ judge everything ─▶ an outcome of its own
//! ```

use super::step::Step;
use crate::outcome::{HeartbeatOutcome, HeartbeatOutcomes, HeartbeatStatus};
use crate::state::row::{Row, marks};
use crate::state::story::Happening;
use crate::state::window::Place;
use events::batch::{ArchivedHeartbeatColumns, HeartbeatRow};
use events::ids::{LogIndex, Slot};
use events::vocabulary::heartbeat::condition;
use events::vocabulary::shared::Legitimacy;

/// Devices whose rows are looked at before the first of them is written: as many as a core has misses under way.
const LOOKED_AT: usize = 32;

/// What sends every row the long way.
const UNUSUAL: u8 = marks::FORKED | marks::DIRECTED;

impl Step<'_> {
    /// Applies the rows of a batch in their order.
    pub(crate) fn routine_rows(
        &mut self,
        heartbeats: &ArchivedHeartbeatColumns,
        outcomes: &mut HeartbeatOutcomes,
    ) {
        // No row begins a rollout; what rows end is seen with the next batch, and until then they take the long way.
        let told_of_updates = !self.state.index.active_rollouts.is_empty();
        for part in heartbeats.parts(LOOKED_AT) {
            self.look_at(part.slots());
            for heard in part.rows() {
                if !told_of_updates && self.hear_usual(&heard) {
                    outcomes.push_usual();
                } else {
                    let outcome = self.routine(&heard);
                    outcomes.push(outcome);
                }
            }
        }
    }

    /// Asks memory for all rows at once: at a million devices each is a miss, and waited for one by one they would cost
    /// more than everything else.
    fn look_at(&self, slots: impl Iterator<Item = Slot>) {
        let rows = &self.state.rows;
        let touch = |(row, is_own): (&Row, bool)| row.touch() ^ u8::from(is_own);
        let seen = slots.fold(0, |seen, slot| seen ^ rows.look_at(slot).map_or(0, touch));
        std::hint::black_box(seen);
    }

    /// Takes in what nearly all rows are: the next of its device's session, about which there is nothing to say. False,
    /// and nothing changed, if it may be anything else.
    fn hear_usual(&mut self, heard: &HeartbeatRow) -> bool {
        let Some(row) = self.state.rows.get_mut(heard.slot) else { return false };
        let usual = row.epoch as u16 == heard.epoch_low
            && row.epoch != 0
            && row.condition == heard.condition
            && row.legitimacy == Legitimacy::Legitimate
            && !row.has(UNUSUAL)
            && !(row.has(marks::LICENSED) && row.lease_due <= self.now);
        let acked = heard.sequence.saturating_sub(u32::from(heard.unacked));
        if !usual || !row.window.advance(heard.sequence, heard.digest, acked) {
            return false;
        }
        row.heartbeats += 1;
        row.last_heard = self.now;
        let source = row.source;
        if let Some(source) = self.state.sources.get_mut(source) {
            source.heartbeats += 1;
            source.last_heard = self.now;
        }
        self.state.heartbeats += 1;
        true
    }

    /// Judges one row again: the state may have moved since a node admitted it.
    fn routine(&mut self, heard: &HeartbeatRow) -> HeartbeatOutcome {
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

/// The highest index up to this entry's that has these low bits: only they travel. Where there is none the row is nonsense,
/// and so is what comes of it.
fn seen_of_row(index: LogIndex, seen_low: u32) -> LogIndex {
    index.wrapping_sub(u64::from((index as u32).wrapping_sub(seen_low)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;
    use crate::state::source::Source;
    use events::batch::{Batch, BatchId, access};
    use events::time::Timestamp;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(50);

    /// Devices in every state that a row is judged by.
    fn state() -> impl Strategy<Value = State> {
        let row = (0u32..3, any::<bool>(), prop::sample::select(Legitimacy::ALL), 0u8..8, 0u64..100, 0u32..4);
        prop::collection::vec(row, 1..80).prop_map(|rows| {
            let mut state = State { stamp: NOW, heartbeat_millis: 60_000, ..State::default() };
            for name in ["shop-1", "shop-2", "shop-3"] {
                state.sources.push(Source::new(name.parse().unwrap(), Timestamp::ZERO));
            }
            for (epoch, condition, legitimacy, marks, lease_due, source) in rows {
                state.rows.push(Row {
                    epoch,
                    condition: u8::from(condition),
                    legitimacy,
                    marks,
                    lease_due: Timestamp::from_millis(lease_due),
                    source,
                    ..Row::new(1)
                });
            }
            state
        })
    }

    fn rows() -> impl Strategy<Value = Vec<HeartbeatRow>> {
        let row = (0u32..90, 0u16..3, 0u32..80, 0u32..3, any::<u32>(), 0u8..4, 0u8..2);
        prop::collection::vec(row, 0..300).prop_map(|rows| {
            let row = |(slot, epoch_low, sequence, digest, seen_low, unacked, condition)| HeartbeatRow {
                slot,
                epoch_low,
                sequence,
                digest,
                seen_low,
                unacked,
                condition,
            };
            rows.into_iter().map(row).collect()
        })
    }

    #[test]
    fn what_a_row_saw_is_the_last_entry_with_its_low_bits_and_nonsense_is_no_panic() {
        assert_eq!([seen_of_row(5, 5), seen_of_row(5, 3)], [5, 3]);
        let round = 1 << 32;
        assert_eq!([seen_of_row(round + 5, 3), seen_of_row(round + 5, 9)], [round + 3, 9]);
        assert!(seen_of_row(5, 9) > 5, "no entry has these bits");
    }

    proptest! {
        #[test]
        fn the_short_way_leaves_what_the_long_way_would_have_left(before in state(), rows in rows()) {
            let (mut short, mut long) = (before.clone(), before);
            let mut batch = Batch::new(BatchId { node: 1, boot: 1, counter: 1 });
            rows.iter().for_each(|row| batch.heartbeats.push(*row));
            let bytes = batch.encode().unwrap();

            let mut outcomes = HeartbeatOutcomes::new(60_000);
            Step::begin(&mut short, 1, NOW).routine_rows(&access(&bytes).unwrap().heartbeats, &mut outcomes);
            let mut step = Step::begin(&mut long, 1, NOW);
            let expected: Vec<_> = rows.iter().map(|row| step.routine(row)).collect();

            prop_assert_eq!(short, long);
            prop_assert!(outcomes.iter().eq(&expected));
        }
    }
}
