//! A station from its set-up to the import of its manifest, on real files.

#![allow(clippy::unwrap_used, reason = "tests may fail by panicking")]

#[allow(dead_code, reason = "each suite uses its part of the bench")]
mod bench;

use bench::{Bench, CLUSTER, Fuses, NOW, Power, UNTIL, fingerprint, rng};
use events::identity::fingerprint::{Component, ComponentPolicy, Fingerprint};
use events::identity::key::FactoryKey;
use events::identity::manifest::{Manifest, ManifestError};
use events::identity::otp::{OtpError, OtpRecord, SLOT_BYTES, SealError};
use events::keyring::Keyring;
use events::time::Timestamp;
use events::vocabulary::shared::ComponentKind;
use provisioning::ceremony::{FACTORY_KEY_FILE, create_factory_key, load_factory_key};
use provisioning::files::FileError;
use provisioning::lot::Lot;
use provisioning::otp::{FileOtp, NvmemOtp, OtpMemory, OtpMemoryError};
use provisioning::station::{
    BurnConsent, BurnError, BurnedUnit, Memory, OpenError, Station, Terminal, TerminalError, UnitState,
    VerifyError, VoidReason, setup,
};
use provisioning::{files, manifest};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const DEVELOPMENT: BurnConsent = BurnConsent::DevelopmentOnly;

/// Factory, lot and station in folders, as the `muster` program lays them out.
struct Floor {
    dir: TempDir,
    factory: FactoryKey,
    lot: Lot,
    keyring: Keyring,
}

impl Floor {
    fn new(quota: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        create_factory_key(&dir.path().join("factory"), &mut rng()).unwrap();
        let factory = load_factory_key(&dir.path().join("factory").join(FACTORY_KEY_FILE)).unwrap();
        let policy = ComponentPolicy::new(
            vec![ComponentKind::SocSerial, ComponentKind::EmmcCid],
            vec![ComponentKind::MacAddress],
            1,
        );
        let lots = dir.path().join("lots");
        let mut lot = Lot::create(&lots, &factory, "STB-7", policy.unwrap(), &mut rng()).unwrap();
        let keyring = Keyring::generate(&mut rng(), CLUSTER);
        let folder = dir.path().join("station");
        let public = setup::create(&folder, &mut rng()).unwrap();
        assert_eq!(setup::load_public(&folder.join(setup::PUBLIC_FILE)).unwrap(), public);
        lot.certify(&factory, public, quota, UNTIL, NOW).unwrap();
        setup::equip(&folder, lot.firmware(), &keyring.public()).unwrap();
        Floor { dir, factory, lot, keyring }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("station")
    }

    fn open(&self) -> Result<Station, OpenError> {
        Station::open(&self.folder(), NOW)
    }

    fn otp(&self, terminal: usize) -> FileOtp {
        FileOtp::new(self.dir.path().join(format!("otp-{terminal}")), SLOT_BYTES)
    }

    fn burn(&self, station: &mut Station, terminal: usize) -> Result<BurnedUnit, BurnError> {
        burn(station, terminal, &mut self.otp(terminal), NOW)
    }

    fn open_manifest(&self, manifest: &Manifest) -> events::identity::manifest::OpenedManifest {
        manifest.clone().verify(&self.factory.public()).unwrap().open(&self.keyring).unwrap()
    }
}

fn burn(
    station: &mut Station,
    terminal: usize,
    otp: &mut dyn OtpMemory,
    now: Timestamp,
) -> Result<BurnedUnit, BurnError> {
    let fingerprint = fingerprint(terminal);
    let mut connected = Terminal { fingerprint: &fingerprint, memory: Memory::Full(otp) };
    station.burn_unit(&mut connected, DEVELOPMENT, &mut rng(), now)
}

#[test]
fn rule_22_burned_units_reach_the_cluster_in_a_sealed_manifest() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    let burned: Vec<_> = (0..3).map(|terminal| floor.burn(&mut station, terminal).unwrap()).collect();
    let exported = station.export(&mut rng(), NOW).unwrap();
    let path = floor.dir.path().join("manifest-1");
    files::create_public(&path, manifest::text(exported.number, &exported.manifest).as_bytes()).unwrap();
    let opened = floor.open_manifest(&manifest::load(&path).unwrap());
    let entries: Vec<_> =
        opened.entries.iter().map(|e| (e.unit, e.device(), e.record, e.burned_at)).collect();
    let expected: Vec<_> = burned.iter().map(|b| (b.unit, b.device, b.record, b.at)).collect();
    assert_eq!(entries, expected);
    assert_eq!(
        (opened.station.station(), opened.declaration.lot()),
        (station.id(), floor.lot.firmware().lot)
    );
}

#[test]
fn a_manifest_for_another_cluster_does_not_open() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    floor.burn(&mut station, 0).unwrap();
    let exported = station.export(&mut rng(), NOW).unwrap().manifest;
    let other = Keyring::generate(&mut rng(), CLUSTER);
    let verified = exported.verify(&floor.factory.public()).unwrap();
    assert!(verified.open(&other).is_err());
}

#[test]
fn a_manifest_that_was_tampered_with_is_refused() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    floor.burn(&mut station, 0).unwrap();
    let bytes = station.export(&mut rng(), NOW).unwrap().manifest.encode();
    for at in (0..bytes.len()).step_by(7) {
        let mut tampered = bytes.clone();
        tampered[at] ^= 1;
        let verified = Manifest::parse(&tampered).and_then(|m| m.verify(&floor.factory.public()));
        assert!(verified.is_err(), "a changed byte {at} passed");
    }
    let forged = Manifest::parse(&bytes).unwrap().verify(&FactoryKey::generate(&mut rng()).public());
    assert!(matches!(forged, Err(ManifestError::Declaration(_))));
}

#[test]
fn exporting_again_gives_the_same_units_under_the_same_number() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    for terminal in 0..2 {
        floor.burn(&mut station, terminal).unwrap();
    }
    let first = station.export(&mut rng(), NOW).unwrap();
    let second = station.export(&mut rng(), NOW.plus_millis(5)).unwrap();
    assert_eq!((first.number, &first.units, first.at), (second.number, &second.units, second.at));
    let import = |m: &Manifest| floor.open_manifest(m).entries;
    assert_eq!(import(&first.manifest), import(&second.manifest), "importing twice brings nothing new");
    floor.burn(&mut station, 2).unwrap();
    let third = station.export(&mut rng(), NOW).unwrap();
    assert_eq!((third.number, third.units), (2, vec![3]));
    drop(station);
    let reopened = floor.open().unwrap().export_again(1, &mut rng()).unwrap();
    assert_eq!(import(&first.manifest), import(&reopened.manifest));
}

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
    let mut stubborn = Stubborn { fuses: Fuses::new(&power, SLOT_BYTES), failures: 2 };
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
    let mut stubborn = Stubborn { fuses: Fuses::new(&power, SLOT_BYTES), failures: u32::MAX };
    let refused = burn(&mut station, 0, &mut stubborn, NOW).unwrap_err();
    assert!(matches!(refused, BurnError::StaysBlank { attempts: 3, .. }), "{refused}");
    assert!(refused.to_string().contains("no programming voltage"), "{refused}");
    assert!(station.unfinished().is_none());
}

#[test]
fn two_hundred_units_are_burned_in_one_go() {
    let floor = Floor::new(200);
    let mut station = floor.open().unwrap();
    let started = std::time::Instant::now();
    for terminal in 0..200 {
        floor.burn(&mut station, terminal).unwrap();
    }
    let took = started.elapsed();
    eprintln!("200 units in {took:?}");
    let exported = station.export(&mut rng(), NOW).unwrap();
    assert_eq!(floor.open_manifest(&exported.manifest).entries.len(), 200);
}

#[test]
fn no_secret_of_a_unit_lies_on_the_stations_disk() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    floor.burn(&mut station, 0).unwrap();
    let exported = station.export(&mut rng(), NOW).unwrap().manifest;
    let entry = &floor.open_manifest(&exported).entries[0];
    let record = OtpRecord::parse(&floor.otp(0).read().unwrap()).unwrap();
    let seed = station.firmware().open_record(&record, None, &fingerprint(0)).unwrap().seed;
    for name in fs::read_dir(floor.folder()).unwrap().flatten() {
        let bytes = fs::read(name.path()).unwrap();
        for secret in [&entry.pre_shared_key.as_bytes()[..], seed.as_bytes(), &record.as_bytes()[32..64]] {
            let found = spellings(secret).iter().any(|s| bytes.windows(s.len()).any(|window| window == s));
            assert!(!found, "{:?} holds a unit's secret", name.path());
        }
    }
    let encoded = data_encoding::BASE64.encode(&[b"x", &seed.as_bytes()[..]].concat());
    let found =
        spellings(seed.as_bytes()).iter().any(|s| encoded.as_bytes().windows(s.len()).any(|w| w == s));
    assert!(found, "the search itself finds a secret inside base64");
}

/// How a secret may look in a file: raw, hexadecimal, and inside base64 at each of its three alignments.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut spellings = vec![secret.to_vec(), data_encoding::HEXLOWER.encode(secret).into_bytes()];
    for skip in 0..3 {
        let whole = (secret.len() - skip) / 3 * 3;
        spellings.push(data_encoding::BASE64.encode(&secret[skip..skip + whole]).into_bytes());
    }
    spellings
}

/// Fuses that report failure and stay blank for the first burns.
struct Stubborn {
    fuses: Fuses,
    failures: u32,
}

impl OtpMemory for Stubborn {
    fn read(&mut self) -> Result<Vec<u8>, OtpMemoryError> {
        self.fuses.read()
    }

    fn burn(&mut self, bytes: &[u8]) -> Result<(), OtpMemoryError> {
        match self.failures.checked_sub(1) {
            Some(left) => {
                self.failures = left;
                let source = std::io::Error::other("no programming voltage");
                Err(OtpMemoryError::Io { doing: "burn", path: "fuses".into(), source })
            }
            None => self.fuses.burn(bytes),
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
