//! The factory of the development cluster: one lot, one offline station, so many terminals.
//!
//! It works on files only. What the station exports is imported later, as a person would carry it over.

use crate::cli::{now, terminal::SLOT_BYTES};
use crate::files::{create_dir, write_secret};
use anyhow::{Context as _, Result};
use events::identity::fingerprint::{Component, ComponentPolicy, Fingerprint};
use events::identity::key::PublicKey;
use events::identity::manifest::Manifest;
use events::ids::{DeviceId, LotId, RecordDigest};
use events::keyring::ClusterPublic;
use events::vocabulary::shared::ComponentKind;
use nodes::entropy::{Entropy, EntropyRng, OsEntropy};
use provisioning::ceremony::create_factory_key;
use provisioning::lot::{FIRMWARE_FILE, Lot};
use provisioning::otp::FileOtp;
use provisioning::station::{BurnConsent, Memory, Station, Terminal, setup};
use std::path::{Path, PathBuf};

/// A terminal without its SoC opens nothing; of the other two, one may have been replaced.
const REQUIRED: [ComponentKind; 1] = [ComponentKind::SocSerial];
const OPTIONAL: [ComponentKind; 2] = [ComponentKind::EmmcCid, ComponentKind::MacAddress];
const THRESHOLD: u8 = 1;
const DAY_MILLIS: u64 = 86_400_000;

/// What the factory made.
pub struct Burned {
    pub lot: LotId,
    /// The lot's firmware file, as it ships in every terminal.
    pub firmware: PathBuf,
    /// The factory's public key, which the cluster's operator vouches for.
    pub factory_key: PublicKey,
    /// The factory's directory, for the context file.
    pub factory_dir: PathBuf,
    pub terminals: Vec<BurnedTerminal>,
    pub manifests: Vec<Manifest>,
}

/// A burned terminal and where its hardware lies.
#[derive(Clone, Debug)]
pub struct BurnedTerminal {
    pub unit: u32,
    pub device: DeviceId,
    pub record: RecordDigest,
    /// `otp.bin` and `hardware/<kind>`.
    pub dir: PathBuf,
}

impl BurnedTerminal {
    #[must_use]
    pub fn otp(&self) -> PathBuf {
        self.dir.join("otp.bin")
    }

    /// Every component and the file that holds it.
    #[must_use]
    pub fn components(&self) -> Vec<(ComponentKind, PathBuf)> {
        hardware_files(&self.dir)
    }
}

/// Burns `count` terminals of a new lot into `dir`, offline, and tells `progress` after each.
pub fn burn_lot(
    dir: &Path,
    cluster: &ClusterPublic,
    count: u32,
    mut progress: impl FnMut(u32),
) -> Result<Burned> {
    let rng = &mut EntropyRng(&OsEntropy);
    let factory_dir = dir.join("factory");
    let factory = create_factory_key(&factory_dir, rng)?;
    let policy = ComponentPolicy::new(REQUIRED.to_vec(), OPTIONAL.to_vec(), THRESHOLD)?;
    let mut lot = Lot::create(&factory_dir.join("lots"), &factory, "STB-7", policy, rng)?;

    let station_dir = dir.join("station");
    let station_key = setup::create(&station_dir, rng)?;
    lot.certify(&factory, station_key, count, now().plus_millis(365 * DAY_MILLIS), now())?;
    setup::equip(&station_dir, lot.firmware(), cluster)?;

    let mut station = Station::open(&station_dir, now())?;
    let terminals_dir = dir.join("terminals");
    let mut terminals = Vec::new();
    for number in 1..=count {
        let home = terminals_dir.join(format!("{number:04}"));
        terminals.push(burn_one(&mut station, home)?);
        progress(number);
    }
    let mut manifests = Vec::new();
    loop {
        let exported = station.export(rng, now())?;
        manifests.push(exported.manifest);
        if exported.left == 0 {
            break;
        }
    }
    Ok(Burned {
        lot: lot.firmware().lot,
        firmware: lot.folder().join(FIRMWARE_FILE),
        factory_key: factory.public(),
        factory_dir,
        terminals,
        manifests,
    })
}

fn burn_one(station: &mut Station, dir: PathBuf) -> Result<BurnedTerminal> {
    let fingerprint = make_hardware(&dir)?;
    let mut otp = FileOtp::new(dir.join("otp.bin"), SLOT_BYTES);
    let mut terminal = Terminal { fingerprint: &fingerprint, memory: Memory::Full(&mut otp) };
    let rng = &mut EntropyRng(&OsEntropy);
    let unit = station.burn_unit(&mut terminal, BurnConsent::DevelopmentOnly, rng, now())?;
    Ok(BurnedTerminal { unit: unit.unit, device: unit.device, record: unit.record, dir })
}

/// A board with fresh serial numbers in `dir/hardware/`.
pub fn make_hardware(dir: &Path) -> Result<Fingerprint> {
    create_dir(&dir.join("hardware"))?;
    let mut components = Vec::new();
    for (kind, path) in hardware_files(dir) {
        let mut serial = [0; 8];
        OsEntropy.fill(&mut serial);
        let value = serial.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        write_secret(&path, value.as_bytes())?;
        let component = Component::new(kind, value.as_bytes());
        components.push(component.with_context(|| format!("making component {kind}"))?);
    }
    Ok(Fingerprint::new(components)?)
}

/// Every component that a terminal of this factory has, and the file that holds it.
#[must_use]
pub fn hardware_files(dir: &Path) -> Vec<(ComponentKind, PathBuf)> {
    let kinds = REQUIRED.into_iter().chain(OPTIONAL);
    kinds.map(|kind| (kind, dir.join("hardware").join(kind.as_str()))).collect()
}
