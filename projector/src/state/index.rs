//! What is derived from the state to find things in it: rebuilt when a snapshot is read, never stored or compared.

use super::State;
use super::device::Records;
use super::finder::Finder;
use super::license::{Code, Fate, code_of, license_id};
use super::pages::Pages;
use super::update::Active;
use crate::outcome::DirectiveView;
use crate::view::{FlagSubject, LicenseMove, LicenseMoveView, LicenseState, OperationView};
use crate::works::DoAll;
use events::ids::{
    CodeBatchId, CodeDigest, DeviceId, FlagId, LicenseId, LogIndex, RecordDigest, RolloutId, Slot, SourceId,
    StationId,
};
use events::vocabulary::operation::Cause;
use events::vocabulary::shared::{FlagKind, Legitimacy, OperationKind};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub devices: Finder<DeviceId>,
    pub records: Finder<RecordDigest>,
    pub units: Finder<(StationId, u32)>,
    pub codes: Finder<CodeDigest>,
    pub code_batches: BTreeMap<CodeBatchId, u32>,
    pub sources: BTreeMap<SourceId, u32>,
    pub flags: BTreeMap<FlagId, u32>,
    pub flags_of: BTreeMap<FlagSubject, Vec<u32>>,
    pub open_flags: BTreeMap<(FlagKind, FlagSubject), u32>,
    /// How many of each kind are open.
    pub open_flags_count: BTreeMap<FlagKind, u32>,
    /// By log index and ordinal of the order.
    pub operations: BTreeMap<(LogIndex, u16), u32>,
    pub unsettled: BTreeSet<u32>,
    /// How many of each kind are unsettled.
    pub unsettled_count: BTreeMap<OperationKind, u32>,
    /// What was ordered for each device, in order.
    pub operations_of: BTreeMap<DeviceId, Vec<u32>>,
    /// What was ordered because of a flag: each kind once per flag.
    pub ordered_for: BTreeSet<(FlagId, OperationKind)>,
    pub legitimacy: BTreeMap<Legitimacy, u32>,
    pub licenses: BTreeMap<LicenseState, u32>,
    /// What was done to each license, in order.
    pub moves_of: BTreeMap<LicenseId, Vec<u32>>,
    /// Devices that a license went away from.
    pub owners_before: BTreeSet<(LicenseId, DeviceId)>,
    pub rollouts: BTreeMap<RolloutId, u32>,
    /// Those that have not ended.
    pub active_rollouts: BTreeMap<u32, Active>,
}

impl Index {
    /// Finds everything anew; equal to what is kept up to date along the log.
    #[must_use]
    pub(crate) fn of(state: &State, do_all: DoAll<'_>) -> Self {
        let (mut devices, mut records, mut units, mut codes) = Default::default();
        do_all(vec![
            Box::new(|| devices = Finder::of(state.records.len(), |slot| state.device_at(slot))),
            Box::new(|| records = Finder::of(state.records.len(), |slot| state.record_at(slot))),
            Box::new(|| units = Finder::of(state.records.len(), |slot| state.unit_at(slot))),
            Box::new(|| codes = Finder::of(state.codes.len(), |at| state.code_digest_at(at))),
        ]);
        let mut index = Index { devices, records, units, codes, ..Index::default() };
        for row in state.rows.iter() {
            *index.legitimacy.entry(row.legitimacy).or_default() += 1;
        }
        index.code_batches.extend(state.code_batches.numbered().map(|(at, batch)| (batch.batch, at)));
        index.sources.extend(state.sources.numbered().map(|(at, source)| (source.name.clone(), at)));
        for license in state.licenses.iter() {
            *index.licenses.entry(license.state).or_default() += 1;
        }
        for (at, flag) in state.flags.numbered() {
            index.add_flag(at, flag.id, &flag.subject);
            if flag.cleared.is_none() {
                index.open_flag(flag.kind, &flag.subject, at);
            }
        }
        for (at, operation) in state.operations.numbered() {
            index.add_operation(at, operation);
        }
        for (at, what) in state.moves.numbered() {
            index.add_move(at, what);
        }
        for (at, rollout) in state.rollouts.numbered() {
            index.rollouts.insert(rollout.id(), at);
            if let Some(offer) = rollout.offer().filter(|_| rollout.is_active()) {
                index.active_rollouts.insert(at, Active { offer });
            }
        }
        index
    }

    pub(crate) fn add_device(&mut self, records: &Records, slot: Slot) {
        let birth = |slot| records.get(slot).map(|record| &record.birth);
        self.devices.insert(slot, |slot| birth(slot).map(|birth| birth.device));
        self.records.insert(slot, |slot| birth(slot).map(|birth| birth.record));
        self.units.insert(slot, |slot| birth(slot).map(|birth| (birth.station, birth.unit)));
    }

    pub(crate) fn add_code(&mut self, codes: &Pages<Code>, at: u32) {
        self.codes.insert(at, |at| codes.get(at).map(|code| code.digest));
    }

    pub(crate) fn add_flag(&mut self, at: u32, id: FlagId, subject: &FlagSubject) {
        self.flags.insert(id, at);
        self.flags_of.entry(subject.clone()).or_default().push(at);
    }

    pub(crate) fn open_flag(&mut self, kind: FlagKind, subject: &FlagSubject, at: u32) {
        self.open_flags.insert((kind, subject.clone()), at);
        Index::recount(&mut self.open_flags_count, None, Some(kind));
    }

    pub(crate) fn close_flag(&mut self, kind: FlagKind, subject: &FlagSubject) {
        if self.open_flags.remove(&(kind, subject.clone())).is_some() {
            Index::recount(&mut self.open_flags_count, Some(kind), None);
        }
    }

    pub(crate) fn add_operation(&mut self, at: u32, operation: &OperationView) {
        let DirectiveView { id, kind, .. } = operation.directive;
        self.operations.insert((id.index, id.ordinal), at);
        self.operations_of.entry(operation.device).or_default().push(at);
        if operation.settled.is_none() {
            self.unsettled.insert(at);
            Index::recount(&mut self.unsettled_count, None, Some(kind));
        }
        if let Cause::Flag(flag) = operation.cause {
            self.ordered_for.insert((flag, kind));
        }
    }

    pub(crate) fn add_move(&mut self, at: u32, done: &LicenseMoveView) {
        self.moves_of.entry(done.license).or_default().push(at);
        if let LicenseMove::Transferred { from, .. } = done.what {
            self.owners_before.insert((done.license, from));
        }
    }

    #[must_use]
    pub(crate) fn owned_before(&self, license: &LicenseId, device: &DeviceId) -> bool {
        self.owners_before.contains(&(*license, *device))
    }

    /// True if the operation was unsettled until now.
    pub(crate) fn settle(&mut self, at: u32, kind: OperationKind) -> bool {
        let was_unsettled = self.unsettled.remove(&at);
        if was_unsettled {
            Index::recount(&mut self.unsettled_count, Some(kind), None);
        }
        was_unsettled
    }

    /// Moves one thing from a count to another; a count of nothing is not kept.
    pub(crate) fn recount<K: Ord>(
        counts: &mut BTreeMap<K, u32>,
        from: impl Into<Option<K>>,
        to: impl Into<Option<K>>,
    ) {
        if let Some(from) = from.into()
            && let Some(count) = counts.get_mut(&from)
        {
            *count -= 1;
            if *count == 0 {
                counts.remove(&from);
            }
        }
        if let Some(to) = to.into() {
            *counts.entry(to).or_default() += 1;
        }
    }
}

impl State {
    #[must_use]
    pub(crate) fn slot_of(&self, device: &DeviceId) -> Option<Slot> {
        self.index.devices.find(device, |slot| self.device_at(slot))
    }

    /// The device whose OTP record has this digest.
    #[must_use]
    pub(crate) fn slot_of_record(&self, record: &RecordDigest) -> Option<Slot> {
        self.index.records.find(record, |slot| self.record_at(slot))
    }

    #[must_use]
    pub(crate) fn slot_of_unit(&self, station: StationId, unit: u32) -> Option<Slot> {
        self.index.units.find(&(station, unit), |slot| self.unit_at(slot))
    }

    /// Index of a code.
    #[must_use]
    pub(crate) fn code_at(&self, digest: &CodeDigest) -> Option<u32> {
        self.index.codes.find(digest, |at| self.code_digest_at(at))
    }

    fn device_at(&self, slot: Slot) -> Option<DeviceId> {
        self.records.get(slot).map(|record| record.birth.device)
    }

    fn record_at(&self, slot: Slot) -> Option<RecordDigest> {
        self.records.get(slot).map(|record| record.birth.record)
    }

    fn unit_at(&self, slot: Slot) -> Option<(StationId, u32)> {
        self.records.get(slot).map(|record| (record.birth.station, record.birth.unit))
    }

    fn code_digest_at(&self, at: u32) -> Option<CodeDigest> {
        self.codes.get(at).map(|code| code.digest)
    }

    #[must_use]
    pub(crate) fn code(&self, digest: &CodeDigest) -> Option<&Code> {
        self.codes.get(self.code_at(digest)?)
    }

    /// Index of a license.
    #[must_use]
    pub(crate) fn license_by_id(&self, license: &LicenseId) -> Option<u32> {
        let code = self.code_at(&code_of(license))?;
        let at = match self.codes.get(code)?.fate {
            Fate::Used(at) | Fate::Replaced(at) => at,
            Fate::Unused | Fate::Void => return None,
        };
        // A license is named by its first code only.
        self.licenses.get(at).filter(|license| license.code == code).map(|_| at)
    }

    /// The name of a license.
    #[must_use]
    pub(crate) fn id_of_license(&self, at: u32) -> Option<LicenseId> {
        self.codes.get(self.licenses.get(at)?.code).map(|code| license_id(&code.digest))
    }

    /// Index of the code that opens a license now.
    #[must_use]
    pub(crate) fn code_in_use(&self, at: u32) -> Option<u32> {
        let moves = self.index.moves_of.get(&self.id_of_license(at)?);
        let reissued = moves.into_iter().flatten().rev().filter_map(|&at| self.moves.get(at));
        let mut reissued = reissued.filter_map(|done| match done.what {
            LicenseMove::Reissued { code } => self.code_at(&code),
            _ => None,
        });
        reissued.next().or_else(|| self.licenses.get(at).map(|license| license.code))
    }

    /// Whether a license is the device's under another code, or was before it was transferred.
    #[must_use]
    pub(crate) fn was_its_own(&self, slot: Slot, at: u32) -> bool {
        let Some(record) = self.records.get(slot) else { return false };
        let before = |id| self.index.owned_before(&id, &record.birth.device);
        record.license == Some(at) || self.id_of_license(at).is_some_and(before)
    }
}
