//! Setting a station up.
//!
//! ```text
//!   at the station      create ──▶ station.key, station.pub      the key never leaves the station
//!   at the factory      Lot::certify(station.pub) ──▶ lot.firmware.json
//!   at the station      equip(lot.firmware.json, cluster.public.json)
//! ```
//!
//! A larger quota or a later end date comes as a new certificate ([`renew`]); the lot's secret need not travel again.

use super::open::{OpenError, load_key};
use crate::armor::{self, ArmorError, Kind};
use crate::ceremony::{CLUSTER_PUBLIC_FILE, CeremonyError, cluster_public_text, load_cluster_public};
use crate::files::{self, FileError};
use crate::lot::{FIRMWARE_FILE, LotError, load_firmware};
use events::identity::certificate::StationCertificate;
use events::identity::key::{PublicKey, SigningKey};
use events::identity::lot::{FirmwareError, LotFirmware};
use events::ids::{ClusterId, LotId, StationId};
use events::keyring::ClusterPublic;
use rand_core::CryptoRng;
use std::path::Path;

pub const KEY_FILE: &str = "station.key";
pub const PUBLIC_FILE: &str = "station.pub";
pub const JOURNAL_FILE: &str = "journal";

/// Why a station is not set up, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Lot(#[from] LotError),
    #[error(transparent)]
    Cluster(#[from] CeremonyError),
    #[error(transparent)]
    Certificate(#[from] FirmwareError),
    #[error("{lot} holds no certificate of {station}: have the factory certify `{PUBLIC_FILE}` first")]
    NotCertified { station: StationId, lot: LotId },
    #[error("this station is of {expected}, not of {got}: set up another folder for another lot")]
    OtherLot { expected: LotId, got: LotId },
    #[error("this station seals to {expected}, not to {got}: set up another folder for another cluster")]
    OtherCluster { expected: ClusterId, got: ClusterId },
    #[error("the certificate is of {got}, this is {expected}")]
    OtherStation { expected: StationId, got: StationId },
}

/// Makes the station's key in a new folder. What is returned also lies in `station.pub`, for the factory to certify.
pub fn create(folder: &Path, rng: &mut impl CryptoRng) -> Result<PublicKey, SetupError> {
    files::secret_folder(folder)?;
    let key = SigningKey::generate(rng);
    let public = key.public();
    let note =
        format!("{} signs OTP records and manifests. Secret: keep this file mode 0600.", public.station_id());
    let text = armor::signing_key_text(Kind::StationKey, &note, &key);
    files::create_secret(&folder.join(KEY_FILE), text.as_bytes())?;
    files::create_public(&folder.join(PUBLIC_FILE), public_text(&public).as_bytes())?;
    Ok(public)
}

/// Text of `station.pub`.
#[must_use]
pub fn public_text(key: &PublicKey) -> String {
    let note = format!("{}: for the factory to certify. Public.", key.station_id());
    armor::public_key_text(Kind::StationPublicKey, &note, key)
}

pub fn load_public(path: &Path) -> Result<PublicKey, SetupError> {
    let read = armor::public_key(Kind::StationPublicKey, path, &files::read_public(path)?);
    Ok(read.map_err(|e: ArmorError| OpenError::from(e))?)
}

/// Gives the station its lot and its cluster. Again is allowed for the same lot and cluster.
pub fn equip(folder: &Path, firmware: &LotFirmware, cluster: &ClusterPublic) -> Result<(), SetupError> {
    let station = load_key(folder)?.public().station_id();
    if firmware.station(station).is_none() {
        return Err(SetupError::NotCertified { station, lot: firmware.lot });
    }
    let (firmware_path, cluster_path) = (folder.join(FIRMWARE_FILE), folder.join(CLUSTER_PUBLIC_FILE));
    if firmware_path.exists() {
        let (expected, got) = (load_firmware(&firmware_path)?.lot, firmware.lot);
        if expected != got {
            return Err(SetupError::OtherLot { expected, got });
        }
    }
    if cluster_path.exists() {
        let (expected, got) = (load_cluster_public(&cluster_path)?.cluster, cluster.cluster);
        if expected != got {
            return Err(SetupError::OtherCluster { expected, got });
        }
    }
    files::replace_secret(&firmware_path, firmware.to_json().as_bytes())?;
    Ok(files::replace_public(&cluster_path, cluster_public_text(cluster).as_bytes())?)
}

/// Takes a newer certificate of this station.
pub fn renew(folder: &Path, certificate: StationCertificate) -> Result<(), SetupError> {
    let (expected, got) = (load_key(folder)?.public().station_id(), certificate.station());
    if expected != got {
        return Err(SetupError::OtherStation { expected, got });
    }
    let path = folder.join(FIRMWARE_FILE);
    let mut firmware = load_firmware(&path)?;
    firmware.add_station(certificate)?;
    Ok(files::replace_secret(&path, firmware.to_json().as_bytes())?)
}
