//! A factory of one lot and one station that exports manifests.

use super::CLUSTER;
use events::identity::certificate::StationCertificate;
use events::identity::fingerprint::{Component, ComponentPolicy, Fingerprint};
use events::identity::key::{DeviceSeed, FactoryKey, StationKey};
use events::identity::lot::{LotFirmware, LotSecret};
use events::identity::manifest::{EntryBody, ExportParams, Manifest, seal_entry};
use events::identity::otp::{OtpProfile, OtpRecord, SealParams};
use events::ids::LotId;
use events::keyring::ClusterPublic;
use events::time::Timestamp;
use events::vocabulary::shared::ComponentKind;
use nodes::api::shapes::{Base64, CertifyStation, CreateLot, ImportManifest};
use nodes::entropy::{EntropyRng, OsEntropy};
use std::ops::RangeInclusive;

pub struct Factory {
    key: FactoryKey,
    station: StationKey,
    certificate: StationCertificate,
    firmware: LotFirmware,
}

const UNTIL: Timestamp = Timestamp::from_millis(4_000_000_000_000);

fn rng() -> EntropyRng<'static> {
    EntropyRng(&OsEntropy)
}

impl Factory {
    pub fn new() -> Self {
        Factory::of("box")
    }

    /// One whose lot, under the same number, is of another product.
    pub fn of(sku: &str) -> Self {
        let (key, station) = (FactoryKey::generate(&mut rng()), StationKey::generate(&mut rng()));
        let lot = LotId::from_bytes([1, 2, 3, 4]);
        let policy = ComponentPolicy::new(vec![ComponentKind::SocSerial], vec![], 0).unwrap();
        let mut firmware =
            LotFirmware::create(&key, lot, sku, policy, LotSecret::generate(&mut rng())).unwrap();
        let certificate = StationCertificate::issue(&key, station.public(), lot, 1_000, UNTIL);
        firmware.add_station(certificate.clone()).unwrap();
        Factory { key, station, certificate, firmware }
    }

    /// Its lot, as `muster lot register` posts it.
    pub fn lot(&self) -> CreateLot {
        let LotFirmware { declaration, lot_secret, .. } = &self.firmware;
        CreateLot {
            declaration: Base64(declaration.encode()),
            tamper_key: Base64(lot_secret.tamper_key(declaration.lot()).as_bytes().to_vec()),
            factory_key: self.public(),
        }
    }

    /// Its station, as `muster station register` posts it.
    pub fn station(&self) -> CertifyStation {
        let certificate = Base64(self.certificate.encode().to_vec());
        CertifyStation { certificate, factory_key: self.public() }
    }

    fn public(&self) -> Base64 {
        Base64(self.key.public().as_bytes().to_vec())
    }

    /// The manifest of freshly burned units, as `muster manifest import` posts it.
    pub fn manifest(&self, cluster: &ClusterPublic, units: RangeInclusive<u32>) -> ImportManifest {
        let entries = units.map(|unit| self.burn(cluster, unit)).collect();
        let params = ExportParams {
            cluster: CLUSTER,
            import_key: &cluster.import_key,
            firmware: &self.firmware,
            station_key: &self.station,
            entries,
        };
        let manifest = Manifest::export(&mut rng(), params).unwrap();
        ImportManifest { manifest: Base64(manifest.encode()), factory_key: self.public() }
    }

    fn burn(&self, cluster: &ClusterPublic, unit: u32) -> Vec<u8> {
        let seed = DeviceSeed::generate(&mut rng());
        let serial = Component::new(ComponentKind::SocSerial, format!("soc-{unit}").as_bytes()).unwrap();
        let fingerprint = Fingerprint::new(vec![serial]).unwrap();
        let params = SealParams {
            profile: OtpProfile::Full,
            lot: self.firmware.declaration.lot(),
            unit,
            salt: [1; 16],
            policy: &self.firmware.policy,
            lot_secret: &self.firmware.lot_secret,
            fuse_secret: None,
        };
        let record = OtpRecord::seal(&params, &seed, &fingerprint, &self.station).unwrap();
        let body = EntryBody::new(&seed, &fingerprint, &record, Timestamp::from_millis(1_000));
        seal_entry(&mut rng(), CLUSTER, &cluster.import_key, &body).unwrap()
    }
}
