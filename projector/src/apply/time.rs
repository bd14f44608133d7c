//! Time passes: whatever is due at this entry's stamp.

use super::step::Step;
use crate::changes::Change;
use crate::decide;
use crate::effects::{Effect, Notice};
use crate::outcome::Outcome;
use crate::state::row::marks;
use crate::state::timers::Timer;
use crate::view::{FlagSubject, LicenseState};
use events::ids::Slot;
use events::time::Timestamp;
use events::vocabulary::operation::Settlement;
use events::vocabulary::shared::{FlagKind, Legitimacy};

impl Step<'_> {
    pub(crate) fn pass_time(&mut self) {
        let mut reconsider = false;
        while let Some((timer, slot)) = self.state.timers.next_due(self.now) {
            match timer {
                Timer::SuspicionEnds => self.end_suspicion(slot),
                Timer::DirectiveExpires => self.expire_orders(slot),
                Timer::LicenseExpires => self.expire_license(slot),
                Timer::HandsOffEnds => reconsider = true,
            }
        }
        self.pass_rollouts();
        if self.state.breaker.pass_time(self.now, self.state.settings.breaker.window_ms) {
            self.breaker_closed();
            reconsider = true;
        }
        if reconsider {
            self.reconsider();
        }
        self.state.buckets.forget_drained(self.now);
    }

    /// A person lets automation go on.
    pub(crate) fn breaker_reset(&mut self) -> Outcome {
        if self.state.breaker.reset() {
            self.breaker_closed();
            self.reconsider();
        }
        Outcome::Accepted
    }

    fn breaker_closed(&mut self) {
        self.notice(Notice::BreakerClosed);
        self.changed(Change::AutomationResumed);
    }

    fn reconsider(&mut self) {
        self.effects.extend(decide::wanted(self.state).into_iter().map(Effect::Want));
    }

    /// Lets suspicion end then. A device has one timer for that, however often the end moves: who forks himself without end
    /// must not fill memory with timers.
    pub(crate) fn suspect_until(&mut self, slot: Slot, until: Timestamp) {
        let Some(record) = self.state.records.get_mut(slot) else { return };
        let before = std::mem::replace(&mut record.incidents.suspect_until, until);
        if before == Timestamp::ZERO {
            self.state.timers.set(until, Timer::SuspicionEnds, slot);
        }
    }

    /// A fork without a second voice heals; a proven clone does not.
    fn end_suspicion(&mut self, slot: Slot) {
        let Some(record) = self.state.records.get_mut(slot) else { return };
        let until = record.incidents.suspect_until;
        if until > self.now {
            return self.state.timers.set(until, Timer::SuspicionEnds, slot);
        }
        if until == Timestamp::ZERO {
            return;
        }
        let subject = FlagSubject::Device(record.birth.device);
        record.incidents.suspect_until = Timestamp::ZERO;
        if self.state.open_flag(FlagKind::Clone, &subject).is_none() {
            self.forget_forks(slot);
            if self.state.rows.get(slot).is_some_and(|row| row.legitimacy == Legitimacy::Suspect) {
                self.set_legitimacy(slot, self.unburdened(slot));
            }
        }
    }

    pub(crate) fn forget_forks(&mut self, slot: Slot) {
        if let (Some(row), Some(record)) = (self.state.rows.get_mut(slot), self.state.records.get_mut(slot)) {
            record.session.forks.clear();
            row.set(marks::FORKED, false);
        }
    }

    /// Directives that are void now are settled, and a restriction that ends is lifted.
    fn expire_orders(&mut self, slot: Slot) {
        let Some(record) = self.state.records.get(slot) else { return };
        let is_over = |expires: Timestamp| expires > Timestamp::ZERO && expires <= self.now;
        let over: Vec<_> =
            record.directives.iter().map(|d| d.view).filter(|d| is_over(d.expires)).map(|d| d.id).collect();
        let bound_by = record.incidents.bound_by.and_then(|at| self.state.operations.get(at));
        let lifted = bound_by.is_some_and(|operation| is_over(operation.directive.expires));
        for id in over {
            self.settle(slot, id, Settlement::Expired);
        }
        if lifted {
            self.unbind(slot);
        }
    }

    fn expire_license(&mut self, slot: Slot) {
        let Some(at) = self.state.records.get(slot).and_then(|record| record.license) else { return };
        let is_over = |expires: Timestamp| expires > Timestamp::ZERO && expires <= self.now;
        if self.state.licenses.get(at).is_some_and(|license| is_over(license.expires)) {
            self.set_license_state(at, LicenseState::Expired);
        }
    }
}
