//! Operations: ordered by policy or a person through the same door, obeyed by the device, settled.

use super::step::Step;
use crate::changes::Change;
use crate::decide;
use crate::effects::{Effect, Notice};
use crate::outcome::{Decline, DirectiveView, Outcome};
use crate::state::device::{DIRECTIVES_KEPT, Directed};
use crate::state::row::marks;
use crate::state::story::Happening;
use crate::state::timers::Timer;
use crate::view::{FlagSubject, LicenseState, OperationView, Settled};
use events::ids::Slot;
use events::time::Timestamp;
use events::vocabulary::operation::{Cause, Settlement};
use events::vocabulary::shared::{DirectiveId, FlagKind, Legitimacy, OperationKind};
use events::vocabulary::{OperationOrdered, OperationSettled};

/// What a person wrote is kept up to this length, in characters.
const TEXT_CHARS_MAX: usize = 200;
/// So long after a directive to re-key was obeyed a further re-key still counts as demanded, in milliseconds: power
/// may fail before the new root is on flash.
const REKEY_GRACE_MILLIS: u64 = 600_000;

impl Step<'_> {
    /// One order per cause, kind and device; `ordinal` is its place in the batch and part of its name.
    pub(crate) fn operation_ordered(&mut self, ordinal: u16, event: OperationOrdered) -> Outcome {
        let Some(slot) = self.state.slot_of(&event.device) else {
            return Outcome::Declined(Decline::UnknownDevice);
        };
        let event = OperationOrdered { cause: clipped(event.cause), ..event };
        if self.was_ordered(&event) {
            return Outcome::Duplicate;
        }
        if event.expires > Timestamp::ZERO && event.expires <= self.now {
            return Outcome::Declined(Decline::Malformed);
        }
        if let Err(decline) = self.carry_out_check(slot, &event) {
            return Outcome::Declined(decline);
        }
        if let Cause::Flag(flag) = event.cause
            && let Err(decline) = decide::admit(self, slot, event.kind, flag)
        {
            return Outcome::Declined(decline);
        }
        let id = DirectiveId { generation: self.state.generation, index: self.index, ordinal };
        let directive = DirectiveView { id, kind: event.kind, expires: event.expires };
        let at = self.record_order(slot, directive, &event);
        self.carry_out(slot, at, id, &event);
        self.direct(slot, at, directive)
    }

    /// The same flag never orders the same twice; the same person may, once the first order is settled.
    fn was_ordered(&self, event: &OperationOrdered) -> bool {
        match event.cause {
            Cause::Flag(flag) => self.state.index.ordered_for.contains(&(flag, event.kind)),
            Cause::Operator { .. } => {
                let same = |operation: &OperationView| {
                    operation.device == event.device
                        && operation.directive.kind == event.kind
                        && operation.cause == event.cause
                };
                let unsettled = self.state.index.unsettled.iter();
                unsettled.filter_map(|&at| self.state.operations.get(at)).any(same)
            }
        }
    }

    /// Whether the device's state allows the operation.
    fn carry_out_check(&self, slot: Slot, event: &OperationOrdered) -> Result<(), Decline> {
        let legitimacy = self.state.rows.get(slot).map(|row| row.legitimacy).ok_or(Decline::UnknownDevice)?;
        let allowed = match event.kind {
            OperationKind::Restrict => match legitimacy {
                Legitimacy::Provisioned | Legitimacy::Legitimate | Legitimacy::Suspect => true,
                Legitimacy::Restricted | Legitimacy::Revoked | Legitimacy::Retired => false,
            },
            OperationKind::Revoke if event.expires > Timestamp::ZERO => return Err(Decline::Malformed),
            OperationKind::Revoke => !matches!(legitimacy, Legitimacy::Revoked | Legitimacy::Retired),
            OperationKind::Reinstate => {
                let bound =
                    matches!(legitimacy, Legitimacy::Suspect | Legitimacy::Restricted | Legitimacy::Revoked);
                bound || self.license_is(slot, LicenseState::Suspended)
            }
            OperationKind::SuspendLicense => self.license_is(slot, LicenseState::Active),
            OperationKind::Rekey | OperationKind::Notify => legitimacy != Legitimacy::Retired,
            OperationKind::Challenge
            | OperationKind::Throttle
            | OperationKind::BanSource
            | OperationKind::OfferUpdate => return Err(Decline::Unsupported),
        };
        allowed.then_some(()).ok_or(Decline::NotApplicable)
    }

    fn license_is(&self, slot: Slot, state: LicenseState) -> bool {
        let license = self.state.records.get(slot).and_then(|record| record.license);
        license.and_then(|at| self.state.licenses.get(at)).is_some_and(|license| license.state == state)
    }

    fn record_order(&mut self, slot: Slot, directive: DirectiveView, event: &OperationOrdered) -> u32 {
        let by_person = matches!(event.cause, Cause::Operator { .. });
        let operation = OperationView {
            directive,
            device: event.device,
            cause: event.cause.clone(),
            ordered_at: self.now,
            settled: None,
        };
        let at = self.state.operations.push(operation.clone());
        self.state.index.add_operation(at, &operation);
        self.tell(slot, Happening::Ordered { kind: directive.kind, by_person });
        self.changed(Change::OperationOrdered { device: event.device, directive, by_person });
        at
    }

    /// What the order changes in the cluster; the device follows when it obeys.
    fn carry_out(&mut self, slot: Slot, at: u32, order: DirectiveId, event: &OperationOrdered) {
        match event.kind {
            OperationKind::Restrict => self.bind(slot, at, Legitimacy::Restricted),
            OperationKind::Revoke => self.bind(slot, at, Legitimacy::Revoked),
            OperationKind::Reinstate => self.reinstate(slot, &event.cause),
            OperationKind::SuspendLicense => {
                if let Some(license) = self.state.records.get(slot).and_then(|record| record.license) {
                    self.set_license_state(license, LicenseState::Suspended);
                }
            }
            OperationKind::Notify => self.notify(order, event),
            OperationKind::Rekey
            | OperationKind::Challenge
            | OperationKind::Throttle
            | OperationKind::BanSource
            | OperationKind::OfferUpdate => {}
        }
    }

    fn notify(&mut self, order: DirectiveId, event: &OperationOrdered) {
        let device = event.device;
        let (by, reason) = match &event.cause {
            Cause::Operator { name, reason } => (name.clone(), reason.clone()),
            Cause::Flag(flag) => (decide::POLICY.to_owned(), flag.to_string()),
        };
        self.notice(Notice::Notified { device, ordered: self.index });
        self.changed(Change::Notified { device, order, by, reason });
    }

    fn bind(&mut self, slot: Slot, at: u32, to: Legitimacy) {
        self.withdraw(slot, |kind| kind == OperationKind::Reinstate);
        if let Some(record) = self.state.records.get_mut(slot) {
            record.incidents.bound_by = Some(at);
        }
        self.set_legitimacy(slot, to);
    }

    /// The restriction ends; an open case stays open.
    pub(crate) fn unbind(&mut self, slot: Slot) {
        let Some(record) = self.state.records.get_mut(slot) else { return };
        record.incidents.bound_by = None;
        let subject = FlagSubject::Device(record.birth.device);
        let standing = match self.state.open_flag(FlagKind::Clone, &subject) {
            Some(_) => Legitimacy::Suspect,
            None => self.unburdened(slot),
        };
        self.set_legitimacy(slot, standing);
        self.effects.extend(decide::wanted_for(self.state, &subject).map(Effect::Want));
    }

    /// A person decided: everything against the device is closed, and automation keeps its hands off for a while.
    fn reinstate(&mut self, slot: Slot, cause: &Cause) {
        self.withdraw(slot, |kind| {
            let binding = [OperationKind::Restrict, OperationKind::Revoke, OperationKind::SuspendLicense];
            binding.contains(&kind)
        });
        self.close_case(slot, cause);
        self.unbind(slot);
        let license = self.state.records.get(slot).and_then(|record| record.license);
        if let Some(at) = license.filter(|_| self.license_is(slot, LicenseState::Suspended)) {
            self.set_license_state(at, LicenseState::Active);
        }
    }

    fn close_case(&mut self, slot: Slot, cause: &Cause) {
        let Some(record) = self.state.records.get(slot) else { return };
        let subject = FlagSubject::Device(record.birth.device);
        if let Cause::Operator { name, reason } = cause {
            let of_device = |((_, of), at): (&(_, FlagSubject), &u32)| (*of == subject).then_some(*at);
            let open: Vec<u32> = self.state.index.open_flags.iter().filter_map(of_device).collect();
            for at in open {
                self.clear_flag(at, name, reason);
            }
        }
        self.forget_forks(slot);
        let hands_off_until = self.now.plus_millis(self.state.settings.hands_off_ms);
        if let Some(record) = self.state.records.get_mut(slot) {
            record.incidents.suspect_until = Timestamp::ZERO;
            record.incidents.hands_off_until = hands_off_until;
        }
        self.state.timers.set(hands_off_until, Timer::HandsOffEnds, slot);
    }

    /// Directives of these kinds are void: a newer order says the opposite.
    pub(crate) fn withdraw(&mut self, slot: Slot, kinds: fn(OperationKind) -> bool) {
        let Some(record) = self.state.records.get(slot) else { return };
        let void: Vec<_> =
            record.directives.iter().map(|d| d.view).filter(|d| kinds(d.kind)).map(|d| d.id).collect();
        for id in void {
            self.settle(slot, id, Settlement::Expired);
        }
    }

    /// Gives the device its directive, if the operation has one; else the order is settled as it stands.
    fn direct(&mut self, slot: Slot, at: u32, directive: DirectiveView) -> Outcome {
        if directive.kind == OperationKind::Notify {
            self.settle_operation(slot, at, Settlement::Obeyed);
            return Outcome::Ordered { directive: None };
        }
        let Some(record) = self.state.records.get(slot) else { return Outcome::Ordered { directive: None } };
        let device = record.birth.device;
        if let Some(oldest) = record.directives.first().filter(|_| record.directives.len() == DIRECTIVES_KEPT)
        {
            self.settle(slot, oldest.view.id, Settlement::Expired);
        }
        if let (Some(row), Some(record)) = (self.state.rows.get_mut(slot), self.state.records.get_mut(slot)) {
            let named = if record.directives.is_empty() { self.index } else { 0 };
            record.directives.push(Directed { view: directive, named, unheeded: 0 });
            row.set(marks::DIRECTED, true);
        }
        self.state.timers.set(directive.expires, Timer::DirectiveExpires, slot);
        self.effects.push(Effect::Dispatch { device, directive });
        Outcome::Ordered { directive: Some(directive) }
    }

    /// The shell learnt how an order ended.
    pub(crate) fn operation_settled(&mut self, event: &OperationSettled) -> Outcome {
        let orders = self.state.index.operations.range((event.ordered, 0)..=(event.ordered, u16::MAX));
        let of_device = |&at: &u32| {
            self.state.operations.get(at).filter(|o| o.device == event.device).map(|o| (at, o.directive.id))
        };
        let known: Vec<_> = orders.map(|(_, at)| at).filter_map(of_device).collect();
        let open: Vec<_> =
            known.iter().filter(|(at, _)| self.state.index.unsettled.contains(at)).copied().collect();
        let slot = self.state.slot_of(&event.device);
        match slot {
            Some(_) if known.is_empty() => Outcome::Declined(Decline::UnknownOrder),
            None => Outcome::Declined(Decline::UnknownDevice),
            Some(_) if open.is_empty() => Outcome::Duplicate,
            Some(slot) => {
                for (_, id) in open {
                    self.settle(slot, id, event.settlement);
                }
                Outcome::Accepted
            }
        }
    }

    /// Closes an order and takes its directive back; from here on verdicts name the lowest of those that are left.
    pub(crate) fn settle(&mut self, slot: Slot, id: DirectiveId, settlement: Settlement) {
        if let (Some(row), Some(record)) = (self.state.rows.get_mut(slot), self.state.records.get_mut(slot)) {
            let rekey = |d: &Directed| d.view.id == id && d.view.kind == OperationKind::Rekey;
            if settlement == Settlement::Obeyed && record.directives.iter().any(rekey) {
                record.incidents.rekey_demanded_until = self.now.plus_millis(REKEY_GRACE_MILLIS);
            }
            record.directives.retain(|directed| directed.view.id != id);
            if let Some(lowest) = record.directives.first_mut().filter(|lowest| lowest.named == 0) {
                lowest.named = self.index;
            }
            row.set(marks::DIRECTED, !record.directives.is_empty());
        }
        if let Some(at) = self.state.index.operations.get(&(id.index, id.ordinal)).copied() {
            self.settle_operation(slot, at, settlement);
        }
    }

    fn settle_operation(&mut self, slot: Slot, at: u32, settlement: Settlement) {
        let Some(kind) = self.state.operations.get(at).map(|operation| operation.directive.kind) else {
            return;
        };
        if !self.state.index.settle(at, kind) {
            return;
        }
        let Some(operation) = self.state.operations.get_mut(at) else { return };
        operation.settled = Some(Settled { index: self.index, stamp: self.now, settlement });
        let (device, order) = (operation.device, operation.directive.id);
        self.tell(slot, Happening::Settled { kind, settlement });
        self.changed(Change::OperationSettled { device, order, kind, settlement });
    }
}

/// What a person wrote, in bounded length.
fn clipped(cause: Cause) -> Cause {
    let clip = |text: String| text.chars().take(TEXT_CHARS_MAX).collect();
    match cause {
        Cause::Flag(flag) => Cause::Flag(flag),
        Cause::Operator { name, reason } => Cause::Operator { name: clip(name), reason: clip(reason) },
    }
}
