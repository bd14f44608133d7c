//! Burning one unit.
//!
//! ```text
//!   allowed? ─▶ seed, record, sealed entry in memory
//!            ─▶ journal: planned, burning     the entry is kept; from here on the OTP may hold anything
//!            ─▶ burn, forget the seed
//!            ─▶ settle (settle.rs): read back ─▶ burned, or voided
//! ```
//!
//! The order is the safety: the manifest entry is on the disk before the fuses are touched, so no burned unit can be
//! lost; what the OTP should hold is named by digest, so a power cut at any instruction is settled by reading it.

use super::Station;
use super::journal::JournalError;
use super::ledger::UnitState;
use super::step::{Bytes, PlannedUnit, Step, UnitNumber, VoidReason};
use super::terminal::{Contents, Terminal, TerminalError};
use crate::files::FileError;
use crate::otp::OtpMemoryError;
use events::identity::key::DeviceSeed;
use events::identity::manifest::{EntryBody, ManifestError, seal_entry};
use events::identity::otp::{FuseSecret, OtpProfile, OtpRecord, SealError, SealParams};
use events::ids::{DeviceId, RecordDigest};
use events::time::Timestamp;
use rand_core::CryptoRng;

/// A burn that leaves the OTP blank is tried again with a new unit, salt and seed, this often in all.
const ATTEMPTS_MAX: u32 = 3;

/// What the person at the station agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BurnConsent {
    /// Nothing that cannot be undone.
    DevelopmentOnly,
    /// Real fuses too (`--burn-permanently`).
    Permanently,
}

/// A unit that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BurnedUnit {
    pub unit: UnitNumber,
    pub device: DeviceId,
    pub record: RecordDigest,
    pub at: Timestamp,
    /// It was burned before a power cut or failure, and is only now known to be.
    pub resumed: bool,
}

/// Why no unit was burned, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum BurnError {
    #[error(
        "{place} is permanent: what is burned there stays for ever. Say --burn-permanently if that is meant"
    )]
    NeedsConsent { place: String },
    #[error("this station may burn until {until}, and it is {now}: ask the factory to certify a new station")]
    TermOver { until: Timestamp, now: Timestamp },
    #[error("all {quota} units of this station are burned: ask the factory to certify a new station")]
    QuotaUsed { quota: u32 },
    #[error("this terminal is unit {unit}, which is {state}: it is never burned again")]
    AlreadyUnit { unit: UnitNumber, state: UnitState },
    #[error(
        "unit {unit} was burned on a terminal with the very same components: check how components are read; on real hardware they differ"
    )]
    SameHardware { unit: UnitNumber },
    #[error(
        "unit {unit} is unfinished and this is not its terminal: connect that one, or give the unit up with `muster station give-up` if its terminal is gone"
    )]
    OtherTerminal { unit: UnitNumber },
    #[error("unit {unit} is voided, because {reason}: this terminal is scrap")]
    Scrap { unit: UnitNumber, reason: VoidReason },
    #[error("{place} is still blank after {attempts} burns{}: check power and write protection", last(.why))]
    StaysBlank { place: String, attempts: u32, why: Option<String> },
    #[error("could not seal the record: {0}")]
    Seal(#[from] SealError),
    #[error("could not seal the manifest entry: {0}")]
    Entry(#[from] ManifestError),
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why the last of several burns left nothing.
#[derive(Debug, thiserror::Error)]
enum Unburned {
    #[error(transparent)]
    Storage(#[from] FileError),
    #[error(transparent)]
    Memory(#[from] OtpMemoryError),
}

impl Station {
    /// Burns the next unit into a blank terminal, and returns once it was read back, verified and written down.
    ///
    /// A unit that a power cut left unfinished is settled first; if it turns out to be burned, it is the answer.
    /// `now` is the station's clock: the unit's date, and what the end date is measured by. It cannot go back behind
    /// the journal's last line; a clock that is simply wrong is nothing that an offline station can know.
    pub fn burn_unit(
        &mut self,
        terminal: &mut Terminal<'_>,
        consent: BurnConsent,
        rng: &mut impl CryptoRng,
        now: Timestamp,
    ) -> Result<BurnedUnit, BurnError> {
        self.check_consent(terminal, consent)?;
        if let Some(burned) = self.settle_unfinished(terminal, now)? {
            return Ok(burned);
        }
        self.check_allowed(terminal, now)?;
        let mut why = None;
        for _ in 0..ATTEMPTS_MAX {
            let (unit, failed) = self.attempt(terminal, rng, now)?;
            why = failed;
            if let Some(burned) = self.settle(unit, terminal, now, false)? {
                return Ok(burned);
            }
        }
        let why = why.map(|e| e.to_string());
        Err(BurnError::StaysBlank { place: terminal.memory.otp().place(), attempts: ATTEMPTS_MAX, why })
    }

    fn check_consent(&self, terminal: &mut Terminal<'_>, consent: BurnConsent) -> Result<(), BurnError> {
        let otp = terminal.memory.otp();
        match consent {
            BurnConsent::DevelopmentOnly if otp.is_permanent() => {
                Err(BurnError::NeedsConsent { place: otp.place() })
            }
            BurnConsent::DevelopmentOnly | BurnConsent::Permanently => Ok(()),
        }
    }

    /// End date, quota, a blank slot that is large enough, and hardware that is no unit yet.
    fn check_allowed(&self, terminal: &mut Terminal<'_>, now: Timestamp) -> Result<(), BurnError> {
        let now = self.ledger().not_before_last(now);
        if now > self.until() {
            return Err(BurnError::TermOver { until: self.until(), now });
        }
        if self.ledger().burned() >= self.quota() {
            return Err(BurnError::QuotaUsed { quota: self.quota() });
        }
        terminal.memory.check_size().map_err(TerminalError::from)?;
        if let Some(in_use) = terminal.memory.rest_in_use().map_err(TerminalError::from)? {
            return Err(TerminalError::from(in_use).into());
        }
        if !terminal.memory.is_blank().map_err(TerminalError::from)? {
            return Err(self.not_blank(terminal));
        }
        match self.ledger().burned_on(&self.hardware_tag(terminal.fingerprint)) {
            Some(unit) => Err(BurnError::SameHardware { unit }),
            None => Ok(()),
        }
    }

    /// Says which unit a burned terminal is, if it is one of this station's.
    fn not_blank(&self, terminal: &mut Terminal<'_>) -> BurnError {
        let known = terminal.memory.read_back().ok().and_then(|contents| {
            let record = OtpRecord::parse(&contents.record).ok()?;
            let (unit, found) = self.ledger().with_record(&record.digest())?;
            Some(BurnError::AlreadyUnit { unit, state: found.state })
        });
        let place = terminal.memory.otp().place();
        known.unwrap_or_else(|| TerminalError::from(OtpMemoryError::NotBlank { place }).into())
    }

    /// Plans a unit and burns it once. Whether the burn says that it failed is only a hint: settling reads the OTP.
    fn attempt(
        &mut self,
        terminal: &mut Terminal<'_>,
        rng: &mut impl CryptoRng,
        now: Timestamp,
    ) -> Result<(UnitNumber, Option<Unburned>), BurnError> {
        let (planned, contents) = self.plan(terminal, rng, now)?;
        let unit = planned.unit;
        self.journal.record_all(now, &[Step::Planned(planned), Step::Burning { unit }])?;
        let failed = match terminal.memory.prepare(&contents) {
            Ok(()) => terminal.memory.burn(&contents).err().map(Unburned::from),
            Err(e) => Some(e.into()),
        };
        Ok((unit, failed))
    }

    /// Everything random about a unit. The seed lives in this function only: the record seals it for the terminal,
    /// the manifest entry carries what the cluster needs, and both are made before anything is burned.
    fn plan(
        &self,
        terminal: &mut Terminal<'_>,
        rng: &mut impl CryptoRng,
        now: Timestamp,
    ) -> Result<(PlannedUnit, Contents), BurnError> {
        let unit = self.ledger().next_unit();
        let profile = terminal.memory.profile();
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let fuses = match profile {
            OtpProfile::Full => None,
            OtpProfile::Seed => Some(FuseSecret::generate(rng)),
        };
        let seed = DeviceSeed::generate(rng);
        let params = SealParams {
            profile,
            unit,
            salt,
            lot: self.firmware.lot,
            policy: &self.firmware.policy,
            lot_secret: &self.firmware.lot_secret,
            fuse_secret: fuses.as_ref(),
        };
        let record = OtpRecord::seal(&params, &seed, terminal.fingerprint, &self.key)?;
        let body = EntryBody::new(&seed, terminal.fingerprint, &record, self.ledger().not_before_last(now));
        let entry = seal_entry(rng, self.cluster.cluster, &self.cluster.import_key, &body)?;
        let contents = Contents::new(&record, fuses);
        let planned = PlannedUnit {
            unit,
            device: body.device(),
            record: record.digest(),
            fuses: contents.fuse_tag(),
            hardware: self.hardware_tag(terminal.fingerprint),
            entry: Bytes(entry),
        };
        Ok((planned, contents))
    }
}

fn last(why: &Option<String>) -> String {
    why.as_ref().map(|why| format!(" (the last one: {why})")).unwrap_or_default()
}
