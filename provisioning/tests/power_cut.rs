//! Power is cut at every write of a burn, in every way that a disk and fuses can be left; afterwards every terminal is
//! definitely unburned, burned or scrap, none was burned twice, and no burned one is missing from the manifest.

#![allow(clippy::unwrap_used, reason = "tests may fail by panicking")]

#[allow(dead_code, reason = "each suite uses its part of the bench")]
mod bench;

use bench::{Bench, Cut, Fuses, NOW, Power, fingerprint, rng};
use events::identity::otp::{FuseSecret, OtpRecord, SLOT_BYTES};
use events::ids::DeviceId;
use proptest::prelude::*;
use provisioning::station::{
    BurnConsent, BurnError, BurnedUnit, ExportError, Memory, Station, Terminal, UnitState,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;

fn is_seed(terminal: usize) -> bool {
    terminal % 2 == 1
}

/// More writes than one burn makes: a cut after all of them is no cut.
const WRITES_MAX: u32 = 9;
/// How much of a write happens: nothing, a torn line, one of two lines, all.
const SHARES: [usize; 4] = [0, 50, 97, 100];

/// A production line: every second terminal is of the `seed` profile.
struct Line<'a> {
    bench: &'a Bench,
    power: Power,
    terminals: Vec<Fuses>,
    storage: TempDir,
}

impl<'a> Line<'a> {
    fn new(bench: &'a Bench, terminals: usize) -> Self {
        let power = Power::default();
        let size = |terminal| if is_seed(terminal) { FuseSecret::BYTES } else { SLOT_BYTES };
        let terminals = (0..terminals).map(|terminal| Fuses::new(&power, size(terminal))).collect();
        Line { bench, power, terminals, storage: tempfile::tempdir().unwrap() }
    }

    fn record(&self, terminal: usize) -> PathBuf {
        self.storage.path().join(terminal.to_string())
    }

    fn burn(&mut self, station: &mut Station, terminal: usize) -> Result<BurnedUnit, BurnError> {
        let (fingerprint, record) = (fingerprint(terminal), self.record(terminal));
        let fuses = &mut self.terminals[terminal];
        let memory =
            if is_seed(terminal) { Memory::Seed { fuses, record: &record } } else { Memory::Full(fuses) };
        let mut connected = Terminal { fingerprint: &fingerprint, memory };
        station.burn_unit(&mut connected, BurnConsent::DevelopmentOnly, &mut rng(), NOW)
    }

    /// Works on one terminal until the power goes or the work ends; then power comes back.
    fn burn_with_cut(&mut self, terminal: usize, cut: Cut) {
        self.power.cut_at(cut);
        if let Ok(mut station) = self.bench.station(&self.power) {
            let _ = self.burn(&mut station, terminal);
        }
        self.power.restore();
    }

    /// What the terminal itself would find: its device, if its record opens on it.
    fn boots_as(&self, terminal: usize) -> Option<DeviceId> {
        let slot = &self.terminals[terminal].slot;
        let (record, fuses) = match is_seed(terminal) {
            true => (std::fs::read(self.record(terminal)).ok()?, FuseSecret::try_from(&slot[..]).ok()),
            false => (slot.clone(), None),
        };
        let record = OtpRecord::parse(&record).ok()?;
        let opened = self.bench.firmware.open_record(&record, fuses.as_ref(), &fingerprint(terminal)).ok()?;
        Some(opened.seed.device_key().public().device_id())
    }

    /// The devices that the cluster would learn of.
    fn imported(&self, station: &mut Station) -> Vec<DeviceId> {
        match station.export(&mut rng(), NOW) {
            Ok(exported) => {
                let verified = exported.manifest.verify(&self.bench.factory.public()).unwrap();
                let opened = verified.open(&self.bench.keyring).unwrap();
                opened.entries.iter().map(|entry| entry.device()).collect()
            }
            Err(ExportError::NothingBurned) => Vec::new(),
            Err(e) => panic!("{e}"),
        }
    }

    /// Finishes every terminal and checks all promises.
    fn finish_and_check(&mut self) {
        let mut station = self.bench.station(&self.power).unwrap();
        // The unfinished terminal first: the station refuses every other until it is settled.
        let mut order: Vec<usize> = (0..self.terminals.len()).collect();
        if let Some((unit, _)) = station.unfinished() {
            let refused_by = |e: &BurnError| matches!(e, BurnError::OtherTerminal { unit: u } if *u == unit);
            let own =
                order.iter().copied().find(|t| !self.burn(&mut station, *t).is_err_and(|e| refused_by(&e)));
            order.retain(|terminal| Some(*terminal) != own);
        }
        let mut expected = Vec::new();
        for terminal in order {
            match self.burn(&mut station, terminal) {
                Ok(_)
                | Err(BurnError::AlreadyUnit { .. } | BurnError::Terminal(_) | BurnError::Scrap { .. }) => {}
                Err(e) => panic!("terminal {terminal}: {e}"),
            }
        }
        assert!(station.unfinished().is_none());
        for terminal in 0..self.terminals.len() {
            assert_eq!(self.terminals[terminal].burns, 1, "terminal {terminal} was burned exactly once");
            expected.extend(self.boots_as(terminal));
        }
        let mut imported = self.imported(&mut station);
        expected.sort();
        imported.sort();
        assert_eq!(imported, expected, "the manifest names exactly the terminals that work");
        let states: Vec<UnitState> = station.ledger().units().values().map(|unit| unit.state).collect();
        assert!(states.iter().all(|state| matches!(state, UnitState::Burned | UnitState::Voided(_))));
        let reopened = self.bench.station(&self.power).unwrap();
        assert_eq!(reopened.ledger(), station.ledger(), "the journal says the same when it is read again");
    }
}

#[test]
fn whenever_the_power_goes_every_terminal_ends_definite_and_none_is_lost() {
    let bench = Bench::new(1000);
    let mut fates: BTreeMap<&str, u32> = BTreeMap::new();
    let mut cuts = 0;
    for after in 0..WRITES_MAX {
        for percent_done in SHARES {
            for percent_unsynced in SHARES {
                let mut line = Line::new(&bench, 1);
                line.power.cut_at(Cut { after, percent_done, percent_unsynced });
                if let Ok(mut station) = line.bench.station(&line.power) {
                    let _ = line.burn(&mut station, 0);
                }
                cuts += u32::from(line.power.is_dead());
                line.power.restore();
                let fate = match (line.terminals[0].burns, line.boots_as(0)) {
                    (0, _) => "unburned",
                    (_, Some(_)) => "burned",
                    (_, None) => "scrap",
                };
                *fates.entry(fate).or_default() += 1;
                line.finish_and_check();
            }
        }
    }
    // The net is only worth something if the cuts really met every fate.
    let writes = "the fsync on opening, three appends with their fsyncs, and the burn";
    assert_eq!(cuts, 8 * 16, "{writes}");
    assert!(["unburned", "burned", "scrap"].iter().all(|fate| fates.contains_key(fate)), "{fates:?}");
}

#[test]
fn a_burned_terminal_whose_last_line_was_lost_is_answered_as_burned_and_keeps_its_unit() {
    let bench = Bench::new(1000);
    let mut resumed = 0;
    for (after, percent_done) in cuts() {
        let mut line = Line::new(&bench, 1);
        line.burn_with_cut(0, Cut { after, percent_done, percent_unsynced: 0 });
        let Some(device) = line.boots_as(0) else { continue };
        let mut station = line.bench.station(&line.power).unwrap();
        if station.unfinished().is_none() {
            continue;
        }
        let answer = line.burn(&mut station, 0).unwrap();
        assert_eq!((answer.device, answer.unit, answer.resumed), (device, 1, true));
        resumed += 1;
    }
    assert_eq!(resumed, 1 + 4 + 3, "after the burn, in the last append, and in its fsync");
}

fn cuts() -> impl Iterator<Item = (u32, usize)> {
    (0..WRITES_MAX).flat_map(|after| SHARES.map(|share| (after, share)))
}

#[test]
fn another_terminal_is_not_touched_while_one_is_unfinished() {
    let bench = Bench::new(1000);
    let mut refusals = 0;
    for (after, percent_done) in cuts() {
        let mut line = Line::new(&bench, 2);
        line.burn_with_cut(0, Cut { after, percent_done, percent_unsynced: 0 });
        let mut station = line.bench.station(&line.power).unwrap();
        let Some((unit, _)) = station.unfinished() else { continue };
        let refused = line.burn(&mut station, 1).unwrap_err();
        assert!(matches!(refused, BurnError::OtherTerminal { unit: u } if u == unit), "{refused}");
        assert_eq!(line.terminals[1].burns, 0);
        station.give_up(NOW).unwrap();
        assert!(line.burn(&mut station, 1).is_ok());
        refusals += 1;
    }
    assert!(refusals >= 8, "{refusals}");
}

#[test]
fn a_cut_during_an_export_loses_no_unit_and_exports_none_in_two_manifests() {
    let bench = Bench::new(1000);
    for (after, percent_done) in cuts() {
        let mut line = Line::new(&bench, 2);
        let mut station = bench.station(&line.power).unwrap();
        for terminal in 0..2 {
            line.burn(&mut station, terminal).unwrap();
        }
        line.power.cut_at(Cut { after, percent_done, percent_unsynced: 50 });
        let _ = station.export(&mut rng(), NOW);
        drop(station);
        line.power.restore();
        let mut station = bench.station(&line.power).unwrap();
        let exported = station.export(&mut rng(), NOW).unwrap();
        assert_eq!((exported.number, exported.units), (1, vec![1, 2]));
    }
}

#[test]
#[should_panic(expected = "the manifest names exactly the terminals that work")]
fn these_checks_catch_a_planted_bug_an_fsync_that_lies() {
    let bench = Bench::new(1000);
    let mut line = Line::new(&bench, 1);
    line.power.lie_about_fsync();
    line.burn_with_cut(0, Cut { after: 6, percent_done: 0, percent_unsynced: 0 });
    line.finish_and_check();
}

fn any_cut() -> impl Strategy<Value = Cut> {
    let parts = (0..WRITES_MAX, 0usize..=100, 0usize..=100);
    parts.prop_map(|(after, percent_done, percent_unsynced)| Cut { after, percent_done, percent_unsynced })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_sequence_of_power_cuts_burns_a_terminal_twice_or_loses_one(
        work in prop::collection::vec((0usize..3, any_cut()), 0..8)
    ) {
        let bench = Bench::new(1000);
        let mut line = Line::new(&bench, 3);
        for (terminal, cut) in work {
            line.burn_with_cut(terminal, cut);
        }
        line.finish_and_check();
    }
}
