//! What is derived from the state to find things in it: rebuilt when a snapshot is read, never stored or compared.

use super::State;
use super::license::Fate;
use crate::outcome::DirectiveView;
use crate::view::{FlagSubject, LicenseState, OperationView};
use events::ids::{
    CodeBatchId, CodeDigest, DeviceId, FlagId, LogIndex, RecordDigest, Slot, SourceName, StationId,
};
use events::vocabulary::operation::Cause;
use events::vocabulary::shared::{FlagKind, Legitimacy, OperationKind};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub devices: BTreeMap<DeviceId, Slot>,
    pub records: BTreeMap<RecordDigest, Slot>,
    pub units: BTreeMap<(StationId, u32), Slot>,
    pub codes: BTreeMap<CodeDigest, u32>,
    pub code_batches: BTreeMap<CodeBatchId, u32>,
    pub sources: BTreeMap<SourceName, u32>,
    pub flags: BTreeMap<FlagId, u32>,
    pub flags_of: BTreeMap<FlagSubject, Vec<u32>>,
    pub open_flags: BTreeMap<(FlagKind, FlagSubject), u32>,
    /// By log index and ordinal of the order.
    pub operations: BTreeMap<(LogIndex, u16), u32>,
    pub unsettled: BTreeSet<u32>,
    /// What was ordered because of a flag: each kind once per flag.
    pub ordered_for: BTreeSet<(FlagId, OperationKind)>,
    pub legitimacy: BTreeMap<Legitimacy, u32>,
    pub licenses: BTreeMap<LicenseState, u32>,
}

impl Index {
    /// Finds everything anew; equal to what is kept up to date along the log.
    #[must_use]
    pub(crate) fn of(state: &State) -> Self {
        let mut index = Index::default();
        for (slot, record) in state.records.numbered() {
            index.devices.insert(record.birth.device, slot);
            index.records.insert(record.birth.record, slot);
            index.units.insert((record.birth.station, record.birth.unit), slot);
        }
        for row in state.rows.iter() {
            *index.legitimacy.entry(row.legitimacy).or_default() += 1;
        }
        index.codes.extend(state.codes.numbered().map(|(at, code)| (code.digest, at)));
        index.code_batches.extend(state.code_batches.numbered().map(|(at, batch)| (batch.batch, at)));
        index.sources.extend(state.sources.numbered().map(|(at, source)| (source.name.clone(), at)));
        for license in state.licenses.iter() {
            *index.licenses.entry(license.state).or_default() += 1;
        }
        for (at, flag) in state.flags.numbered() {
            index.add_flag(at, flag.id, &flag.subject);
            if flag.cleared.is_none() {
                index.open_flags.insert((flag.kind, flag.subject.clone()), at);
            }
        }
        for (at, operation) in state.operations.numbered() {
            index.add_operation(at, operation);
        }
        index
    }

    pub(crate) fn add_flag(&mut self, at: u32, id: FlagId, subject: &FlagSubject) {
        self.flags.insert(id, at);
        self.flags_of.entry(subject.clone()).or_default().push(at);
    }

    pub(crate) fn add_operation(&mut self, at: u32, operation: &OperationView) {
        let DirectiveView { id, kind, .. } = operation.directive;
        self.operations.insert((id.index, id.ordinal), at);
        if operation.settled.is_none() {
            self.unsettled.insert(at);
        }
        if let Cause::Flag(flag) = operation.cause {
            self.ordered_for.insert((flag, kind));
        }
    }

    /// Moves one thing from a count to another; a count of nothing is not kept.
    pub(crate) fn recount<K: Ord>(counts: &mut BTreeMap<K, u32>, from: Option<K>, to: K) {
        if let Some(from) = from
            && let Some(count) = counts.get_mut(&from)
        {
            *count -= 1;
            if *count == 0 {
                counts.remove(&from);
            }
        }
        *counts.entry(to).or_default() += 1;
    }
}

impl State {
    #[must_use]
    pub(crate) fn code(&self, digest: &CodeDigest) -> Option<&super::license::Code> {
        self.index.codes.get(digest).and_then(|&at| self.codes.get(at))
    }

    /// Index of the license that a code created.
    #[must_use]
    pub(crate) fn license_by_code(&self, digest: &CodeDigest) -> Option<u32> {
        match self.code(digest)?.fate {
            Fate::Used(license) => Some(license),
            Fate::Unused | Fate::Void => None,
        }
    }
}
