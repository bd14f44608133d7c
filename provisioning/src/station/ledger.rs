//! What the journal's lines add up to: the state of every unit. Pure.
//!
//! ```text
//!   planned ──▶ burning ──▶ read back ──▶ burned ──▶ exported in a manifest
//!      │           │            │
//!      └───────────┴────────────┴───────▶ voided
//! ```
//!
//! Invariants:
//! - Unit numbers are given from 1 upwards and never again.
//! - At most one unit is unfinished (planned, burning or read back); no other is planned before it is burned or voided.
//! - A unit is in at most one manifest, and only a burned one.

use super::step::{ManifestNumber, PlannedUnit, Step, Tag, UnitNumber, VoidReason};
use events::ids::{LotId, RecordDigest, StationId};
use events::time::Timestamp;
use std::collections::BTreeMap;

/// Why a step cannot follow the ones before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error("does not begin with whose journal it is, or says so twice")]
    Opening,
    #[error("plans unit {got} where unit {expected} is next")]
    UnitNumber { expected: UnitNumber, got: UnitNumber },
    #[error("plans a unit while unit {0} is unfinished")]
    Unfinished(UnitNumber),
    #[error("makes unit {unit} `{to}` although it is `{from}`")]
    Transition { unit: UnitNumber, from: UnitState, to: UnitState },
    #[error("names unit {0}, which was never planned")]
    UnknownUnit(UnitNumber),
    #[error("is manifest {got} where manifest {expected} is next")]
    ManifestNumber { expected: ManifestNumber, got: ManifestNumber },
    #[error("exports unit {0}, which is not burned or was exported before")]
    NotExportable(UnitNumber),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitState {
    Planned,
    Burning,
    ReadBack,
    Burned,
    Voided(VoidReason),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    pub state: UnitState,
    pub planned: PlannedUnit,
    /// When it came into this state.
    pub at: Timestamp,
    pub manifest: Option<ManifestNumber>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedManifest {
    pub at: Timestamp,
    pub units: Vec<UnitNumber>,
}

/// All units of one station.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    owner: Option<(StationId, LotId)>,
    units: BTreeMap<UnitNumber, Unit>,
    manifests: BTreeMap<ManifestNumber, ExportedManifest>,
    burned: u32,
    unfinished: Option<UnitNumber>,
    /// Terminals with a burned unit, by their hardware and by their record.
    by_hardware: BTreeMap<Tag, UnitNumber>,
    by_record: BTreeMap<RecordDigest, UnitNumber>,
    last: Timestamp,
}

impl Ledger {
    /// Whose journal it is; `None` while it is empty.
    #[must_use]
    pub fn owner(&self) -> Option<(StationId, LotId)> {
        self.owner
    }

    #[must_use]
    pub fn units(&self) -> &BTreeMap<UnitNumber, Unit> {
        &self.units
    }

    #[must_use]
    pub fn manifests(&self) -> &BTreeMap<ManifestNumber, ExportedManifest> {
        &self.manifests
    }

    /// How many units are burned.
    #[must_use]
    pub fn burned(&self) -> u32 {
        self.burned
    }

    #[must_use]
    pub fn next_unit(&self) -> UnitNumber {
        self.units.last_key_value().map_or(1, |(last, _)| last.saturating_add(1))
    }

    /// The unit that is neither burned nor voided.
    #[must_use]
    pub fn unfinished(&self) -> Option<(UnitNumber, &Unit)> {
        self.unfinished.and_then(|number| self.units.get(&number).map(|unit| (number, unit)))
    }

    /// The unit that was burned on a terminal with this hardware.
    #[must_use]
    pub fn burned_on(&self, hardware: &Tag) -> Option<UnitNumber> {
        self.by_hardware.get(hardware).copied()
    }

    /// The unit that was planned with this record, whatever became of it.
    #[must_use]
    pub fn with_record(&self, record: &RecordDigest) -> Option<(UnitNumber, &Unit)> {
        let number = self.by_record.get(record)?;
        self.units.get(number).map(|unit| (*number, unit))
    }

    /// Burned units that are in no manifest yet, in order.
    #[must_use]
    pub fn unexported(&self) -> Vec<UnitNumber> {
        let waiting = |unit: &Unit| unit.state == UnitState::Burned && unit.manifest.is_none();
        self.units.iter().filter(|(_, unit)| waiting(unit)).map(|(&number, _)| number).collect()
    }

    #[must_use]
    pub fn next_manifest(&self) -> ManifestNumber {
        self.manifests.last_key_value().map_or(1, |(last, _)| last.saturating_add(1))
    }

    /// A station's clock may be set back; its journal's time is not.
    #[must_use]
    pub fn not_before_last(&self, now: Timestamp) -> Timestamp {
        now.max(self.last)
    }

    /// Whether `step` may come next.
    pub fn check(&self, step: &Step) -> Result<(), LedgerError> {
        if self.owner.is_none() != matches!(step, Step::Opened { .. }) {
            return Err(LedgerError::Opening);
        }
        match step {
            Step::Opened { .. } => Ok(()),
            Step::Planned(planned) => self.check_planned(planned.unit),
            Step::Burning { unit } => self.check_transition(*unit, UnitState::Burning),
            Step::ReadBack { unit } => self.check_transition(*unit, UnitState::ReadBack),
            Step::Burned { unit } => self.check_transition(*unit, UnitState::Burned),
            Step::Voided { unit, reason } => self.check_transition(*unit, UnitState::Voided(*reason)),
            Step::Exported { manifest, units } => self.check_exported(*manifest, units),
        }
    }

    pub fn apply(&mut self, at: Timestamp, step: &Step) -> Result<(), LedgerError> {
        self.check(step)?;
        self.last = self.last.max(at);
        match step {
            Step::Opened { station, lot } => self.owner = Some((*station, *lot)),
            Step::Planned(planned) => self.plan(at, planned),
            Step::Burning { unit } => self.put(*unit, UnitState::Burning, at),
            Step::ReadBack { unit } => self.put(*unit, UnitState::ReadBack, at),
            Step::Burned { unit } => self.finish(*unit, UnitState::Burned, at),
            Step::Voided { unit, reason } => self.finish(*unit, UnitState::Voided(*reason), at),
            Step::Exported { manifest, units } => self.export(at, *manifest, units),
        }
        Ok(())
    }

    fn check_planned(&self, unit: UnitNumber) -> Result<(), LedgerError> {
        if let Some(unfinished) = self.unfinished {
            return Err(LedgerError::Unfinished(unfinished));
        }
        let expected = self.next_unit();
        if unit != expected {
            return Err(LedgerError::UnitNumber { expected, got: unit });
        }
        Ok(())
    }

    fn check_transition(&self, unit: UnitNumber, to: UnitState) -> Result<(), LedgerError> {
        let from = self.units.get(&unit).ok_or(LedgerError::UnknownUnit(unit))?.state;
        let allowed = match to {
            UnitState::Planned => false,
            UnitState::Burning => from == UnitState::Planned,
            UnitState::ReadBack => from == UnitState::Burning,
            UnitState::Burned => from == UnitState::ReadBack,
            UnitState::Voided(_) => {
                matches!(from, UnitState::Planned | UnitState::Burning | UnitState::ReadBack)
            }
        };
        if allowed { Ok(()) } else { Err(LedgerError::Transition { unit, from, to }) }
    }

    fn check_exported(&self, manifest: ManifestNumber, units: &[UnitNumber]) -> Result<(), LedgerError> {
        let expected = self.next_manifest();
        if manifest != expected {
            return Err(LedgerError::ManifestNumber { expected, got: manifest });
        }
        let exportable = |number: &UnitNumber| {
            self.units.get(number).is_some_and(|u| u.state == UnitState::Burned && u.manifest.is_none())
        };
        let twice = units.windows(2).find(|pair| pair[0] >= pair[1]).map(|pair| &pair[1]);
        match units.iter().find(|number| !exportable(number)).or(twice) {
            Some(number) => Err(LedgerError::NotExportable(*number)),
            None => Ok(()),
        }
    }

    fn plan(&mut self, at: Timestamp, planned: &PlannedUnit) {
        let unit = Unit { state: UnitState::Planned, planned: planned.clone(), at, manifest: None };
        self.by_record.insert(planned.record, planned.unit);
        self.units.insert(planned.unit, unit);
        self.unfinished = Some(planned.unit);
    }

    fn put(&mut self, number: UnitNumber, state: UnitState, at: Timestamp) {
        if let Some(unit) = self.units.get_mut(&number) {
            unit.state = state;
            unit.at = at;
        }
    }

    fn finish(&mut self, number: UnitNumber, state: UnitState, at: Timestamp) {
        self.put(number, state, at);
        self.unfinished = None;
        if let (UnitState::Burned, Some(unit)) = (state, self.units.get(&number)) {
            self.burned += 1;
            self.by_hardware.insert(unit.planned.hardware, number);
        }
    }

    fn export(&mut self, at: Timestamp, manifest: ManifestNumber, units: &[UnitNumber]) {
        for number in units {
            if let Some(unit) = self.units.get_mut(number) {
                unit.manifest = Some(manifest);
            }
        }
        self.manifests.insert(manifest, ExportedManifest { at, units: units.to_vec() });
    }
}

impl std::fmt::Display for UnitState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            UnitState::Planned => f.write_str("planned"),
            UnitState::Burning => f.write_str("burning"),
            UnitState::ReadBack => f.write_str("read back"),
            UnitState::Burned => f.write_str("burned"),
            UnitState::Voided(reason) => write!(f, "voided ({reason})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::tests::planned;
    use super::*;
    use proptest::prelude::*;

    const AT: Timestamp = Timestamp::from_millis(1000);

    fn opened() -> Ledger {
        let mut ledger = Ledger::default();
        let owner = Step::Opened { station: StationId::from_bytes([1; 4]), lot: LotId::from_bytes([2; 4]) };
        ledger.apply(AT, &owner).unwrap();
        ledger
    }

    fn burn(ledger: &mut Ledger, unit: UnitNumber) {
        let steps = [
            Step::Planned(planned(unit)),
            Step::Burning { unit },
            Step::ReadBack { unit },
            Step::Burned { unit },
        ];
        for step in steps {
            ledger.apply(AT, &step).unwrap();
        }
    }

    #[test]
    fn the_number_of_a_voided_unit_is_never_used_again() {
        let mut ledger = opened();
        ledger.apply(AT, &Step::Planned(planned(1))).unwrap();
        ledger.apply(AT, &Step::Voided { unit: 1, reason: VoidReason::Blank }).unwrap();
        let again = ledger.apply(AT, &Step::Planned(planned(1)));
        assert_eq!(again, Err(LedgerError::UnitNumber { expected: 2, got: 1 }));
        burn(&mut ledger, 2);
        assert_eq!((ledger.burned(), ledger.next_unit()), (1, 3));
    }

    #[test]
    fn a_unit_is_exported_once() {
        let mut ledger = opened();
        burn(&mut ledger, 1);
        assert_eq!(ledger.unexported(), vec![1]);
        ledger.apply(AT, &Step::Exported { manifest: 1, units: vec![1] }).unwrap();
        assert!(ledger.unexported().is_empty());
        let again = ledger.apply(AT, &Step::Exported { manifest: 2, units: vec![1] });
        assert_eq!(again, Err(LedgerError::NotExportable(1)));
        burn(&mut ledger, 2);
        let doubled = ledger.apply(AT, &Step::Exported { manifest: 2, units: vec![2, 2] });
        assert_eq!(doubled, Err(LedgerError::NotExportable(2)));
    }

    #[test]
    fn time_does_not_go_back_with_the_clock() {
        let ledger = opened();
        assert_eq!(ledger.not_before_last(Timestamp::ZERO), AT);
        assert_eq!(ledger.not_before_last(AT.plus_millis(1)), AT.plus_millis(1));
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let unit = 1u32..5;
        prop_oneof![
            unit.clone().prop_map(|unit| Step::Planned(planned(unit))),
            unit.clone().prop_map(|unit| Step::Burning { unit }),
            unit.clone().prop_map(|unit| Step::ReadBack { unit }),
            unit.clone().prop_map(|unit| Step::Burned { unit }),
            unit.clone().prop_map(|unit| Step::Voided { unit, reason: VoidReason::Blank }),
            (1u32..4, prop::collection::vec(unit, 0..3))
                .prop_map(|(manifest, units)| Step::Exported { manifest, units }),
        ]
    }

    proptest! {
        #[test]
        fn no_order_of_steps_breaks_an_invariant(steps in prop::collection::vec(any_step(), 0..60)) {
            let mut ledger = opened();
            for step in steps {
                let before = ledger.clone();
                if ledger.apply(AT, &step).is_err() {
                    prop_assert_eq!(&before, &ledger);
                }
                let states = ledger.units().values().map(|u| u.state);
                let open = states.clone().filter(|s| !matches!(s, UnitState::Burned | UnitState::Voided(_)));
                prop_assert_eq!(open.count(), usize::from(ledger.unfinished().is_some()));
                prop_assert_eq!(states.filter(|s| *s == UnitState::Burned).count(), ledger.burned() as usize);
                prop_assert!(before.next_unit() <= ledger.next_unit());
                for (number, unit) in before.units() {
                    let now = &ledger.units()[number];
                    prop_assert_eq!(&unit.planned, &now.planned);
                    if matches!(unit.state, UnitState::Burned | UnitState::Voided(_)) {
                        prop_assert_eq!(unit.state, now.state);
                    }
                }
            }
        }
    }
}
