//! Verifying a burned terminal: the same check that it will make at boot, and what the journal says of it.

use super::Station;
use super::ledger::UnitState;
use super::step::UnitNumber;
use super::terminal::{Terminal, TerminalError};
use crate::otp::OtpMemoryError;
use events::identity::otp::{OtpError, OtpRecord};
use events::ids::{DeviceId, RecordDigest, StationId};
use events::vocabulary::shared::ComponentKind;

/// A terminal whose record verifies and opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedUnit {
    pub unit: UnitNumber,
    pub device: DeviceId,
    pub record: RecordDigest,
    /// Who burned it.
    pub station: StationId,
    /// What this station's journal says; `None` for a unit of another station of the lot.
    pub journal: Option<UnitState>,
    /// Whether its boot check will be `Full`.
    pub passes: bool,
    /// Optional components that differ from those that were burned.
    pub mismatched: Vec<ComponentKind>,
}

/// Why a terminal is no sound unit, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    #[error("{place}: {why}")]
    Record { place: String, why: OtpError },
    #[error(
        "record {0} bears this station's signature but is not in its journal: the journal is incomplete, or the key was used elsewhere. Stop, and tell the factory"
    )]
    NotInJournal(RecordDigest),
}

impl Station {
    /// Reads the terminal's memory and opens the record with its components. Changes nothing.
    pub fn verify_unit(&self, terminal: &mut Terminal<'_>) -> Result<VerifiedUnit, VerifyError> {
        let place = terminal.memory.otp().place();
        let refused = |why| VerifyError::Record { place: place.clone(), why };
        if terminal.memory.is_blank().map_err(|e: OtpMemoryError| TerminalError::from(e))? {
            return Err(refused(OtpError::Blank));
        }
        let contents = terminal.memory.read_back()?;
        let record = OtpRecord::parse(&contents.record).map_err(refused)?;
        let opened = self
            .firmware
            .open_record(&record, contents.fuses.as_ref(), terminal.fingerprint)
            .map_err(refused)?;
        let known = self.ledger().with_record(&record.digest()).map(|(_, unit)| unit.state);
        if record.station() == self.id() && known.is_none() {
            return Err(VerifyError::NotInJournal(record.digest()));
        }
        Ok(VerifiedUnit {
            unit: record.unit(),
            device: opened.seed.device_key().public().device_id(),
            record: record.digest(),
            station: record.station(),
            journal: known,
            passes: opened.comparison.passes,
            mismatched: opened.comparison.mismatched,
        })
    }
}
