//! What differs between two moments of a log, or between two nodes' logs: for whom, and since which entry.
//!
//! Heartbeats that are mere routine change a count and a time; they are told as numbers, not as differences.

use super::affected::{devices_of, in_words};
use super::fold::{Fold, Folded};
use super::moment::Moment;
use crate::exit::{USAGE, coded};
use anyhow::{Context as _, Result};
use events::batch::access;
use events::ids::{DeviceId, LogIndex, Slot};
use events::log::record::EntryBody;
use events::time::Timestamp;
use nodes::storage::log_reader::HistoryEntry;
use projector::reasons::evidence;
use projector::view::{FlagSubject, FlagView};
use projector::{Change, Projector, WantOperation};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One state, named.
#[derive(Clone, Serialize)]
pub struct Standpoint {
    pub index: LogIndex,
    pub stamp: Timestamp,
    pub digest: String,
    pub devices: u32,
    pub heartbeats: u64,
    /// Events of unknown kinds that were passed over up to there, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<u16, u64>,
}

/// How two states differ.
#[derive(Serialize)]
pub struct Differences {
    pub from: Standpoint,
    pub to: Standpoint,
    /// Two logs: the first entry that is not the same in both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_other_entry: Option<OtherEntry>,
    pub devices: Vec<DeviceDifference>,
    /// Flags that were raised or cleared and are about no device.
    pub flags: Vec<FlagView>,
    /// Two settings: flags, about whatever, that only one of them raised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags_only: Option<FlagsOnly>,
}

/// Flags that one of two folds of one log raised and the other did not.
#[derive(Serialize)]
pub struct FlagsOnly {
    pub from: Vec<FlagView>,
    pub to: Vec<FlagView>,
}

/// Where two logs part.
#[derive(Clone, Serialize)]
pub struct OtherEntry {
    pub index: LogIndex,
    pub from: String,
    pub to: String,
}

/// What differs for one device.
#[derive(Serialize)]
pub struct DeviceDifference {
    pub device: DeviceId,
    pub changes: Vec<FactChange>,
}

/// One fact that differs.
#[derive(Serialize)]
pub struct FactChange {
    pub what: &'static str,
    pub from: String,
    pub to: String,
    /// The entry that changed it last.
    pub index: Option<LogIndex>,
    pub cause: Option<String>,
}

const FACTS: [&str; 11] = [
    "imported",
    "legitimacy",
    "epoch",
    "source",
    "suite",
    "license",
    "firmware",
    "boots",
    "condition",
    "directive",
    "flags",
];

type Facts = [String; FACTS.len()];

/// Folds to `from`, then to `to`, and says what changed between them.
pub fn between(
    fold: &mut Fold,
    from: Moment,
    to: Moment,
    mut on_entry: impl FnMut(&Fold),
) -> Result<Differences> {
    while fold.next_up_to(from)?.is_some() {
        on_entry(fold);
    }
    fold.check_reached(from)?;
    if to.is_before(fold.state()) {
        return Err(coded(USAGE, format!("{to} lies before {from}; give the earlier moment first")));
    }
    let (mut before, skipped) = (fold.state().clone(), fold.skipped().clone());
    let mut causes = Causes::default();
    while causes.fold_next(fold, to)?.is_some() {
        on_entry(fold);
    }
    fold.check_reached(to)?;
    let mut differences = compare(&mut before, fold.projector(), None, |slot, fact| causes.of(slot, fact));
    (differences.from.skipped, differences.to.skipped) = (skipped, fold.skipped().clone());
    Ok(differences)
}

/// Folds two logs up to `until`, or as far as both reach, and says how their states differ.
pub fn of_logs(
    left: &mut Fold,
    right: &mut Fold,
    until: Moment,
    mut on_entry: impl FnMut(&Fold),
) -> Result<Differences> {
    let (mut causes, mut other) = (Sides::default(), None);
    loop {
        let (one, two) = (left.read_up_to(until)?, right.read_up_to(until)?);
        let (Some(one), Some(two)) = (one, two) else { break };
        if other.is_none() && one.entry != two.entry {
            let place = |entry: &HistoryEntry| {
                format!("{} at offset {} (term {})", entry.file.display(), entry.offset, entry.entry.at.term)
            };
            other = Some(OtherEntry { index: one.entry.at.index, from: place(&one), to: place(&two) });
        }
        if other.is_none() {
            left.apply(&one)?;
            right.apply(&two)?;
        } else {
            causes.left.fold(left, &one)?;
            causes.right.fold(right, &two)?;
        }
        on_entry(left);
    }
    left.check_reached(until)?;
    right.check_reached(until)?;
    let mut differences =
        compare(left.projector(), right.projector(), other, |slot, fact| causes.of(slot, fact));
    differences.say_skipped(left, right);
    Ok(differences)
}

impl Differences {
    /// What each of two folds passed over.
    pub(super) fn say_skipped(&mut self, left: &Fold, right: &Fold) {
        (self.from.skipped, self.to.skipped) = (left.skipped().clone(), right.skipped().clone());
    }
}

pub(super) fn compare(
    before: &mut Projector,
    after: &mut Projector,
    first_other_entry: Option<OtherEntry>,
    cause: impl Fn(Slot, &'static str) -> Option<(LogIndex, String)>,
) -> Differences {
    // A digest fills its cache, nothing else.
    let (from, to) = (standpoint(before), standpoint(after));
    let (before, after) = (&*before, &*after);
    let slots: BTreeSet<Slot> = before.devices().chain(after.devices()).map(|device| device.slot()).collect();
    let mut devices = Vec::new();
    for slot in slots {
        let (old, new) = (facts(before, slot), facts(after, slot));
        let Some(device) = after.device(slot).or_else(|| before.device(slot)) else { continue };
        let differing = FACTS.iter().zip(old.iter().zip(&new)).filter(|(_, (old, new))| old != new);
        let changes: Vec<_> = differing
            .map(|(&what, (old, new))| {
                let cause = cause(slot, what);
                let (index, cause) = (cause.as_ref().map(|(index, _)| *index), cause.map(|(_, words)| words));
                FactChange { what, from: old.clone(), to: new.clone(), index, cause }
            })
            .collect();
        if !changes.is_empty() {
            devices.push(DeviceDifference { device: device.id(), changes });
        }
    }
    let is_of_device = |flag: &&FlagView| matches!(flag.subject, FlagSubject::Device(_));
    let is_other = |flag: &&FlagView| {
        before.flag(&flag.id).is_none_or(|old| old.cleared != flag.cleared) && !is_of_device(flag)
    };
    let flags = after.flags().filter(is_other).cloned().collect();
    Differences { from, to, first_other_entry, devices, flags, flags_only: None }
}

/// Flags of two folds of one log: those of a kind, a subject and a moment that only one has.
pub(super) fn flags_only(from: &Projector, to: &Projector) -> FlagsOnly {
    let lacks = |other: &Projector, flag: &FlagView| {
        !other.flags_of(&flag.subject).any(|one| one.kind == flag.kind && one.raised == flag.raised)
    };
    FlagsOnly {
        from: from.flags().filter(|flag| lacks(to, flag)).cloned().collect(),
        to: to.flags().filter(|flag| lacks(from, flag)).cloned().collect(),
    }
}

fn standpoint(projector: &mut Projector) -> Standpoint {
    let counts = projector.counts();
    Standpoint {
        index: projector.applied(),
        stamp: projector.stamp(),
        digest: projector.digest().to_string(),
        devices: counts.burned,
        heartbeats: counts.heartbeats,
        skipped: BTreeMap::new(),
    }
}

/// What is told of a device, in the order of [`FACTS`]; `-` for what there is not.
fn facts(projector: &Projector, slot: Slot) -> Facts {
    let none = || "-".to_owned();
    let Some(view) = projector.device(slot) else { return std::array::from_fn(|_| none()) };
    let summary = view.summary();
    let license = summary.license.and_then(|license| projector.license(&license));
    let open: Vec<_> =
        view.flags().filter(|flag| flag.cleared.is_none()).map(|flag| flag.kind.to_string()).collect();
    [
        format!("at log index {}", summary.imported),
        summary.legitimacy.to_string(),
        summary.epoch.to_string(),
        summary.source.map_or_else(none, |source| source.to_string()),
        summary.suite.map_or_else(none, |suite| suite.to_string()),
        license.map_or_else(none, |license| {
            let end = match license.expires {
                Timestamp::ZERO => "without end".to_owned(),
                end => format!("until {end}"),
            };
            format!("{} {} {end}", license.license, format!("{:?}", license.state).to_lowercase())
        }),
        summary.firmware.to_string(),
        summary.boot_count.to_string(),
        format!("{:#04x}", summary.condition),
        summary
            .directive
            .map_or_else(none, |directive| format!("{} ({})", directive.kind, directive.id.index)),
        if open.is_empty() { none() } else { open.join(", ") },
    ]
}

/// What moved each of two folds.
#[derive(Default)]
pub(super) struct Sides {
    pub(super) left: Causes,
    pub(super) right: Causes,
}

impl Sides {
    /// The later of the two: before it both stood alike, or it parted them once more.
    pub(super) fn of(&self, slot: Slot, fact: &'static str) -> Option<(LogIndex, String)> {
        let both = [self.left.of(slot, fact), self.right.of(slot, fact)];
        both.into_iter().flatten().max_by_key(|(index, _)| *index)
    }
}

/// Which entry changed which fact last.
#[derive(Default)]
pub(super) struct Causes {
    known: BTreeMap<Slot, Facts>,
    last: BTreeMap<(Slot, &'static str), LogIndex>,
    words: BTreeMap<(LogIndex, Slot), String>,
}

impl Causes {
    fn of(&self, slot: Slot, fact: &'static str) -> Option<(LogIndex, String)> {
        let index = *self.last.get(&(slot, fact))?;
        Some((index, self.words.get(&(index, slot)).cloned().unwrap_or_else(|| "time passed".to_owned())))
    }

    fn fold_next(&mut self, fold: &mut Fold, until: Moment) -> Result<Option<Folded>> {
        match fold.read_up_to(until)? {
            Some(entry) => self.fold(fold, &entry).map(Some),
            None => Ok(None),
        }
    }

    /// Orders in this fold alone what policy wants there, after the last entry.
    pub(super) fn order(&mut self, fold: &mut Fold, want: WantOperation, ordinal: u16) {
        let (device, kind) = (want.device, want.kind);
        let Some(slot) = fold.state().slot_of(&device) else { return };
        let index = fold.state().applied();
        let before = facts(fold.state(), slot);
        let _ = fold.projector().danger_order(want, ordinal);
        let after = facts(fold.state(), slot);
        for at in (0..FACTS.len()).filter(|&at| before[at] != after[at]) {
            self.last.insert((slot, FACTS[at]), index);
        }
        if before != after {
            let said = self.words.entry((index, slot)).or_default();
            let what = format!("{kind} would have been ordered");
            *said = if said.is_empty() { what } else { format!("{said}; {what}") };
        }
        self.known.insert(slot, after);
    }

    pub(super) fn fold(&mut self, fold: &mut Fold, entry: &HistoryEntry) -> Result<Folded> {
        // What an entry is about is known once it is folded; what stood before must be kept for all that it may be
        // about, so its events are read first.
        let about = about(fold.state(), entry)?;
        for device in about.keys() {
            if let Some(slot) = fold.state().slot_of(device) {
                self.known.entry(slot).or_insert_with(|| facts(fold.state(), slot));
            }
        }
        let folded = fold.apply(entry)?;
        let state = fold.state();
        let mut words = about;
        for (device, what) in folded.changes.iter().filter_map(|change| told(change, state)) {
            let said = words.entry(device).or_default();
            *said = [said.as_str(), &what]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("; ");
        }
        for (device, what) in words {
            let Some(slot) = state.slot_of(&device) else { continue };
            let new = facts(state, slot);
            let differs = |at: usize| match self.known.get(&slot) {
                Some(old) => old[at] != new[at],
                // Only time, or another's event, was its cause: what it was before is not known here.
                None => folded.changes.iter().any(|change| is_about(change, device, FACTS[at])),
            };
            let differing: Vec<_> = (0..FACTS.len()).filter(|&at| differs(at)).collect();
            for &at in &differing {
                self.last.insert((slot, FACTS[at]), folded.index);
            }
            if !differing.is_empty() && !what.is_empty() {
                self.words.insert((folded.index, slot), what);
            }
            self.known.insert(slot, new);
        }
        Ok(folded)
    }
}

/// The devices that an entry's events speak of, and in which words.
fn about(state: &Projector, entry: &HistoryEntry) -> Result<BTreeMap<DeviceId, String>> {
    let mut about: BTreeMap<DeviceId, String> = BTreeMap::new();
    let payload = match &entry.entry.body {
        EntryBody::Batch(payload) => payload,
        EntryBody::Blank | EntryBody::Membership(_) => return Ok(about),
    };
    let (_, bytes) = events::batch::split_stamp(payload)
        .with_context(|| format!("{} at offset {}", entry.file.display(), entry.offset))?;
    let batch =
        access(bytes).with_context(|| format!("{} at offset {}", entry.file.display(), entry.offset))?;
    // An event that cannot be read is the fold's to refuse or to skip.
    for event in batch.decode_events().filter_map(Result::ok) {
        for device in devices_of(&event, state) {
            about
                .entry(device)
                .and_modify(|said| said.push_str("; "))
                .or_default()
                .push_str(&in_words(&event));
        }
    }
    // A routine heartbeat can confirm nothing, but what it says of the device's condition is a fact, and so is that it does
    // not report a directive as obeyed.
    for row in batch.heartbeats.rows() {
        let Some(device) = state.device(row.slot) else { continue };
        let unheeded = device.directive().is_some();
        if unheeded || device.condition() != row.condition {
            let why = if unheeded { ", which reports no directive as obeyed" } else { "" };
            about.entry(device.id()).or_insert_with(|| format!("heartbeat {}{why}", row.sequence));
        }
    }
    Ok(about)
}

/// A change of a device, in words.
fn told(change: &Change, state: &Projector) -> Option<(DeviceId, String)> {
    match change {
        Change::FlagRaised { flag, kind, subject: FlagSubject::Device(device), .. } => {
            let shown = state.flag(flag).map(|flag| format!(", {}", evidence(flag))).unwrap_or_default();
            Some((*device, format!("flag {kind} raised{shown}")))
        }
        Change::Legitimacy { device, .. }
        | Change::FlagCleared { subject: FlagSubject::Device(device), .. }
        | Change::OperationOrdered { device, .. }
        | Change::OperationSettled { device, .. } => Some((*device, String::new())),
        Change::License { device, from, to, .. } => {
            Some((*device, format!("license {from:?} → {to:?}").to_lowercase()))
        }
        Change::Notified { device, by, .. } => Some((*device, format!("notified by {by}"))),
        Change::LicenseMoved(_)
        | Change::Update { .. }
        | Change::AutomationStopped { .. }
        | Change::AutomationResumed => None,
        Change::FlagRaised { .. } | Change::FlagCleared { .. } => None,
    }
}

/// Whether a change says that this fact of the device is another now.
fn is_about(change: &Change, device: DeviceId, fact: &str) -> bool {
    match change {
        Change::Legitimacy { device: of, .. } => *of == device && fact == "legitimacy",
        Change::FlagRaised { subject, .. } | Change::FlagCleared { subject, .. } => {
            *subject == FlagSubject::Device(device) && fact == "flags"
        }
        Change::OperationOrdered { device: of, .. } | Change::OperationSettled { device: of, .. } => {
            *of == device && fact == "directive"
        }
        Change::License { device: of, .. } => *of == device && fact == "license",
        Change::LicenseMoved(_)
        | Change::Update { .. }
        | Change::Notified { .. }
        | Change::AutomationStopped { .. }
        | Change::AutomationResumed => false,
    }
}
