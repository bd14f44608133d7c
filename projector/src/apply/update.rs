//! Software update: rollouts that people start and stop, who is told of them, and what became of it.
//!
//! That an offer waits is no event and no order: it follows from the state whenever a heartbeat is answered. So a
//! rollout to a million devices costs the log a handful of entries, and a replay, which answers nobody, offers nothing.

use super::step::Step;
use crate::outcome::{Decline, DirectiveView, HeartbeatOutcome, Outcome};
use crate::state::update::{Active, Rollout, RolloutStanding, Trial, Tried};
use crate::view::RolloutEnding;
use events::ids::{RolloutId, Slot};
use events::limits::UPDATE_PHASES_MAX;
use events::update::{Offer, PERMILLE, SignedOffer, failure_in};
use events::vocabulary::shared::{DirectiveId, OperationKind};
use events::vocabulary::update::RolloutRules;
use events::vocabulary::{UpdateAborted, UpdateCreated, UpdatePaused, UpdateResumed};
use std::collections::BTreeMap;

/// What a person wrote is kept up to this length, in characters.
const TEXT_CHARS_MAX: usize = 200;

impl Step<'_> {
    /// The proposing node checked the signature. A newer version takes the place of the one that is under way.
    pub(crate) fn update_created(&mut self, ordinal: u16, event: UpdateCreated) -> Outcome {
        let Ok(signed) = SignedOffer::parse(&event.offer) else {
            return Outcome::Declined(Decline::Malformed);
        };
        let offer = signed.unverified().clone();
        if let Some(known) = self.state.index.rollouts.get(&offer.rollout) {
            let same = self.state.rollouts.get(*known).is_some_and(|rollout| rollout.signed == event.offer);
            return if same { Outcome::Duplicate } else { Outcome::Declined(Decline::UpdateConflict) };
        }
        if let Err(decline) = self.check_update(&offer, &event.rules) {
            return Outcome::Declined(decline);
        }
        for at in self.overlapping(&offer) {
            let reason = format!("replaced by {}", offer.rollout);
            self.end_rollout(at, RolloutEnding::Replaced, &clip(&event.by), &reason);
        }
        let rollout = Rollout {
            signed: event.offer,
            rules: event.rules,
            created: self.index,
            ordinal,
            created_at: self.now,
            by: clip(&event.by),
            reason: clip(&event.reason),
            standing: RolloutStanding::Running,
            phase: 0,
            phase_began: self.now,
            awaits_results: false,
            offered: 0,
            installed: 0,
            failed: BTreeMap::new(),
            told: 0,
            minute: 0,
            end: None,
        };
        let at = self.state.rollouts.push(rollout);
        self.state.index.rollouts.insert(offer.rollout, at);
        self.state.index.active_rollouts.insert(at, Active { offer });
        self.tell_rollout(at);
        Outcome::Accepted
    }

    fn check_update(&self, offer: &Offer, rules: &RolloutRules) -> Result<(), Decline> {
        if !is_well_formed(rules) || offer.not_after <= self.now {
            return Err(Decline::Malformed);
        }
        let known = match &offer.scope {
            events::update::UpdateScope::Lots(lots) => {
                lots.iter().all(|lot| self.state.lots.contains_key(lot))
            }
            events::update::UpdateScope::Sku(sku) => self.state.lots.values().any(|lot| lot.sku == *sku),
        };
        if !known {
            return Err(Decline::UnknownLot);
        }
        let is_older = |at: &u32| {
            self.state
                .index
                .active_rollouts
                .get(at)
                .is_some_and(|under_way| under_way.offer.firmware >= offer.firmware)
        };
        if self.overlapping(offer).iter().any(is_older) { Err(Decline::UpdateUnderWay) } else { Ok(()) }
    }

    /// Rollouts under way that are for a lot of this offer too.
    fn overlapping(&self, offer: &Offer) -> Vec<u32> {
        let shares = |under_way: &Offer| {
            let lots = self.state.lots.iter();
            let both = |(id, lot): (&events::ids::LotId, &crate::state::factory::Lot)| {
                under_way.scope.covers(id, &lot.sku) && offer.scope.covers(id, &lot.sku)
            };
            lots.into_iter().any(both)
        };
        let active = self.state.index.active_rollouts.iter();
        active.filter(|(_, active)| shares(&active.offer)).map(|(at, _)| *at).collect()
    }

    pub(crate) fn update_paused(&mut self, event: &UpdatePaused) -> Outcome {
        self.switch_rollout(&event.rollout, RolloutStanding::Paused, &event.by, &event.reason)
    }

    pub(crate) fn update_resumed(&mut self, event: &UpdateResumed) -> Outcome {
        self.switch_rollout(&event.rollout, RolloutStanding::Running, &event.by, &event.reason)
    }

    /// The phase begins anew, so that what was paused for a month does not go on at once.
    fn switch_rollout(
        &mut self,
        rollout: &RolloutId,
        to: RolloutStanding,
        by: &str,
        reason: &str,
    ) -> Outcome {
        let Some(&at) = self.state.index.rollouts.get(rollout) else {
            return Outcome::Declined(Decline::UnknownUpdate);
        };
        let now = self.now;
        let Some(rollout) = self.state.rollouts.get_mut(at) else {
            return Outcome::Declined(Decline::UnknownUpdate);
        };
        if !rollout.is_active() {
            return Outcome::Declined(Decline::UpdateEnded);
        }
        if rollout.standing == to {
            return Outcome::Duplicate;
        }
        rollout.standing = to;
        (rollout.by, rollout.reason) = (clip(by), clip(reason));
        if to == RolloutStanding::Running {
            rollout.begin_phase(rollout.phase, now);
        }
        self.tell_rollout(at);
        Outcome::Accepted
    }

    pub(crate) fn update_aborted(&mut self, event: &UpdateAborted) -> Outcome {
        let Some(&at) = self.state.index.rollouts.get(&event.rollout) else {
            return Outcome::Declined(Decline::UnknownUpdate);
        };
        if self.state.rollouts.get(at).is_none_or(|rollout| !rollout.is_active()) {
            return Outcome::Duplicate;
        }
        self.end_rollout(at, RolloutEnding::Aborted, &clip(&event.by), &clip(&event.reason));
        Outcome::Accepted
    }

    /// Names the update that waits for a device, in the answer to a heartbeat that was committed, if nothing else is
    /// to be obeyed. Costs nothing while no rollout is under way.
    pub(crate) fn offer_update(&mut self, slot: Slot, outcome: &mut HeartbeatOutcome) {
        if self.state.index.active_rollouts.is_empty() || outcome.directive.is_some() {
            return;
        }
        let Some(record) = self.state.records.get(slot) else { return };
        let Some(at) = self.state.active_rollout_of(&record.birth.lot) else { return };
        let told = record.incidents.tried.filter(|tried| tried.rollout == at);
        let is_named = match told.map(|tried| tried.result) {
            Some(Trial::Open) => self.is_running(at) && self.state.is_due(slot, at),
            // It gave up, or is done: it is never told again.
            Some(Trial::Installed | Trial::Failed(_)) => false,
            None => self.is_running(at) && self.state.is_due(slot, at) && self.tell_device(slot, at),
        };
        if is_named {
            outcome.directive = self.update_directive(at);
        }
    }

    fn is_running(&self, at: u32) -> bool {
        self.state.rollouts.get(at).is_some_and(Rollout::is_running)
    }

    /// Counts a device that is told for the first time; false if this minute has no place for it.
    fn tell_device(&mut self, slot: Slot, at: u32) -> bool {
        let now = self.now;
        let Some(rollout) = self.state.rollouts.get_mut(at) else { return false };
        if !rollout.take_place(now) {
            return false;
        }
        rollout.offered += 1;
        if let Some(record) = self.state.records.get_mut(slot) {
            record.incidents.tried = Some(Tried { rollout: at, result: Trial::Open });
        }
        true
    }

    fn update_directive(&self, at: u32) -> Option<DirectiveView> {
        let rollout = self.state.rollouts.get(at)?;
        let active = self.state.index.active_rollouts.get(&at)?;
        let id = DirectiveId {
            generation: self.state.generation,
            index: rollout.created,
            ordinal: rollout.ordinal,
        };
        Some(DirectiveView { id, kind: OperationKind::OfferUpdate, expires: active.offer.not_after })
    }

    /// What a heartbeat says of an update: the version that runs, and a failure that it did not tell before.
    pub(crate) fn hear_update(&mut self, slot: Slot, condition_before: u8, condition: u8) {
        if self.state.rollouts.len() == 0 {
            return;
        }
        let news = failure_in(condition).filter(|_| failure_in(condition_before).is_none());
        let (Some(row), Some(record)) = (self.state.rows.get(slot), self.state.records.get(slot)) else {
            return;
        };
        let tried = record.incidents.tried;
        let told = tried.map(|tried| tried.rollout);
        let under_way = self.state.active_rollout_of(&record.birth.lot);
        // It may have asked before a verdict named the offer, also after it was told of an earlier one.
        let asked = under_way.filter(|&at| news.is_some() && self.state.is_due(slot, at));
        let Some(at) = told.filter(|told| under_way == Some(*told)).or(asked).or(told) else { return };
        let before = tried.filter(|tried| tried.rollout == at).map(|tried| tried.result);
        let offered = self.offered_version(at);
        let result = if offered.is_some_and(|version| row.firmware >= version) {
            Trial::Installed
        } else if let Some(failure) = news {
            Trial::Failed(failure as u8)
        } else {
            return;
        };
        if before != Some(result) {
            self.settle_update(slot, at, before, result);
        }
    }

    fn offered_version(&self, at: u32) -> Option<u32> {
        match self.state.index.active_rollouts.get(&at) {
            Some(active) => Some(active.offer.firmware),
            None => self.state.rollouts.get(at).and_then(Rollout::offer).map(|offer| offer.firmware),
        }
    }

    fn settle_update(&mut self, slot: Slot, at: u32, before: Option<Trial>, result: Trial) {
        if let Some(rollout) = self.state.rollouts.get_mut(at) {
            rollout.offered += u32::from(before.is_none());
            rollout.recount(before.unwrap_or(Trial::Open), result);
        }
        if let Some(record) = self.state.records.get_mut(slot) {
            record.incidents.tried = Some(Tried { rollout: at, result });
        }
        self.weigh_rollout(at);
    }

    pub(crate) fn tell_rollout(&mut self, at: u32) {
        if let Some(rollout) = self.state.rollouts.get(at) {
            let (rollout, phase, standing) = (rollout.id(), rollout.phase + 1, rollout.shown_standing());
            self.changed(crate::changes::Change::Update { rollout, phase, standing });
        }
    }
}

fn is_well_formed(rules: &RolloutRules) -> bool {
    let phases = &rules.phases;
    let grows = phases.windows(2).all(|pair| pair[0].permille < pair[1].permille);
    let whole = |permille: u16| permille <= PERMILLE;
    (1..=UPDATE_PHASES_MAX).contains(&phases.len())
        && grows
        && phases.iter().all(|phase| (1..=PERMILLE).contains(&phase.permille))
        && whole(rules.success_permille)
        && whole(rules.failure_permille)
        && rules.sample_min > 0
        && rules.per_minute_max > 0
}

fn clip(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}
