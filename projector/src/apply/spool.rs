//! What a heartbeat brings from a terminal's spool.
//!
//! Invariant: nothing is derived from a spooled body but counts and lines for people. When it was made is the terminal's
//! word alone, so it neither makes the device heard now, nor sets its condition, nor speaks for or against it.

use super::step::Step;
use crate::outcome::{HeartbeatStatus, Outcome};
use crate::state::story::Brought;
use events::ids::Slot;
use events::limits::SPOOLED_BODIES_MAX;
use events::vocabulary::SpoolDrained;
use events::vocabulary::heartbeat::SpooledBody;

impl Step<'_> {
    /// The bodies count if the heartbeat that brings them does: a verdict on anything else makes the terminal keep them.
    pub(crate) fn spool_drained(&mut self, event: &SpoolDrained) -> Outcome {
        let outcome = self.heartbeat_observed(&event.heartbeat);
        let committed =
            matches!(&outcome, Outcome::Observed(seen) if seen.status == HeartbeatStatus::Committed);
        if committed && let Some(slot) = self.state.slot_of(&event.heartbeat.device) {
            self.take_spooled(slot, &event.spooled);
        }
        outcome
    }

    fn take_spooled(&mut self, slot: Slot, spooled: &[SpooledBody]) {
        let (Some(row), Some(record)) = (self.state.rows.get_mut(slot), self.state.records.get_mut(slot))
        else {
            return;
        };
        let running = row.boot_count;
        let mut brought: Option<Brought> = None;
        for body in spooled.iter().take(SPOOLED_BODIES_MAX) {
            // No boot comes after the one that speaks.
            if body.boot_count <= running
                && body.number > 0
                && record.numbers.take(body.boot_count, body.number)
            {
                let one = Brought::one(body);
                brought = Some(brought.map_or(one, |sum| sum.and(one)));
            }
        }
        let Some(brought) = brought else { return };
        let count = u64::from(brought.bodies);
        record.spooled += count;
        row.heartbeats += count;
        self.state.heartbeats += count;
        record.story.tell_brought(self.index, self.now, brought);
    }
}
