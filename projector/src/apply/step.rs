//! One entry being applied: the state, its place in the log, and what it makes the shell do.

use super::request::Keyed;
use crate::changes::Change;
use crate::effects::{Effect, Notice};
use crate::outcome::{HeartbeatOutcome, HeartbeatStatus, LicenseGrant};
use crate::state::State;
use crate::state::device::Held;
use crate::state::index::Index;
use crate::state::license::license_id;
use crate::state::row::marks;
use crate::state::source::Source;
use crate::state::story::Happening;
use crate::view::LicenseState;
use events::ids::{LogIndex, Slot, SourceId};
use events::time::Timestamp;
use events::vocabulary::shared::Legitimacy;

/// A lease is renewed after an eighth of its time, so that seven verdicts may be lost before it ends.
const RENEWALS_PER_LEASE: u64 = 8;

pub(crate) struct Step<'a> {
    pub state: &'a mut State,
    pub index: LogIndex,
    pub now: Timestamp,
    pub effects: Vec<Effect>,
    pub changes: Vec<Change>,
    /// What the batch's key says about its events.
    pub keyed: Keyed,
}

impl<'a> Step<'a> {
    /// Time never goes back, whatever the stamp says.
    pub(crate) fn begin(state: &'a mut State, index: LogIndex, stamp: Timestamp) -> Self {
        state.applied = index;
        state.stamp = state.stamp.max(stamp);
        let now = state.stamp;
        let mut step = Step { state, index, now, effects: Vec::new(), changes: Vec::new(), keyed: Keyed::No };
        step.pass_time();
        step
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.effects.push(Effect::Notice(notice));
    }

    pub(crate) fn changed(&mut self, change: Change) {
        self.changes.push(change);
    }

    pub(crate) fn tell(&mut self, slot: Slot, what: Happening) {
        if let Some(record) = self.state.records.get_mut(slot) {
            record.story.tell(self.index, self.now, what);
        }
    }

    pub(crate) fn set_legitimacy(&mut self, slot: Slot, to: Legitimacy) {
        let Some(row) = self.state.rows.get_mut(slot) else { return };
        let from = std::mem::replace(&mut row.legitimacy, to);
        if from != to {
            if let Some(record) = self.state.records.get_mut(slot) {
                // Restricted, it may have thrown its token away.
                record.held = Held::default();
            }
            Index::recount(&mut self.state.index.legitimacy, Some(from), to);
            self.tell(slot, Happening::Legitimacy { from, to });
            if let Some(device) = self.state.records.get(slot).map(|record| record.birth.device) {
                self.changed(Change::Legitimacy { device, from, to });
            }
        }
    }

    /// What a device is when nothing speaks against it.
    pub(crate) fn unburdened(&self, slot: Slot) -> Legitimacy {
        match self.state.records.get(slot).and_then(|record| record.license) {
            Some(_) => Legitimacy::Legitimate,
            None => Legitimacy::Provisioned,
        }
    }

    /// The index of a source, which was heard just now.
    pub(crate) fn source(&mut self, name: &SourceId) -> u32 {
        if let Some(&at) = self.state.index.sources.get(name) {
            if let Some(source) = self.state.sources.get_mut(at) {
                source.last_heard = self.now;
            }
            return at;
        }
        let at = self.state.sources.push(Source::new(name.clone(), self.now));
        self.state.index.sources.insert(name.clone(), at);
        at
    }

    pub(crate) fn set_license_state(&mut self, at: u32, to: LicenseState) {
        let Some(license) = self.state.licenses.get_mut(at) else { return };
        let from = std::mem::replace(&mut license.state, to);
        let (code, slot) = (license.code, license.slot);
        if from == to {
            return;
        }
        Index::recount(&mut self.state.index.licenses, Some(from), to);
        if let Some(row) = self.state.rows.get_mut(slot) {
            row.set(marks::LICENSED, to == LicenseState::Active);
        }
        if let Some(record) = self.state.records.get_mut(slot) {
            // Told to, a device throws its token away.
            record.held = Held::default();
        }
        let Some(license) = self.state.codes.get(code).map(|code| license_id(&code.digest)) else { return };
        let what = match to {
            LicenseState::Active => Happening::LicenseResumed { license },
            LicenseState::Suspended => Happening::LicenseSuspended { license },
            LicenseState::Expired => Happening::LicenseExpired { license },
        };
        self.tell(slot, what);
        if let Some(device) = self.state.records.get(slot).map(|record| record.birth.device) {
            self.changed(Change::License { license, device, from, to });
        }
    }

    /// Gives the next lease of the device's license, if it holds one and passes muster. A lease counts offline and
    /// cannot be called back, so that what is restricted gets no new one.
    pub(crate) fn lease(&mut self, slot: Slot) -> Option<LicenseGrant> {
        match self.state.rows.get(slot)?.legitimacy {
            Legitimacy::Provisioned | Legitimacy::Legitimate | Legitimacy::Suspect => {}
            Legitimacy::Restricted | Legitimacy::Revoked | Legitimacy::Retired => return None,
        }
        let at = self.state.records.get(slot)?.license?;
        let license = self.state.licenses.get_mut(at).filter(|l| l.state == LicenseState::Active)?;
        license.leases += 1;
        let lease = license.leases;
        let grant = self.state.lease_as_given(slot, lease, self.now)?;
        let lease_millis = u64::from(grant.plan.lease_seconds) * 1000;
        let due = self.now.plus_millis(lease_millis / RENEWALS_PER_LEASE);
        if let Some(row) = self.state.rows.get_mut(slot) {
            row.lease_due = due;
        }
        Some(grant)
    }

    /// Whether a resume is to bring a license token, which costs a signature. Not while the device surely holds the last
    /// lease and half of its time is left: a verdict names the next one long before, and a device that lacks it resumes.
    pub(crate) fn lease_is_wanted(&self, slot: Slot) -> bool {
        let Some(record) = self.state.records.get(slot) else { return false };
        let Some(license) = record.license.and_then(|at| self.state.licenses.get(at)) else { return false };
        let batch = self.state.codes.get(license.code).and_then(|c| self.state.code_batches.get(c.batch));
        let Some(batch) = batch else { return false };
        let half_millis = u64::from(batch.plan.lease_seconds) * 1000 / 2;
        let held = record.held;
        held.license != record.license
            || held.lease != license.leases
            || self.now >= held.given.plus_millis(half_millis)
    }

    /// The answer to a heartbeat of a known device: how it was judged, and what the device must know.
    pub(crate) fn answer(&self, slot: Slot, status: HeartbeatStatus) -> HeartbeatOutcome {
        let mut outcome = HeartbeatOutcome { status, ..HeartbeatOutcome::usual(self.state.heartbeat_millis) };
        let Some(row) = self.state.rows.get(slot) else { return outcome };
        outcome.legitimacy = row.legitimacy;
        if row.has(marks::DIRECTED) {
            outcome.directive = self.state.records.get(slot).and_then(|record| record.directive());
        }
        outcome
    }
}
