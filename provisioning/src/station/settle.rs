//! Settling a unit: what the OTP holds decides what the unit is.
//!
//! | the OTP holds | the unit is |
//! |---|---|
//! | what it should, and it opens on this terminal | burned |
//! | nothing | voided; the terminal can be burned as another unit |
//! | anything else | voided; the terminal is scrap |

use super::Station;
use super::burn::{BurnError, BurnedUnit};
use super::ledger::{Unit, UnitState};
use super::step::{PlannedUnit, Step, UnitNumber, VoidReason};
use super::terminal::{Holding, Terminal, TerminalError};
use events::identity::otp::OtpRecord;
use events::time::Timestamp;

impl Station {
    /// The unit that an earlier power cut or failure left unfinished: only its terminal can tell what it is.
    #[must_use]
    pub fn unfinished(&self) -> Option<(UnitNumber, &Unit)> {
        self.ledger().unfinished()
    }

    /// Settles the unfinished unit, if there is one, with its terminal connected. `Some` if it is burned, `None` if
    /// there is none or it was voided while its terminal is still blank.
    pub fn settle_unfinished(
        &mut self,
        terminal: &mut Terminal<'_>,
        now: Timestamp,
    ) -> Result<Option<BurnedUnit>, BurnError> {
        let Some((number, unit)) = self.ledger().unfinished() else { return Ok(None) };
        let planned = unit.planned.clone();
        self.check_is_its_terminal(&planned, terminal)?;
        self.settle(number, terminal, now, true)
    }

    /// Voids the unfinished unit without its terminal, which must be scrapped if it ever turns up. Returns its number.
    pub fn give_up(&mut self, now: Timestamp) -> Result<Option<UnitNumber>, BurnError> {
        let Some((unit, _)) = self.ledger().unfinished() else { return Ok(None) };
        self.journal.record(now, Step::Voided { unit, reason: VoidReason::GivenUp })?;
        Ok(Some(unit))
    }

    /// The same components, or what is burned already, prove the terminal.
    fn check_is_its_terminal(
        &self,
        planned: &PlannedUnit,
        terminal: &mut Terminal<'_>,
    ) -> Result<(), BurnError> {
        if self.hardware_tag(terminal.fingerprint) == planned.hardware {
            return Ok(());
        }
        match terminal.memory.holds(planned) {
            Ok(Holding::Expected) => Ok(()),
            Ok(Holding::Blank | Holding::Other) | Err(TerminalError::Profile { .. }) => {
                Err(BurnError::OtherTerminal { unit: planned.unit })
            }
            Err(unreadable) => Err(unreadable.into()),
        }
    }

    /// Reads the OTP back and finishes the unit in the journal.
    pub(super) fn settle(
        &mut self,
        number: UnitNumber,
        terminal: &mut Terminal<'_>,
        now: Timestamp,
        resumed: bool,
    ) -> Result<Option<BurnedUnit>, BurnError> {
        let Some((_, unit)) = self.ledger().unfinished() else { return Ok(None) };
        let (planned, state) = (unit.planned.clone(), unit.state);
        let void = |reason| Step::Voided { unit: number, reason };
        match terminal.memory.holds(&planned)? {
            Holding::Blank => {
                self.journal.record(now, void(VoidReason::Blank))?;
                Ok(None)
            }
            Holding::Other => {
                self.journal.record(now, void(VoidReason::Partial))?;
                Err(BurnError::Scrap { unit: number, reason: VoidReason::Partial })
            }
            Holding::Expected => {
                let opens = self.opens_on(&planned, terminal)?;
                let mut steps = until_read_back(number, state);
                steps.push(if opens { Step::Burned { unit: number } } else { void(VoidReason::Unsound) });
                self.journal.record_all(now, &steps)?;
                if !opens {
                    return Err(BurnError::Scrap { unit: number, reason: VoidReason::Unsound });
                }
                let (device, record) = (planned.device, planned.record);
                let at = self.ledger().not_before_last(now);
                Ok(Some(BurnedUnit { unit: number, device, record, at, resumed }))
            }
        }
    }

    /// Whether the record verifies and opens as it will at boot, and yields the planned device.
    fn opens_on(&self, planned: &PlannedUnit, terminal: &mut Terminal<'_>) -> Result<bool, TerminalError> {
        let contents = terminal.memory.read_back()?;
        let opened = OtpRecord::parse(&contents.record).and_then(|record| {
            self.firmware.open_record(&record, contents.fuses.as_ref(), terminal.fingerprint)
        });
        Ok(opened.is_ok_and(|opened| {
            opened.comparison.passes && opened.seed.device_key().public().device_id() == planned.device
        }))
    }
}

/// The steps that are left until a unit whose OTP holds what it should is read back.
fn until_read_back(unit: UnitNumber, state: UnitState) -> Vec<Step> {
    match state {
        UnitState::Planned => vec![Step::Burning { unit }, Step::ReadBack { unit }],
        UnitState::Burning => vec![Step::ReadBack { unit }],
        UnitState::ReadBack | UnitState::Burned | UnitState::Voided(_) => vec![],
    }
}
