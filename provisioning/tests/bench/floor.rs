//! Factory, lot and station in folders, as the `muster` program lays them out.

use super::{CLUSTER, NOW, UNTIL, fingerprint, rng};
use events::identity::fingerprint::ComponentPolicy;
use events::identity::key::FactoryKey;
use events::identity::manifest::{Manifest, OpenedManifest};
use events::identity::otp::SLOT_BYTES;
use events::keyring::Keyring;
use events::time::Timestamp;
use events::vocabulary::shared::ComponentKind;
use provisioning::ceremony::{FACTORY_KEY_FILE, create_factory_key, load_factory_key};
use provisioning::lot::Lot;
use provisioning::otp::{FileOtp, OtpMemory};
use provisioning::station::{
    BurnConsent, BurnError, BurnedUnit, Memory, OpenError, Station, Terminal, setup,
};
use std::path::PathBuf;
use tempfile::TempDir;

pub struct Floor {
    pub dir: TempDir,
    pub factory: FactoryKey,
    pub lot: Lot,
    pub keyring: Keyring,
}

impl Floor {
    pub fn new(quota: u32) -> Self {
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

    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("station")
    }

    pub fn open(&self) -> Result<Station, OpenError> {
        Station::open(&self.folder(), NOW)
    }

    pub fn otp(&self, terminal: usize) -> FileOtp {
        FileOtp::new(self.dir.path().join(format!("otp-{terminal}")), SLOT_BYTES)
    }

    pub fn burn(&self, station: &mut Station, terminal: usize) -> Result<BurnedUnit, BurnError> {
        burn(station, terminal, &mut self.otp(terminal), NOW)
    }

    pub fn open_manifest(&self, manifest: &Manifest) -> OpenedManifest {
        manifest.clone().verify(&self.factory.public()).unwrap().open(&self.keyring).unwrap()
    }
}

/// Burns one terminal of the `full` profile.
pub fn burn(
    station: &mut Station,
    terminal: usize,
    otp: &mut dyn OtpMemory,
    now: Timestamp,
) -> Result<BurnedUnit, BurnError> {
    let fingerprint = fingerprint(terminal);
    let mut connected = Terminal { fingerprint: &fingerprint, memory: Memory::Full(otp) };
    station.burn_unit(&mut connected, BurnConsent::DevelopmentOnly, &mut rng(), now)
}
