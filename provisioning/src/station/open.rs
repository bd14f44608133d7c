//! Opening a station's folder: every file is read and checked against the others before anything is done.

use super::journal::{Journal, JournalError};
use super::medium::{FileMedium, Medium};
use super::setup::{JOURNAL_FILE, KEY_FILE};
use super::step::Step;
use super::{Station, hmac_sha384};
use crate::armor::{self, ArmorError, Kind};
use crate::ceremony::{CLUSTER_PUBLIC_FILE, CeremonyError, load_cluster_public};
use crate::files::{self, FileError};
use crate::lot::{FIRMWARE_FILE, LotError, load_firmware};
use events::identity::key::StationKey;
use events::identity::lot::LotFirmware;
use events::ids::{LotId, StationId};
use events::keyring::ClusterPublic;
use events::time::Timestamp;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What a station is made of, besides its journal.
#[derive(Debug)]
pub struct StationParts {
    pub key: StationKey,
    /// Must hold the certificate of the key.
    pub firmware: LotFirmware,
    pub cluster: ClusterPublic,
}

/// Why a station does not open, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Armor(#[from] ArmorError),
    #[error(transparent)]
    Firmware(#[from] LotError),
    #[error(transparent)]
    Cluster(#[from] CeremonyError),
    #[error(
        "{lot} holds no certificate of {station}: this is another station's key, or the factory has not certified it yet"
    )]
    NotCertified { station: StationId, lot: LotId },
    #[error(
        "the journal is of {got} and {got_lot}, the key of {expected} and {expected_lot}: restore the right files"
    )]
    OtherJournal { expected: StationId, expected_lot: LotId, got: StationId, got_lot: LotId },
    #[error("{path} is in use: another process works with this station")]
    Busy { path: PathBuf },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Station {
    /// Opens a folder that [`super::setup`] made. `now` dates the journal's first line.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, OpenError> {
        files::secret_folder(folder)?;
        let parts = StationParts {
            key: load_key(folder)?,
            firmware: load_firmware(&folder.join(FIRMWARE_FILE))?,
            cluster: load_cluster_public(&folder.join(CLUSTER_PUBLIC_FILE))?,
        };
        let path = folder.join(JOURNAL_FILE);
        let medium = FileMedium::open(&path)?.ok_or(OpenError::Busy { path })?;
        Station::assemble(parts, Box::new(medium), now)
    }

    /// Puts a station together on any medium.
    pub fn assemble(parts: StationParts, medium: Box<dyn Medium>, now: Timestamp) -> Result<Self, OpenError> {
        let StationParts { key, firmware, cluster } = parts;
        let (station, lot) = (key.public().station_id(), firmware.lot);
        let certified = firmware
            .station(station)
            .filter(|certified| *certified.public_key() == key.public())
            .ok_or(OpenError::NotCertified { station, lot })?
            .clone();
        let mut journal = Journal::open(medium)?;
        match journal.ledger().owner() {
            None => journal.record(now, Step::Opened { station, lot })?,
            Some(owner) if owner == (station, lot) => {}
            Some((got, got_lot)) => {
                let (expected, expected_lot) = (station, lot);
                return Err(OpenError::OtherJournal { expected, expected_lot, got, got_lot });
            }
        }
        let hardware_key =
            Zeroizing::new(hmac_sha384(&key.to_bytes()[..], b"muster v1 station hardware tag"));
        Ok(Station { key, certified, firmware, cluster, hardware_key, journal })
    }
}

pub(super) fn load_key(folder: &Path) -> Result<StationKey, OpenError> {
    let path = folder.join(KEY_FILE);
    Ok(armor::signing_key(Kind::StationKey, &path, &files::read_secret(&path)?)?)
}
