//! What a person does to a license after it was redeemed: transfer, renewal, suspension and its end, reissue. Each is
//! idempotent by its content, and kept with who did it and why.

use super::step::Step;
use crate::changes::Change;
use crate::judgement::may_redeem;
use crate::outcome::{Decline, Outcome};
use crate::state::license::{Code, Fate};
use crate::state::row::marks;
use crate::state::story::Happening;
use crate::state::timers::Timer;
use crate::view::{LicenseMove, LicenseMoveView, LicenseState};
use events::ids::{CodeDigest, LicenseId, Slot};
use events::time::Timestamp;
use events::vocabulary::shared::{Legitimacy, OperationKind};
use events::vocabulary::{
    LicenseReissued, LicenseRenewed, LicenseResumed, LicenseSuspended, LicenseTransferred,
};

/// What a person wrote is kept up to this length, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// Applied, refused, or the log says it already.
type Moved = Result<(), Outcome>;

impl Step<'_> {
    /// The box before keeps its identity and its history, and has no license any more.
    pub(crate) fn license_transferred(&mut self, event: &LicenseTransferred) -> Outcome {
        let what = LicenseMove::Transferred { from: event.from, to: event.to };
        let moved = self.transfer(event);
        self.close_move(moved, event.license, what, &event.by, &event.reason)
    }

    pub(crate) fn license_renewed(&mut self, event: &LicenseRenewed) -> Outcome {
        let what = LicenseMove::Renewed { expires: event.expires };
        let moved = self.renew(event);
        self.close_move(moved, event.license, what, &event.by, &event.reason)
    }

    pub(crate) fn license_suspended(&mut self, event: &LicenseSuspended) -> Outcome {
        let moved = self.switch_license(&event.license, LicenseState::Suspended);
        self.close_move(moved, event.license, LicenseMove::Suspended, &event.by, &event.reason)
    }

    pub(crate) fn license_resumed(&mut self, event: &LicenseResumed) -> Outcome {
        let moved = self.switch_license(&event.license, LicenseState::Active);
        self.close_move(moved, event.license, LicenseMove::Resumed, &event.by, &event.reason)
    }

    pub(crate) fn license_reissued(&mut self, event: &LicenseReissued) -> Outcome {
        let moved = self.reissue(&event.license, event.code);
        let what = LicenseMove::Reissued { code: event.code };
        self.close_move(moved, event.license, what, &event.by, &event.reason)
    }

    fn transfer(&mut self, event: &LicenseTransferred) -> Moved {
        let at = self.license_at(&event.license)?;
        let from = self.slot_of_device(&event.from)?;
        let to = self.slot_of_device(&event.to)?;
        let license = *self.state.licenses.get(at).ok_or(Outcome::Declined(Decline::UnknownLicense))?;
        if license.slot == to && self.state.index.owned_before(&event.license, &event.from) {
            return Err(Outcome::Duplicate);
        }
        if license.slot != from || from == to {
            return Err(Outcome::Declined(Decline::LicenseElsewhere));
        }
        if license.has_ended() {
            return Err(Outcome::Declined(Decline::LicenseEnded));
        }
        self.may_take(to)?;
        self.take_license(from, event.license, event.to);
        self.give_license(to, at, event.license, event.from);
        self.state.timers.set(license.expires, Timer::LicenseExpires, to);
        Ok(())
    }

    /// A device that was written off, or that has another license, gets none.
    fn may_take(&self, slot: Slot) -> Moved {
        let legitimacy = self.state.rows.get(slot).map(|row| row.legitimacy);
        if !legitimacy.is_some_and(may_redeem) {
            return Err(Outcome::Declined(Decline::NotApplicable));
        }
        let other = self.state.records.get(slot).and_then(|record| record.license);
        let other = other.and_then(|at| self.state.licenses.get(at));
        if other.is_some_and(|other| !other.has_ended()) {
            return Err(Outcome::Declined(Decline::DeviceLicensed));
        }
        Ok(())
    }

    fn take_license(&mut self, slot: Slot, license: LicenseId, to: events::ids::DeviceId) {
        if let (Some(row), Some(record)) = (self.state.rows.get_mut(slot), self.state.records.get_mut(slot)) {
            record.license = None;
            row.set(marks::LICENSED, false);
        }
        self.tell(slot, Happening::LicenseGone { license, to });
        if self.state.rows.get(slot).is_some_and(|row| row.legitimacy == Legitimacy::Legitimate) {
            self.set_legitimacy(slot, Legitimacy::Provisioned);
        }
    }

    fn give_license(&mut self, slot: Slot, at: u32, id: LicenseId, from: events::ids::DeviceId) {
        let Some(license) = self.state.licenses.get_mut(at) else { return };
        license.slot = slot;
        let active = license.state == LicenseState::Active;
        if let (Some(row), Some(record)) = (self.state.rows.get_mut(slot), self.state.records.get_mut(slot)) {
            record.license = Some(at);
            row.set(marks::LICENSED, active);
            // The next verdict brings the first lease.
            row.lease_due = Timestamp::ZERO;
        }
        self.tell(slot, Happening::LicenseCame { license: id, from });
        self.admit(slot);
    }

    /// Who owns a license is provisioned no more.
    fn admit(&mut self, slot: Slot) {
        if self.state.rows.get(slot).is_some_and(|row| row.legitimacy == Legitimacy::Provisioned) {
            self.set_legitimacy(slot, Legitimacy::Legitimate);
        }
    }

    fn renew(&mut self, event: &LicenseRenewed) -> Moved {
        let at = self.license_at(&event.license)?;
        let license = *self.state.licenses.get(at).ok_or(Outcome::Declined(Decline::UnknownLicense))?;
        if license.expires == event.expires && !license.has_ended() {
            return Err(Outcome::Duplicate);
        }
        let endless = Timestamp::ZERO;
        if event.expires != endless && event.expires <= self.now {
            return Err(Outcome::Declined(Decline::Malformed));
        }
        if event.expires != endless && (license.expires == endless || event.expires < license.expires) {
            return Err(Outcome::Declined(Decline::EndsLater));
        }
        let slot = license.slot;
        let owns = self.state.records.get(slot).and_then(|record| record.license) == Some(at);
        if !owns {
            self.may_take(slot)?;
        }
        if let Some(license) = self.state.licenses.get_mut(at) {
            license.expires = event.expires;
        }
        if let (Some(row), Some(record)) = (self.state.rows.get_mut(slot), self.state.records.get_mut(slot)) {
            record.license = Some(at);
            // The token that the device holds ends with the term before: the next verdict brings another.
            row.lease_due = Timestamp::ZERO;
        }
        self.state.timers.set(event.expires, Timer::LicenseExpires, slot);
        self.tell(slot, Happening::LicenseRenewed { license: event.license, expires: event.expires });
        if license.has_ended() {
            self.set_license_state(at, LicenseState::Active);
        }
        self.admit(slot);
        Ok(())
    }

    /// Suspends a license, or ends its suspension, however it was suspended.
    fn switch_license(&mut self, id: &LicenseId, to: LicenseState) -> Moved {
        let at = self.license_at(id)?;
        let license = *self.state.licenses.get(at).ok_or(Outcome::Declined(Decline::UnknownLicense))?;
        if license.has_ended() {
            return Err(Outcome::Declined(Decline::LicenseEnded));
        }
        if license.state == to {
            return Err(Outcome::Duplicate);
        }
        if to == LicenseState::Active {
            self.withdraw(license.slot, |kind| kind == OperationKind::SuspendLicense);
        }
        self.set_license_state(at, to);
        Ok(())
    }

    /// The new code counts as used by this license at once: nobody else can redeem it.
    fn reissue(&mut self, id: &LicenseId, digest: CodeDigest) -> Moved {
        let at = self.license_at(id)?;
        let license = *self.state.licenses.get(at).ok_or(Outcome::Declined(Decline::UnknownLicense))?;
        if let Some(known) = self.state.code(&digest) {
            let same = known.fate == Fate::Used(at);
            return Err(if same { Outcome::Duplicate } else { Outcome::Declined(Decline::CodeConflict) });
        }
        if license.has_ended() {
            return Err(Outcome::Declined(Decline::LicenseEnded));
        }
        let before = self.state.code_in_use(at).unwrap_or(license.code);
        let Some(code) = self.state.codes.get_mut(before) else {
            return Err(Outcome::Declined(Decline::UnknownCode));
        };
        code.fate = Fate::Replaced(at);
        let batch = code.batch;
        let new = self.state.codes.push(Code { digest, batch, fate: Fate::Used(at) });
        self.state.index.add_code(&self.state.codes, new);
        if let Some(batch) = self.state.code_batches.get_mut(batch) {
            batch.issued += 1;
            batch.used += 1;
        }
        self.tell(license.slot, Happening::LicenseReissued { license: *id });
        Ok(())
    }

    /// Keeps what was done, by whom and why.
    fn close_move(
        &mut self,
        moved: Moved,
        license: LicenseId,
        what: LicenseMove,
        by: &str,
        reason: &str,
    ) -> Outcome {
        if let Err(outcome) = moved {
            return outcome;
        }
        let clip = |text: &str| text.chars().take(TEXT_CHARS_MAX).collect();
        let (by, reason) = (clip(by), clip(reason));
        let view = LicenseMoveView { index: self.index, stamp: self.now, license, what, by, reason };
        let at = self.state.moves.push(view.clone());
        self.state.index.add_move(at, &view);
        self.changed(Change::LicenseMoved(view));
        Outcome::Accepted
    }

    fn license_at(&self, id: &LicenseId) -> Result<u32, Outcome> {
        self.state.license_by_id(id).ok_or(Outcome::Declined(Decline::UnknownLicense))
    }

    fn slot_of_device(&self, device: &events::ids::DeviceId) -> Result<Slot, Outcome> {
        let slot = self.state.slot_of(device);
        slot.ok_or(Outcome::Declined(Decline::UnknownDevice))
    }
}
