//! Lots: what the factory decides about a batch of devices, and which stations may burn them.
//!
//! ```text
//!   <lots>/<lot id>/lot.firmware.json          secret: what ships in the lot's firmware and goes to its stations
//!   <lots>/<lot id>/<station id>.certificate   public: one per certified station, also inside the firmware file
//! ```
//!
//! The firmware file is the only truth about a lot; it is replaced as a whole when a station is certified. Firmware
//! built before a station was certified does not open that station's records.

use crate::armor::{self, ArmorError, Kind};
use crate::files::{self, FileError};
use events::identity::certificate::{CertificateError, CertifiedStation, StationCertificate};
use events::identity::fingerprint::ComponentPolicy;
use events::identity::key::{FactoryKey, PublicKey};
use events::identity::lot::{FirmwareError, LotFirmware, LotSecret};
use events::ids::LotId;
use events::time::Timestamp;
use rand_core::CryptoRng;
use std::path::{Path, PathBuf};

pub const FIRMWARE_FILE: &str = "lot.firmware.json";

/// A lot in the factory's folder.
#[derive(Debug)]
pub struct Lot {
    folder: PathBuf,
    firmware: LotFirmware,
}

/// Why a lot is not created, read or changed, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LotError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Armor(#[from] ArmorError),
    #[error(transparent)]
    Refused(#[from] FirmwareError),
    #[error("{path}: {why}")]
    Firmware { path: PathBuf, why: FirmwareError },
    #[error("{path}: {why}: ask the factory for the certificate again")]
    Certificate { path: PathBuf, why: CertificateError },
    #[error("{0} belongs to another factory key than the one given: give the key that created the lot")]
    OtherFactory(LotId),
    #[error("a station needs a quota of at least one unit")]
    NoQuota,
    #[error("the end date {until} is over: give one after {now}")]
    Over { until: Timestamp, now: Timestamp },
}

impl Lot {
    /// Creates a lot with a fresh id and secret in a folder of its own below `lots`.
    pub fn create(
        lots: &Path,
        factory: &FactoryKey,
        sku: &str,
        policy: ComponentPolicy,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, LotError> {
        let mut id = [0; LotId::BYTES];
        rng.fill_bytes(&mut id);
        let id = LotId::from_bytes(id);
        let firmware = LotFirmware::create(factory, id, sku, policy, LotSecret::generate(rng))?;
        let folder = lots.join(id.to_string());
        files::secret_folder(lots)?;
        files::secret_folder(&folder)?;
        files::create_secret(&folder.join(FIRMWARE_FILE), firmware.to_json().as_bytes())?;
        Ok(Lot { folder, firmware })
    }

    pub fn open(folder: &Path) -> Result<Self, LotError> {
        let firmware = load_firmware(&folder.join(FIRMWARE_FILE))?;
        Ok(Lot { folder: folder.to_owned(), firmware })
    }

    /// Certifies a station for `quota` units until `until`; for a station that was certified before, the new
    /// certificate takes the old one's place, and its quota counts all units that it ever burned.
    pub fn certify(
        &mut self,
        factory: &FactoryKey,
        station: PublicKey,
        quota: u32,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<CertifiedStation, LotError> {
        if factory.public() != self.firmware.factory {
            return Err(LotError::OtherFactory(self.firmware.lot));
        }
        if quota == 0 {
            return Err(LotError::NoQuota);
        }
        if until <= now {
            return Err(LotError::Over { until, now });
        }
        let certificate = StationCertificate::issue(factory, station, self.firmware.lot, quota, until);
        self.keep(certificate)
    }

    /// Adds the certificate to what the file holds now: somebody else may have certified a station meanwhile.
    fn keep(&mut self, certificate: StationCertificate) -> Result<CertifiedStation, LotError> {
        let _lock = files::lock_folder(&self.folder)?;
        let station = certificate.station();
        let mut firmware = load_firmware(&self.folder.join(FIRMWARE_FILE))?;
        firmware.add_station(certificate.clone())?;
        let certified = certificate.verify(&firmware.factory).map_err(|why| LotError::Certificate {
            path: self.certificate_path(&station.to_string()),
            why,
        })?;
        files::replace_secret(&self.folder.join(FIRMWARE_FILE), firmware.to_json().as_bytes())?;
        let text = certificate_text(&certified);
        files::replace_public(&self.certificate_path(&station.to_string()), text.as_bytes())?;
        self.firmware = firmware;
        Ok(certified)
    }

    fn certificate_path(&self, station: &str) -> PathBuf {
        self.folder.join(format!("{station}.certificate"))
    }

    #[must_use]
    pub fn firmware(&self) -> &LotFirmware {
        &self.firmware
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Reads a `lot.firmware.json`; everything in it is checked against the factory key that it names.
pub fn load_firmware(path: &Path) -> Result<LotFirmware, LotError> {
    let bytes = files::read_secret(path)?;
    let refused = |why| LotError::Firmware { path: path.to_owned(), why };
    let text = std::str::from_utf8(&bytes).map_err(|_| refused(FirmwareError::Json("no text".into())))?;
    LotFirmware::from_json(text).map_err(refused)
}

/// Text of a certificate file.
#[must_use]
pub fn certificate_text(station: &CertifiedStation) -> String {
    let note = format!(
        "{} may burn {} units of {} until {}. Public.",
        station.station(),
        station.quota(),
        station.lot(),
        station.until()
    );
    armor::encode_bytes(Kind::StationCertificate, &note, &station.certificate().encode())
}

/// Reads a certificate file. Trust it only after `StationCertificate::verify`.
pub fn load_certificate(path: &Path) -> Result<StationCertificate, LotError> {
    let bytes = armor::decode_bytes(Kind::StationCertificate, path, &files::read_public(path)?)?;
    StationCertificate::parse(&bytes).map_err(|why| LotError::Certificate { path: path.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::vocabulary::shared::ComponentKind;
    use getrandom::SysRng;
    use rand_core::UnwrapErr;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const NOW: Timestamp = Timestamp::from_millis(1_795_374_203_042);
    const LATER: Timestamp = NOW.plus_millis(86_400_000);

    fn a_key() -> FactoryKey {
        FactoryKey::generate(&mut UnwrapErr(SysRng))
    }

    fn a_lot(lots: &Path, factory: &FactoryKey) -> Lot {
        let policy =
            ComponentPolicy::new(vec![ComponentKind::SocSerial], vec![ComponentKind::MacAddress], 1).unwrap();
        Lot::create(lots, factory, "STB-7", policy, &mut UnwrapErr(SysRng)).unwrap()
    }

    #[test]
    fn a_certified_station_is_in_the_firmware_and_in_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (factory, station) = (a_key(), a_key().public());
        let mut lot = a_lot(&dir.path().join("lots"), &factory);
        let certified = lot.certify(&factory, station, 200, LATER, NOW).unwrap();
        let reopened = Lot::open(lot.folder()).unwrap();
        assert_eq!(reopened.firmware().station(station.station_id()), Some(&certified));
        let path = lot.folder().join(format!("{}.certificate", station.station_id()));
        assert_eq!(load_certificate(&path).unwrap().verify(&factory.public()).unwrap(), certified);
    }

    #[test]
    fn a_renewed_certificate_takes_the_place_of_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let (factory, station) = (a_key(), a_key().public());
        let mut lot = a_lot(&dir.path().join("lots"), &factory);
        lot.certify(&factory, station, 200, LATER, NOW).unwrap();
        lot.certify(&factory, station, 300, LATER, NOW).unwrap();
        let stations = Lot::open(lot.folder()).unwrap().firmware().stations.clone();
        assert_eq!(stations.iter().map(CertifiedStation::quota).collect::<Vec<_>>(), vec![300]);
    }

    #[test]
    fn two_who_certify_at_once_lose_no_station() {
        let dir = tempfile::tempdir().unwrap();
        let factory = a_key();
        let mut one = a_lot(&dir.path().join("lots"), &factory);
        let mut two = Lot::open(one.folder()).unwrap();
        one.certify(&factory, a_key().public(), 200, LATER, NOW).unwrap();
        two.certify(&factory, a_key().public(), 200, LATER, NOW).unwrap();
        assert_eq!(Lot::open(one.folder()).unwrap().firmware().stations.len(), 2);
    }

    #[test]
    fn a_certificate_that_allows_nothing_is_not_issued() {
        let dir = tempfile::tempdir().unwrap();
        let (factory, station) = (a_key(), a_key().public());
        let mut lot = a_lot(&dir.path().join("lots"), &factory);
        let other = lot.certify(&a_key(), station, 200, LATER, NOW);
        assert!(matches!(other, Err(LotError::OtherFactory(_))));
        assert!(matches!(lot.certify(&factory, station, 0, LATER, NOW), Err(LotError::NoQuota)));
        assert!(matches!(lot.certify(&factory, station, 200, NOW, NOW), Err(LotError::Over { .. })));
        assert!(Lot::open(lot.folder()).unwrap().firmware().stations.is_empty());
    }

    #[test]
    fn a_lot_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let lot = a_lot(&dir.path().join("lots"), &a_key());
        let path = lot.folder().join(FIRMWARE_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Lot::open(lot.folder());
        assert!(matches!(refused, Err(LotError::File(FileError::ReadableByOthers { .. }))));
    }
}
