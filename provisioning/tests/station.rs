//! A station from its set-up to a burned terminal, on real files: what it burns, and what it refuses.

#![allow(clippy::unwrap_used, reason = "tests may fail by panicking")]

#[allow(dead_code, reason = "each suite uses its part of the bench")]
mod bench;

use bench::floor::{Floor, burn};
use bench::{Bench, Fuses, NOW, Power, UNTIL, fingerprint, rng};
use events::identity::fingerprint::{Component, Fingerprint};
use events::identity::otp::{OtpError, SLOT_BYTES, SealError};
use events::vocabulary::shared::ComponentKind;
use provisioning::files::FileError;
use provisioning::otp::{FileOtp, NvmemOtp, OtpMemory, OtpMemoryError};
use provisioning::station::{
    BurnConsent, BurnError, Memory, OpenError, Station, Terminal, TerminalError, UnitState, VerifyError,
    VoidReason, setup,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const DEVELOPMENT: BurnConsent = BurnConsent::DevelopmentOnly;

#[test]
fn a_second_burn_of_one_terminal_is_refused_and_names_its_unit() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    floor.burn(&mut station, 0).unwrap();
    let slot = floor.otp(0).read().unwrap();
    let again = floor.burn(&mut station, 0).unwrap_err();
    assert!(matches!(again, BurnError::AlreadyUnit { unit: 1, state: UnitState::Burned }), "{again}");
    assert_eq!(floor.otp(0).read().unwrap(), slot);
    assert_eq!(station.ledger().next_unit(), 2);
}

#[test]
fn memory_that_holds_anything_else_is_refused_before_a_unit_is_planned() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    let mut otp = floor.otp(0);
    otp.burn(b"something else").unwrap();
    let refused = floor.burn(&mut station, 0).unwrap_err();
    let TerminalError::Memory(OtpMemoryError::NotBlank { .. }) = terminal_error(refused) else {
        panic!("expected a slot that is not blank")
    };
    assert!(station.ledger().units().is_empty());
}

#[test]
fn data_behind_the_record_is_found_before_the_burn_and_by_the_verification_as_the_terminal_will_find_it() {
    let (bench, power) = (Bench::new(10), Power::default());
    let mut station = bench.station(&power).unwrap();
    let mut fuses = Fuses::new(&power, SLOT_BYTES);
    fuses.slot[250] = 7;
    let refused = terminal_error(burn(&mut station, 0, &mut fuses, NOW).unwrap_err());
    let behind = matches!(refused, TerminalError::Memory(OtpMemoryError::RestNotBlank { used: 240, .. }));
    assert!(behind, "{refused}");
    assert!(station.ledger().units().is_empty() && fuses.burns == 0);
    // Something else writes there after the unit was burned: the boot check will not take the record.
    fuses.slot[250] = 0;
    burn(&mut station, 0, &mut fuses, NOW).unwrap();
    fuses.slot[250] = 7;
    let hardware = fingerprint(0);
    let mut terminal = Terminal { fingerprint: &hardware, memory: Memory::Full(&mut fuses) };
    let refused = station.verify_unit(&mut terminal).unwrap_err();
    assert!(matches!(&refused, VerifyError::Record { why: OtpError::Padding, .. }), "{refused}");
}

fn terminal_error(refused: BurnError) -> TerminalError {
    match refused {
        BurnError::Terminal(why) => why,
        other => panic!("{other}"),
    }
}

#[test]
fn two_terminals_with_the_very_same_components_are_not_both_burned() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    floor.burn(&mut station, 0).unwrap();
    let mut other_memory = floor.otp(1);
    let refused = burn(&mut station, 0, &mut other_memory, NOW).unwrap_err();
    assert!(matches!(refused, BurnError::SameHardware { unit: 1 }), "{refused}");
    assert_eq!(other_memory.read().unwrap(), vec![0; SLOT_BYTES]);
}

#[test]
fn rule_21_a_station_burns_no_more_than_its_quota() {
    let floor = Floor::new(2);
    let mut station = floor.open().unwrap();
    for terminal in 0..2 {
        floor.burn(&mut station, terminal).unwrap();
    }
    let refused = floor.burn(&mut station, 2).unwrap_err();
    assert!(matches!(refused, BurnError::QuotaUsed { quota: 2 }), "{refused}");
    drop(station);
    assert!(matches!(floor.burn(&mut floor.open().unwrap(), 2), Err(BurnError::QuotaUsed { .. })));
    assert_eq!(floor.otp(2).read().unwrap(), vec![0; SLOT_BYTES]);
}

#[test]
fn a_renewed_certificate_raises_the_quota_of_the_same_station() {
    let mut floor = Floor::new(1);
    floor.burn(&mut floor.open().unwrap(), 0).unwrap();
    let public = setup::load_public(&floor.folder().join(setup::PUBLIC_FILE)).unwrap();
    let renewed = floor.lot.certify(&floor.factory, public, 2, UNTIL, NOW).unwrap();
    setup::renew(&floor.folder(), renewed.certificate().clone()).unwrap();
    let mut station = floor.open().unwrap();
    assert_eq!(floor.burn(&mut station, 1).unwrap().unit, 2);
    assert!(matches!(floor.burn(&mut station, 2), Err(BurnError::QuotaUsed { quota: 2 })));
}

#[test]
fn rule_21_a_station_burns_nothing_after_its_end_date() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    burn(&mut station, 0, &mut floor.otp(0), UNTIL).unwrap();
    let late = burn(&mut station, 1, &mut floor.otp(1), UNTIL.plus_millis(1)).unwrap_err();
    assert!(matches!(late, BurnError::TermOver { .. }), "{late}");
    assert_eq!(floor.otp(1).read().unwrap(), vec![0; SLOT_BYTES]);
}

#[test]
fn a_clock_that_was_set_back_does_not_date_a_unit_before_an_older_one() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    let first = burn(&mut station, 0, &mut floor.otp(0), NOW.plus_millis(5000)).unwrap();
    drop(station);
    let second = burn(&mut floor.open().unwrap(), 1, &mut floor.otp(1), NOW).unwrap();
    assert_eq!((first.at, second.at), (NOW.plus_millis(5000), NOW.plus_millis(5000)));
}

#[test]
fn a_station_with_another_key_does_not_open() {
    let floor = Floor::new(10);
    floor.open().unwrap();
    let other = floor.dir.path().join("other");
    setup::create(&other, &mut rng()).unwrap();
    fs::copy(other.join(setup::KEY_FILE), floor.folder().join(setup::KEY_FILE)).unwrap();
    assert!(matches!(floor.open(), Err(OpenError::NotCertified { .. })));
}

#[test]
fn a_certified_station_does_not_go_on_with_the_journal_of_another() {
    let mut floor = Floor::new(10);
    drop(floor.open().unwrap());
    let other = floor.dir.path().join("other");
    let public = setup::create(&other, &mut rng()).unwrap();
    floor.lot.certify(&floor.factory, public, 10, UNTIL, NOW).unwrap();
    setup::equip(&other, floor.lot.firmware(), &floor.keyring.public()).unwrap();
    fs::copy(floor.folder().join(setup::JOURNAL_FILE), other.join(setup::JOURNAL_FILE)).unwrap();
    assert!(matches!(Station::open(&other, NOW), Err(OpenError::OtherJournal { .. })));
}

#[test]
fn a_station_is_opened_by_one_process_at_a_time() {
    let floor = Floor::new(10);
    let _first = floor.open().unwrap();
    assert!(matches!(floor.open(), Err(OpenError::Busy { .. })));
}

#[test]
fn a_station_whose_files_others_can_read_does_not_open() {
    let floor = Floor::new(10);
    let folder = floor.folder();
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for name in [setup::KEY_FILE, provisioning::lot::FIRMWARE_FILE] {
        let path = folder.join(name);
        chmod(&path, 0o644);
        let refused = floor.open().unwrap_err().to_string();
        assert!(refused.contains("chmod 600") && refused.contains(name), "{refused}");
        chmod(&path, 0o600);
    }
    chmod(&folder, 0o755);
    assert!(matches!(floor.open(), Err(OpenError::File(FileError::FolderOpenToOthers { .. }))));
    chmod(&folder, 0o700);
    assert!(floor.open().is_ok());
}

#[test]
fn a_verified_terminal_is_known_with_what_its_boot_check_will_find() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    let burned = floor.burn(&mut station, 0).unwrap();
    let mut otp = floor.otp(0);
    let fingerprint = fingerprint(0);
    let found = station
        .verify_unit(&mut Terminal { fingerprint: &fingerprint, memory: Memory::Full(&mut otp) })
        .unwrap();
    assert_eq!((found.unit, found.device, found.record), (burned.unit, burned.device, burned.record));
    assert_eq!((found.journal, found.passes), (Some(UnitState::Burned), true));
}

#[test]
fn a_record_on_other_hardware_does_not_verify() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    floor.burn(&mut station, 0).unwrap();
    let (mut otp, other) = (floor.otp(0), fingerprint(1));
    let refused = station
        .verify_unit(&mut Terminal { fingerprint: &other, memory: Memory::Full(&mut otp) })
        .unwrap_err();
    assert!(matches!(refused, VerifyError::Record { why: OtpError::RequiredHardware, .. }), "{refused}");
}

#[test]
fn a_terminal_without_a_component_of_the_lot_is_refused_by_the_component_and_stays_blank() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    let soc = Component::new(ComponentKind::SocSerial, b"soc").unwrap();
    let poor = Fingerprint::new(vec![soc]).unwrap();
    let mut otp = floor.otp(0);
    let mut terminal = Terminal { fingerprint: &poor, memory: Memory::Full(&mut otp) };
    let refused = station.burn_unit(&mut terminal, DEVELOPMENT, &mut rng(), NOW).unwrap_err();
    let missing = SealError::ComponentMissing(ComponentKind::EmmcCid);
    assert!(matches!(refused, BurnError::Seal(why) if why == missing));
    assert_eq!(otp.read().unwrap(), vec![0; SLOT_BYTES]);
    assert!(station.ledger().units().is_empty());
}

#[test]
fn permanent_memory_is_burned_only_when_that_was_said() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    let sysfs = floor.dir.path().join("fuses0");
    fs::create_dir(&sysfs).unwrap();
    fs::write(sysfs.join("nvmem"), vec![0; 512]).unwrap();
    fs::write(sysfs.join("type"), "OTP\n").unwrap();
    let mut otp = NvmemOtp::open(&sysfs, 256, SLOT_BYTES, 0).unwrap();
    let fingerprint = fingerprint(0);
    let mut terminal = Terminal { fingerprint: &fingerprint, memory: Memory::Full(&mut otp) };
    let refused = station.burn_unit(&mut terminal, DEVELOPMENT, &mut rng(), NOW).unwrap_err();
    assert!(refused.to_string().contains("--burn-permanently"), "{refused}");
    assert_eq!(fs::read(sysfs.join("nvmem")).unwrap(), vec![0; 512]);
    station.burn_unit(&mut terminal, BurnConsent::Permanently, &mut rng(), NOW).unwrap();
    assert!(station.verify_unit(&mut terminal).unwrap().passes);
}

#[test]
fn in_the_seed_profile_fuses_and_stored_record_open_only_together() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    let record = floor.dir.path().join("record");
    let mut fuses = FileOtp::new(floor.dir.path().join("fuses"), 32);
    let fingerprint = fingerprint(0);
    let mut terminal =
        Terminal { fingerprint: &fingerprint, memory: Memory::Seed { fuses: &mut fuses, record: &record } };
    let burned = station.burn_unit(&mut terminal, DEVELOPMENT, &mut rng(), NOW).unwrap();
    assert_eq!(station.verify_unit(&mut terminal).unwrap().device, burned.device);
    let mut foreign = FileOtp::new(floor.dir.path().join("foreign"), 32);
    foreign.burn(&[7; 32]).unwrap();
    let mut swapped =
        Terminal { fingerprint: &fingerprint, memory: Memory::Seed { fuses: &mut foreign, record: &record } };
    let refused = station.verify_unit(&mut swapped).unwrap_err();
    assert!(matches!(refused, VerifyError::Record { why: OtpError::RequiredHardware, .. }), "{refused}");
}

#[test]
fn rule_22_a_burn_that_leaves_the_memory_blank_is_voided_and_tried_again_as_another_unit() {
    let bench = Bench::new(10);
    let power = Power::default();
    let mut station = bench.station(&power).unwrap();
    let mut stubborn = Faulty { fuses: Fuses::new(&power, SLOT_BYTES), fault: Fault::Blank(2) };
    let burned = burn(&mut station, 0, &mut stubborn, NOW).unwrap();
    let states: Vec<_> = station.ledger().units().values().map(|unit| unit.state).collect();
    let blank = UnitState::Voided(VoidReason::Blank);
    assert_eq!(states, vec![blank, blank, UnitState::Burned]);
    assert_eq!((burned.unit, station.ledger().burned()), (3, 1));
}

#[test]
fn memory_that_never_takes_a_burn_is_given_up_after_three() {
    let bench = Bench::new(10);
    let power = Power::default();
    let mut station = bench.station(&power).unwrap();
    let mut stubborn = Faulty { fuses: Fuses::new(&power, SLOT_BYTES), fault: Fault::Blank(u32::MAX) };
    let refused = burn(&mut station, 0, &mut stubborn, NOW).unwrap_err();
    assert!(matches!(refused, BurnError::StaysBlank { attempts: 3, .. }), "{refused}");
    assert!(refused.to_string().contains("no programming voltage"), "{refused}");
    assert!(station.unfinished().is_none());
}

#[test]
fn a_burn_that_stops_half_way_or_burns_a_wrong_bit_makes_scrap_and_is_not_tried_again() {
    for fault in [Fault::Half, Fault::WrongBit] {
        let (bench, power) = (Bench::new(10), Power::default());
        let mut station = bench.station(&power).unwrap();
        let mut faulty = Faulty { fuses: Fuses::new(&power, SLOT_BYTES), fault };
        let refused = burn(&mut station, 0, &mut faulty, NOW).unwrap_err();
        let scrap = BurnError::Scrap { unit: 1, reason: VoidReason::Partial };
        assert_eq!(refused.to_string(), scrap.to_string());
        assert_eq!((faulty.fuses.burns, station.ledger().burned()), (1, 0));
        let again = burn(&mut station, 0, &mut faulty, NOW);
        assert!(again.is_err() && faulty.fuses.burns == 1);
    }
}

/// What is wrong with fuses although the power is on.
enum Fault {
    /// They report failure and stay blank, this often.
    Blank(u32),
    /// They report failure half way.
    Half,
    /// They report success, and one bit is wrong.
    WrongBit,
}

struct Faulty {
    fuses: Fuses,
    fault: Fault,
}

impl OtpMemory for Faulty {
    fn read(&mut self) -> Result<Vec<u8>, OtpMemoryError> {
        self.fuses.read()
    }

    fn burn(&mut self, bytes: &[u8]) -> Result<(), OtpMemoryError> {
        let source = std::io::Error::other("no programming voltage");
        let failed = OtpMemoryError::Io { doing: "burn", path: "fuses".into(), source };
        match &mut self.fault {
            Fault::Blank(0) => self.fuses.burn(bytes),
            Fault::Blank(left) => {
                *left -= 1;
                Err(failed)
            }
            Fault::Half => self.fuses.burn(&bytes[..bytes.len() / 2]).and(Err(failed)),
            Fault::WrongBit => {
                let mut wrong = bytes.to_vec();
                wrong[100] ^= 4;
                self.fuses.burn(&wrong)
            }
        }
    }

    fn size(&self) -> usize {
        self.fuses.size()
    }

    fn blank(&self) -> u8 {
        self.fuses.blank()
    }

    fn is_permanent(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        self.fuses.place()
    }
}
