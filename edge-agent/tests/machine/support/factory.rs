//! A factory in memory: one lot, one station, and the units that it burned.

use super::rng::SeededRng;
use edge_agent::machine::{BootCheck, HardwareSource, boot_check};
use events::identity::certificate::StationCertificate;
use events::identity::fingerprint::{Component, ComponentPolicy, Fingerprint};
use events::identity::key::{DeviceSeed, FactoryKey, StationKey};
use events::identity::lot::{LotFirmware, LotSecret};
use events::identity::otp::{OtpProfile, OtpRecord, SealParams};
use events::ids::LotId;
use events::time::Timestamp;
use events::vocabulary::shared::ComponentKind;

pub struct Factory {
    pub firmware: LotFirmware,
    station: StationKey,
}

/// What left the factory: the record in OTP, and the hardware around it.
#[derive(Clone)]
pub struct Unit {
    pub record: Vec<u8>,
    pub components: Vec<Component>,
    pub seed: DeviceSeed,
}

pub fn component(kind: ComponentKind, value: &str) -> Component {
    Component::new(kind, value.as_bytes()).unwrap()
}

impl Factory {
    pub fn new(rng: &mut SeededRng) -> Self {
        let (factory, station) = (FactoryKey::generate(rng), StationKey::generate(rng));
        let lot = LotId::from_bytes([1, 2, 3, 4]);
        let optional = vec![ComponentKind::MacAddress, ComponentKind::BoardSerial, ComponentKind::EmmcCid];
        let policy = ComponentPolicy::new(vec![ComponentKind::SocSerial], optional, 2).unwrap();
        let secret = LotSecret::generate(rng);
        let mut firmware = LotFirmware::create(&factory, lot, "box-1", policy, secret).unwrap();
        let until = Timestamp::from_millis(u64::MAX);
        let certificate = StationCertificate::issue(&factory, station.public(), lot, 1000, until);
        firmware.add_station(certificate).unwrap();
        Factory { firmware, station }
    }

    pub fn burn(&self, unit: u32, rng: &mut SeededRng) -> Unit {
        let components = vec![
            component(ComponentKind::SocSerial, &format!("soc-{unit}")),
            component(ComponentKind::MacAddress, &format!("02:00:00:00:00:{unit:02x}")),
            component(ComponentKind::BoardSerial, &format!("board-{unit}")),
            component(ComponentKind::EmmcCid, &format!("emmc-{unit}")),
        ];
        let seed = DeviceSeed::generate(rng);
        let params = SealParams {
            profile: OtpProfile::Full,
            lot: self.firmware.lot,
            unit,
            salt: [7; 16],
            policy: &self.firmware.policy,
            lot_secret: &self.firmware.lot_secret,
            fuse_secret: None,
        };
        let fingerprint = Fingerprint::new(components.clone()).unwrap();
        let record = OtpRecord::seal(&params, &seed, &fingerprint, &self.station).unwrap();
        Unit { record: record.as_bytes().to_vec(), components, seed }
    }

    /// The check of a terminal on which this could not be read.
    pub fn check_without(&self, unit: &Unit, unread: &[HardwareSource]) -> BootCheck {
        let record = (!unread.contains(&HardwareSource::Record)).then_some(&unit.record[..]);
        let is_read = |found: &&Component| !unread.contains(&HardwareSource::Component(found.kind()));
        let components = unit.components.iter().filter(is_read).cloned().collect();
        boot_check(record, &self.firmware, None, components)
            .with_unread(unread.to_vec(), &self.firmware.policy)
    }

    pub fn check(&self, unit: &Unit) -> BootCheck {
        boot_check(Some(&unit.record), &self.firmware, None, unit.components.clone())
    }
}
