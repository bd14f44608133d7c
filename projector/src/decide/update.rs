//! What a rollout does by itself: goes on to its next phase, or stops. On log time and results alone, so that every
//! node and every replay decides the same.

use super::POLICY;
use crate::apply::step::Step;
use crate::effects::Notice;
use crate::state::State;
use crate::state::update::RolloutEnd;
use crate::view::RolloutEnding;
use events::ids::{LotId, Slot};
use events::update::{Offer, cohort};
use events::vocabulary::shared::Legitimacy;

impl State {
    /// The rollout that is for this lot and has not ended.
    pub(crate) fn active_rollout_of(&self, lot: &LotId) -> Option<u32> {
        let sku = &self.lots.get(lot)?.sku;
        let covers = |offer: &Offer| offer.scope.covers(lot, sku);
        self.index.active_rollouts.iter().find(|(_, active)| covers(&active.offer)).map(|(at, _)| *at)
    }

    /// Whether this device is among those that the rollout is for, now.
    pub(crate) fn is_due(&self, slot: Slot, at: u32) -> bool {
        let (Some(row), Some(record)) = (self.rows.get(slot), self.records.get(slot)) else { return false };
        let (Some(rollout), Some(active)) = (self.rollouts.get(at), self.index.active_rollouts.get(&at))
        else {
            return false;
        };
        let in_service = match row.legitimacy {
            Legitimacy::Retired => false,
            Legitimacy::Provisioned
            | Legitimacy::Legitimate
            | Legitimacy::Suspect
            | Legitimacy::Restricted
            | Legitimacy::Revoked => true,
        };
        in_service
            && row.firmware < active.offer.firmware
            && cohort(&active.offer.rollout, record.birth.device.as_bytes()) < rollout.permille()
    }

    /// Whether any device of this phase could still be told. Asked once per phase: it looks at every device.
    fn anybody_is_due(&self, at: u32) -> bool {
        let of_scope = |(slot, record): (Slot, &crate::state::device::Record)| {
            (self.active_rollout_of(&record.birth.lot) == Some(at)).then_some(slot)
        };
        self.records.numbered().filter_map(of_scope).any(|slot| self.is_due(slot, at))
    }
}

impl Step<'_> {
    /// Time passed for every rollout that has not ended.
    pub(crate) fn pass_rollouts(&mut self) {
        if self.state.index.active_rollouts.is_empty() {
            return;
        }
        let ended = |(at, active): (&u32, &crate::state::update::Active)| {
            (active.offer.not_after < self.now).then_some(*at)
        };
        let over: Vec<u32> = self.state.index.active_rollouts.iter().filter_map(ended).collect();
        for at in over {
            self.end_rollout(at, RolloutEnding::Expired, POLICY, "its offer ended");
        }
        let active: Vec<u32> = self.state.index.active_rollouts.keys().copied().collect();
        for at in active {
            self.pass_phase(at);
        }
    }

    fn pass_phase(&mut self, at: u32) {
        let Some(rollout) = self.state.rollouts.get(at) else { return };
        if !rollout.is_running() || rollout.awaits_results || !rollout.has_next_phase() {
            return;
        }
        if !rollout.phase_is_over(self.now) {
            return;
        }
        // A phase in which nobody was told proves nothing, unless there is nobody in it.
        let proven = rollout.offered > 0 && rollout.went_well();
        let empty = rollout.offered == 0 && !self.state.anybody_is_due(at);
        self.go_on(at, proven || empty);
    }

    fn go_on(&mut self, at: u32, may: bool) {
        let now = self.now;
        if let Some(rollout) = self.state.rollouts.get_mut(at) {
            match may {
                true => rollout.begin_phase(rollout.phase + 1, now),
                false => rollout.awaits_results = true,
            }
        }
        if may {
            self.tell_rollout(at);
        }
    }

    /// A device's result came in.
    pub(crate) fn weigh_rollout(&mut self, at: u32) {
        let Some(rollout) = self.state.rollouts.get(at) else { return };
        if !rollout.is_active() {
            return;
        }
        if rollout.goes_badly() {
            let (failed, results) = (rollout.failures(), rollout.failures() + rollout.installed);
            let why = format!("{failed} of {results} results are failures");
            let rollout = rollout.id();
            self.end_rollout(at, RolloutEnding::Aborted, POLICY, &why);
            return self.notice(Notice::UpdateAborted { rollout, failed, results });
        }
        if rollout.is_running() && rollout.awaits_results && rollout.has_next_phase() && rollout.went_well() {
            self.go_on(at, true);
        }
    }

    pub(crate) fn end_rollout(&mut self, at: u32, how: RolloutEnding, by: &str, reason: &str) {
        let end =
            RolloutEnd { index: self.index, at: self.now, how, by: by.to_owned(), reason: reason.to_owned() };
        if let Some(rollout) = self.state.rollouts.get_mut(at) {
            rollout.end = Some(end);
            self.state.index.active_rollouts.remove(&at);
        }
        self.tell_rollout(at);
    }
}
