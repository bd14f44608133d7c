//! Heartbeats that say more than "still here".

use super::step::Step;
use crate::judgement::Judgement;
use crate::outcome::{HeartbeatStatus, Outcome};
use crate::state::device::UNHEEDED_MAX;
use crate::state::row::{Heard, marks};
use crate::state::window::Place;
use events::ids::{LogIndex, Sequence, Slot};
use events::vocabulary::HeartbeatObserved;
use events::vocabulary::operation::Settlement;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::DirectiveId;

impl Step<'_> {
    pub(crate) fn heartbeat_observed(&mut self, event: &HeartbeatObserved) -> Outcome {
        let Some(slot) = self.state.slot_of(&event.device) else {
            return Outcome::Refused(RejectionReason::NotAuthentic);
        };
        let heard = heard(event);
        match self.state.judge_regardless(slot, &heard) {
            Judgement::Routine | Judgement::Irregular => self.commit(slot, event),
            Judgement::CloneEvidence => self.evidence(slot, event),
            Judgement::Retry => Outcome::Observed(self.answer(slot, HeartbeatStatus::Retried)),
            Judgement::Replay => Outcome::Observed(self.answer(slot, HeartbeatStatus::Replayed)),
            Judgement::Stale | Judgement::UnknownEpoch | Judgement::BehindSeen => {
                Outcome::Observed(self.answer(slot, HeartbeatStatus::EpochStale))
            }
        }
    }

    /// The answer to a heartbeat of a batch that came before.
    pub(crate) fn observed_again(&self, event: &HeartbeatObserved) -> Outcome {
        let Some(slot) = self.state.slot_of(&event.device) else {
            return Outcome::Refused(RejectionReason::NotAuthentic);
        };
        let status = match self.state.judge_regardless(slot, &heard(event)) {
            Judgement::Retry => HeartbeatStatus::Retried,
            Judgement::Replay => HeartbeatStatus::Replayed,
            Judgement::CloneEvidence => HeartbeatStatus::CloneEvidence,
            Judgement::Routine
            | Judgement::Irregular
            | Judgement::Stale
            | Judgement::UnknownEpoch
            | Judgement::BehindSeen => HeartbeatStatus::EpochStale,
        };
        Outcome::Observed(self.answer(slot, status))
    }

    /// New in a current or pending epoch; the first word under a pending one confirms it.
    fn commit(&mut self, slot: Slot, event: &HeartbeatObserved) -> Outcome {
        self.hear(slot, event.epoch, event.seen);
        self.confirm(slot, event.epoch);
        let source = self.source(&event.source);
        let Some(row) = self.state.rows.get_mut(slot) else {
            return Outcome::Refused(RejectionReason::NotAuthentic);
        };
        let highest = row.window.highest();
        if row.window.accept(event.sequence, event.digest, event.acked) != Place::New {
            return Outcome::Observed(self.answer(slot, HeartbeatStatus::EpochStale));
        }
        row.source = source;
        row.last_heard = self.now;
        row.firmware = event.body.firmware;
        let condition_before = std::mem::replace(&mut row.condition, event.body.condition);
        let lease_is_due = row.has(marks::LICENSED) && row.lease_due <= self.now;
        if self.is_new_body(slot, event, highest) {
            self.count_heartbeat(slot, source);
        }
        self.tell_condition(slot, condition_before, event.body.condition);
        self.settle_obeyed(slot, event.body.obeyed);
        self.count_unheeded(slot, event.seen);
        self.hear_update(slot, condition_before, event.body.condition);
        let mut outcome = self.answer(slot, HeartbeatStatus::Committed);
        self.offer_update(slot, &mut outcome);
        if lease_is_due {
            outcome.license = self.lease(slot).map(Box::new);
        }
        Outcome::Observed(outcome)
    }

    /// Two hold one secret: the other branch of a fork speaks, or a sequence comes with other content. If the
    /// heartbeat is new all the same, it is committed too.
    fn evidence(&mut self, slot: Slot, event: &HeartbeatObserved) -> Outcome {
        if !self.hear(slot, event.epoch, event.seen) {
            self.convict(slot, &[self.index]);
        }
        let row = self.state.rows.get(slot);
        if row.is_some_and(|row| {
            row.epoch == event.epoch && row.window.place(event.sequence, event.digest) == Place::New
        }) {
            self.commit(slot, event);
        }
        Outcome::Observed(self.answer(slot, HeartbeatStatus::CloneEvidence))
    }

    /// The spool keeps a body's number across epochs, so that one that was sent again under a new epoch counts once
    /// (protocol.md rule 8). `highest` is the highest sequence of the epoch before this one.
    fn is_new_body(&mut self, slot: Slot, event: &HeartbeatObserved, highest: Sequence) -> bool {
        let (Some(row), Some(record)) = (self.state.rows.get(slot), self.state.records.get_mut(slot)) else {
            return false;
        };
        let number = event.body.number;
        number == 0 || record.numbers.say(row.boot_count, event.sequence, number, highest)
    }

    fn count_heartbeat(&mut self, slot: Slot, source: u32) {
        if let Some(row) = self.state.rows.get_mut(slot) {
            row.heartbeats += 1;
        }
        if let Some(source) = self.state.sources.get_mut(source) {
            source.heartbeats += 1;
        }
        self.state.heartbeats += 1;
    }

    /// What a device reports is what it obeyed. Anything lower is void: it obeys only higher ones from then on.
    fn settle_obeyed(&mut self, slot: Slot, obeyed: DirectiveId) {
        let Some(record) = self.state.records.get(slot) else { return };
        let up_to: Vec<_> = record.directives.iter().map(|d| d.view.id).filter(|id| *id <= obeyed).collect();
        for id in up_to {
            let settlement = if id == obeyed { Settlement::Obeyed } else { Settlement::Expired };
            self.settle(slot, id, settlement);
        }
    }

    /// The device verified a verdict that named a directive and went on without obeying it: it cannot, and those
    /// above it must not wait for ever. `seen` is of a heartbeat that reports nothing as high as that directive.
    pub(crate) fn count_unheeded(&mut self, slot: Slot, seen: LogIndex) {
        let Some(record) = self.state.records.get_mut(slot) else { return };
        let Some(directed) = record.directives.first_mut() else { return };
        if seen <= directed.named || seen >= self.index {
            return;
        }
        directed.unheeded += 1;
        let (id, unheeded) = (directed.view.id, directed.unheeded);
        if unheeded == UNHEEDED_MAX {
            self.settle(slot, id, Settlement::Refused);
        }
    }
}

fn heard(event: &HeartbeatObserved) -> Heard {
    Heard {
        epoch: event.epoch,
        sequence: event.sequence,
        digest: event.digest,
        acked: event.acked,
        seen: event.seen,
    }
}
