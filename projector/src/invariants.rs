//! What must hold after every entry. A violation is a bug of the fold, or a forged snapshot.

use crate::projector::Projector;
use crate::state::State;
use crate::state::device::{DIRECTIVES_KEPT, Record, TRANSCRIPTS_KEPT};
use crate::state::index::Index;
use crate::state::license::Fate;
use crate::state::row::{Row, marks};
use crate::state::session::{FORKS_KEPT, Link, OTHER_BRANCHES_KEPT, SUPERSEDED_KEPT, Standing};
use crate::state::update::Trial;
use crate::view::{FlagSubject, LicenseState};
use crate::works::{DoAll, in_parts, one_by_one};
use events::ids::Slot;
use events::limits::PENDING_SUCCESSORS_MAX;
use events::vocabulary::shared::{FlagKind, Legitimacy, OperationKind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Devices that are checked as one piece of work.
const DEVICES_AT_ONCE: usize = 4096;

/// An invariant that does not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("{rows} rows but {records} records")]
    RowsAndRecords { rows: usize, records: usize },
    #[error("slot {slot}: {rule}")]
    Device { slot: Slot, rule: &'static str },
    #[error("license {license}: {rule}")]
    License { license: u32, rule: &'static str },
    #[error("code {code}: {rule}")]
    Code { code: u32, rule: &'static str },
    #[error("what is derived from the state differs from the state")]
    Index,
    #[error("devices, records, units, codes or sources are not unique")]
    NotUnique,
    #[error("a station imported more than its quota, or a count differs from what it counts")]
    Factory,
    #[error("checkpoints are more than are kept, out of order, or of entries after their own")]
    Checkpoints,
    #[error("keys of requests are more than are kept, or out of order")]
    Requests,
    #[error("rollout {rollout}: {rule}")]
    Rollout { rollout: u32, rule: &'static str },
    #[error("code batch {batch}: its counts differ from its codes")]
    CodeBatch { batch: u32 },
}

/// Checks every invariant; takes time in proportion to the state.
pub fn check(projector: &Projector) -> Result<(), Violation> {
    let state = &projector.state;
    check_indexed(state, &one_by_one)?;
    if Index::of(state, &one_by_one) != state.index || !all_are_found(state) {
        return Err(Violation::Index);
    }
    Ok(())
}

/// As [`check`], of a state whose index was just made from it.
pub(crate) fn check_indexed(state: &State, do_all: DoAll<'_>) -> Result<(), Violation> {
    let (rows, records) = (state.rows.len(), state.records.len());
    if rows != records {
        return Err(Violation::RowsAndRecords { rows, records });
    }
    let devices = in_parts(rows, DEVICES_AT_ONCE, do_all, |slots| check_devices(state, slots));
    devices.into_iter().collect::<Result<(), _>>()?;
    check_licenses(state)?;
    check_factory(state)?;
    check_rollouts(state)?;
    let unique = state.index.devices.len() == records
        && state.index.records.len() == records
        && state.index.units.len() == records
        && state.index.codes.len() == state.codes.len()
        && state.index.code_batches.len() == state.code_batches.len()
        && state.index.sources.len() == state.sources.len()
        && state.index.flags.len() == state.flags.len();
    if !state.requests.is_sound() {
        return Err(Violation::Requests);
    }
    if !state.checkpoints.is_sound() {
        return Err(Violation::Checkpoints);
    }
    if unique { Ok(()) } else { Err(Violation::NotUnique) }
}

fn check_devices(state: &State, slots: Range<Slot>) -> Result<(), Violation> {
    for slot in slots {
        let (Some(row), Some(record)) = (state.rows.get(slot), state.records.get(slot)) else { continue };
        let violated = |rule| Violation::Device { slot, rule };
        check_session(row, record).map_err(violated)?;
        check_standing(state, slot, row, record).map_err(violated)?;
    }
    Ok(())
}

fn check_session(row: &Row, record: &Record) -> Result<(), &'static str> {
    let session = &record.session;
    let numbers: Vec<_> = session.all().map(|standing| standing.link().epoch).collect();
    let current = session.current.as_ref().map_or(0, |link| link.epoch);
    let superseded_below_current = session.superseded.iter().all(|old| old.link.epoch != current);
    let links_sound = session.all().map(Standing::link).all(|link| link.parent < link.epoch);
    let evicted: BTreeMap<_, _> = session.evicted.iter().map(|e| (e.parent, e.ticket)).collect();
    let older = |link: &Link| evicted.get(&link.parent).is_some_and(|&ticket| link.ticket < ticket);
    let evicted_sound = evicted.len() == session.evicted.len()
        && evicted.keys().all(|parent| *parent == 0 || numbers.contains(parent))
        && !session.pending.iter().any(older);
    let windows = session.superseded.iter().map(|old| &old.window).chain([&row.window]);
    let rules = [
        (row.epoch == current, "the row's epoch is the current one"),
        (numbers.iter().all(|&epoch| epoch != 0 && epoch < row.next_epoch), "epochs are below the next one"),
        (numbers.iter().collect::<BTreeSet<_>>().len() == numbers.len(), "epochs are unique"),
        (superseded_below_current, "the current epoch is not superseded"),
        (links_sound, "an epoch is above its parent"),
        (session.pending.len() <= PENDING_SUCCESSORS_MAX, "at most four successors are pending"),
        (
            session.superseded.len() <= SUPERSEDED_KEPT + OTHER_BRANCHES_KEPT,
            "at most five superseded epochs are kept",
        ),
        (session.forks.len() <= FORKS_KEPT, "at most four forks are kept"),
        (evicted_sound, "what is pending is not older than what was evicted from its parent, which is kept"),
        (record.transcripts().len() <= TRANSCRIPTS_KEPT, "at most four transcripts are kept"),
        (row.has(marks::FORKED) != session.forks.is_empty(), "the mark of a fork tells of forks"),
        (windows.into_iter().all(|window| window.is_sound()), "windows are sound"),
        (record.numbers.is_sound(), "the numbers of bodies are sound"),
    ];
    first_broken(&rules)
}

fn check_standing(state: &State, slot: Slot, row: &Row, record: &Record) -> Result<(), &'static str> {
    let binding = record.incidents.bound_by.and_then(|at| state.operations.get(at));
    let bound_as = binding.filter(|o| o.device == record.birth.device).map(|o| o.directive.kind);
    let by_order = match row.legitimacy {
        Legitimacy::Restricted => bound_as == Some(OperationKind::Restrict),
        Legitimacy::Revoked => bound_as == Some(OperationKind::Revoke),
        Legitimacy::Provisioned | Legitimacy::Legitimate | Legitimacy::Suspect | Legitimacy::Retired => {
            record.incidents.bound_by.is_none()
        }
    };
    let license = record.license.and_then(|at| state.licenses.get(at));
    let owned = record.license.is_none() || license.is_some_and(|license| license.slot == slot);
    let active = license.is_some_and(|license| license.state == LicenseState::Active);
    let activated = match row.legitimacy {
        Legitimacy::Legitimate => license.is_some(),
        Legitimacy::Provisioned => license.is_none(),
        Legitimacy::Suspect | Legitimacy::Restricted | Legitimacy::Revoked | Legitimacy::Retired => true,
    };
    let ascending = record.directives.windows(2).all(|pair| pair[0].view.id < pair[1].view.id);
    let lowest_named = record.directives.first().is_none_or(|lowest| lowest.named != 0);
    let open = |id: events::vocabulary::shared::DirectiveId| {
        let at = state.index.operations.get(&(id.index, id.ordinal));
        at.is_some_and(|at| state.index.unsettled.contains(at))
    };
    let subject = FlagSubject::Device(record.birth.device);
    let in_good_standing = matches!(row.legitimacy, Legitimacy::Provisioned | Legitimacy::Legitimate);
    let overlooked = in_good_standing && state.open_flag(FlagKind::Clone, &subject).is_some();
    let source_known = row.source == crate::state::row::NO_SOURCE || state.sources.get(row.source).is_some();
    let rules = [
        (by_order, "a device is restricted or revoked by an order only"),
        (!overlooked, "a proven clone is not in good standing"),
        (owned, "a device's license names the device"),
        (activated, "a legitimate device owns a license, a provisioned one none"),
        (row.has(marks::LICENSED) == active, "the mark of a license tells of an active license"),
        (row.has(marks::DIRECTED) != record.directives.is_empty(), "the mark tells of directives"),
        (record.directives.len() <= DIRECTIVES_KEPT && ascending, "directives are few and ascend"),
        (record.directives.iter().all(|directed| open(directed.view.id)), "a directive's order is open"),
        (lowest_named, "verdicts name the lowest directive"),
        (source_known, "a row's source is known"),
    ];
    first_broken(&rules)
}

/// Each device by its three names, each code by its digest.
fn all_are_found(state: &State) -> bool {
    let is_found = |(slot, record): (Slot, &Record)| {
        let birth = &record.birth;
        state.slot_of(&birth.device) == Some(slot)
            && state.slot_of_record(&birth.record) == Some(slot)
            && state.slot_of_unit(birth.station, birth.unit) == Some(slot)
    };
    state.records.numbered().all(is_found)
        && state.codes.numbered().all(|(at, code)| state.code_at(&code.digest) == Some(at))
}

fn check_licenses(state: &State) -> Result<(), Violation> {
    for (at, license) in state.licenses.numbered() {
        let code = state.codes.get(license.code);
        if code.is_none_or(|code| code.fate != Fate::Used(at) && code.fate != Fate::Replaced(at)) {
            return Err(Violation::License { license: at, rule: "its code created it" });
        }
        let owner = state.records.get(license.slot);
        let ended = license.state == LicenseState::Expired;
        if !owner.is_some_and(|owner| owner.license == Some(at) || ended) {
            return Err(Violation::License { license: at, rule: "its device owns it until it ended" });
        }
    }
    let mut counts = vec![(0, 0, 0); state.code_batches.len()];
    for (at, code) in state.codes.numbered() {
        let Some((issued, used, void)) = counts.get_mut(code.batch as usize) else {
            return Err(Violation::Code { code: at, rule: "its batch exists" });
        };
        *issued += 1;
        match code.fate {
            Fate::Unused => {}
            Fate::Void => *void += 1,
            Fate::Used(license) => {
                *used += 1;
                if state.code_in_use(license) != Some(at) {
                    return Err(Violation::Code { code: at, rule: "its license names it" });
                }
            }
            Fate::Replaced(license) => {
                *used += 1;
                if state.licenses.get(license).is_none() || state.code_in_use(license) == Some(at) {
                    return Err(Violation::Code { code: at, rule: "another code took its place" });
                }
            }
        }
    }
    for ((at, batch), counted) in state.code_batches.numbered().zip(counts) {
        if (batch.issued, batch.used, batch.void) != counted {
            return Err(Violation::CodeBatch { batch: at });
        }
    }
    Ok(())
}

/// A quota may be lowered below what was imported; it only stops what comes after.
fn check_factory(state: &State) -> Result<(), Violation> {
    let of_lots: u64 = state.lots.values().map(|lot| u64::from(lot.devices)).sum();
    let of_stations: u64 = state.stations.values().map(|station| u64::from(station.used)).sum();
    let born = |record: &Record| {
        state.lots.contains_key(&record.birth.lot)
            && state.stations.get(&record.birth.station).is_some_and(|s| s.lot == record.birth.lot)
    };
    let devices = state.records.len() as u64;
    let sound = of_lots == devices && of_stations == devices && state.records.iter().all(born);
    if sound { Ok(()) } else { Err(Violation::Factory) }
}

fn check_rollouts(state: &State) -> Result<(), Violation> {
    let mut counted = vec![(0_u32, 0_u32, BTreeMap::<u8, u32>::new()); state.rollouts.len()];
    for tried in state.records.iter().filter_map(|record| record.incidents.tried) {
        let Some((told, installed, failed)) = counted.get_mut(tried.rollout as usize) else {
            return Err(Violation::Rollout { rollout: tried.rollout, rule: "who was told of it knows it" });
        };
        *told += 1;
        match tried.result {
            Trial::Open => {}
            Trial::Installed => *installed += 1,
            Trial::Failed(code) => *failed.entry(code).or_default() += 1,
        }
    }
    for ((at, rollout), (told, installed, failed)) in state.rollouts.numbered().zip(counted) {
        let offer = rollout.offer();
        let shares = |other: u32| {
            let both = |(id, lot): (&events::ids::LotId, &crate::state::factory::Lot)| {
                let covers = |at: u32| {
                    let active = state.index.active_rollouts.get(&at);
                    active.is_some_and(|active| active.offer.scope.covers(id, &lot.sku))
                };
                covers(at) && covers(other)
            };
            other != at && state.lots.iter().any(both)
        };
        let counts = (rollout.offered, rollout.installed, &rollout.failed) == (told, installed, &failed);
        let rules = [
            (offer.is_some(), "its offer can be read"),
            (usize::from(rollout.phase) < rollout.rules.phases.len(), "its phase is one of its phases"),
            (counts || !rollout.is_active(), "it counts those that it is for"),
            (rollout.offered >= told, "nobody was told that it does not count"),
            (rollout.installed + rollout.failures() <= rollout.offered, "each that was told has one result"),
            (
                !state.index.active_rollouts.keys().any(|other| shares(*other)),
                "a lot has one rollout at a time",
            ),
        ];
        first_broken(&rules).map_err(|rule| Violation::Rollout { rollout: at, rule })?;
    }
    Ok(())
}

fn first_broken(rules: &[(bool, &'static str)]) -> Result<(), &'static str> {
    rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
}
