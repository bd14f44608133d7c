//! The terminal that is connected to the station: its components and the memory that its record goes into.

use super::step::{PlannedUnit, Tag};
use crate::files::{FileError, read_public, replace_secret};
use crate::otp::{OtpMemory, OtpMemoryError, is_blank};
use events::identity::fingerprint::Fingerprint;
use events::identity::otp::{FuseSecret, OtpProfile, OtpRecord, RECORD_BYTES, SLOT_BYTES, record_digest};
use sha2::{Digest, Sha384};
use std::path::Path;
use zeroize::Zeroizing;

/// What a station works on.
pub struct Terminal<'a> {
    /// Its hardware components, as the terminal itself will read them.
    pub fingerprint: &'a Fingerprint,
    pub memory: Memory<'a>,
}

/// Where the record goes: one profile each.
pub enum Memory<'a> {
    /// All of it in OTP: a slot of 240 bytes at least.
    Full(&'a mut dyn OtpMemory),
    /// A 32-byte secret in fuses, the sealed record in a file of ordinary storage.
    Seed { fuses: &'a mut dyn OtpMemory, record: &'a Path },
}

/// What the memory of a terminal holds, compared with what a unit's should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    Blank,
    Expected,
    Other,
}

/// What is burned: the record, and in the `seed` profile the secret that opens it.
pub(super) struct Contents {
    pub(super) record: Zeroizing<Vec<u8>>,
    pub(super) fuses: Option<FuseSecret>,
}

/// Why a terminal's memory is of no use, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    #[error(transparent)]
    Memory(#[from] OtpMemoryError),
    #[error("the sealed record: {0}")]
    Record(#[from] FileError),
    #[error("the unfinished unit is of profile `{expected}`: connect its terminal with that profile")]
    Profile { expected: &'static str },
}

impl Memory<'_> {
    pub(super) fn profile(&self) -> OtpProfile {
        match self {
            Memory::Full(_) => OtpProfile::Full,
            Memory::Seed { .. } => OtpProfile::Seed,
        }
    }

    pub(super) fn otp(&mut self) -> &mut dyn OtpMemory {
        match self {
            Memory::Full(otp) => *otp,
            Memory::Seed { fuses, .. } => *fuses,
        }
    }

    /// Bytes that are burned.
    fn need(&self) -> usize {
        match self.profile() {
            OtpProfile::Full => RECORD_BYTES,
            OtpProfile::Seed => FuseSecret::BYTES,
        }
    }

    /// Refuses a slot that is too small before anything is planned for it.
    pub(super) fn check_size(&mut self) -> Result<(), OtpMemoryError> {
        let need = self.need();
        let (place, size) = (self.otp().place(), self.otp().size());
        if size < need { Err(OtpMemoryError::TooSmall { place, size, need }) } else { Ok(()) }
    }

    pub(super) fn is_blank(&mut self) -> Result<bool, OtpMemoryError> {
        let blank = self.otp().blank();
        Ok(is_blank(&Zeroizing::new(self.otp().read()?), blank))
    }

    /// Other data behind room for what is to be burned, if that is all that keeps the slot from being blank.
    pub(super) fn rest_in_use(&mut self) -> Result<Option<OtpMemoryError>, OtpMemoryError> {
        let (used, blank) = (self.need(), self.otp().blank());
        let slot = Zeroizing::new(self.otp().read()?);
        let (room, rest) = slot.split_at(used.min(slot.len()));
        if !is_blank(room, blank) || is_blank(rest, blank) {
            return Ok(None);
        }
        Ok(Some(OtpMemoryError::RestNotBlank { place: self.otp().place(), used, size: slot.len() }))
    }

    /// Everything that can be written again goes first, so that the burn is the last and only step that counts.
    pub(super) fn prepare(&mut self, contents: &Contents) -> Result<(), FileError> {
        match self {
            Memory::Full(_) => Ok(()),
            Memory::Seed { record, .. } => replace_secret(record, &contents.record),
        }
    }

    /// The one step that cannot be undone.
    pub(super) fn burn(&mut self, contents: &Contents) -> Result<(), OtpMemoryError> {
        self.otp().burn(contents.burned())
    }

    /// Reads everything back and compares it with what the unit's terminal should hold.
    pub(super) fn holds(&mut self, unit: &PlannedUnit) -> Result<Holding, TerminalError> {
        match (self.profile(), unit.fuses) {
            (OtpProfile::Full, Some(_)) => return Err(TerminalError::Profile { expected: "seed" }),
            (OtpProfile::Seed, None) => return Err(TerminalError::Profile { expected: "full" }),
            (OtpProfile::Full, None) | (OtpProfile::Seed, Some(_)) => {}
        }
        let blank = self.otp().blank();
        let slot = Zeroizing::new(self.otp().read()?);
        if is_blank(&slot, blank) {
            return Ok(Holding::Blank);
        }
        let used = unit.fuses.map_or(RECORD_BYTES, |_| FuseSecret::BYTES).min(slot.len());
        let (burned, rest) = slot.split_at(used);
        let as_burned = match unit.fuses {
            None => record_digest(burned) == unit.record,
            Some(secret) => fuse_tag(burned) == secret,
        };
        if !as_burned || !is_blank(rest, blank) {
            return Ok(Holding::Other);
        }
        // Beside wrong fuses it does not matter what the storage holds, beside right ones it does.
        let stored = self.stored_record()?.is_none_or(|record| record_digest(&record) == unit.record);
        Ok(if stored { Holding::Expected } else { Holding::Other })
    }

    /// The record, and the fuse secret that it needs in the `seed` profile.
    pub(super) fn read_back(&mut self) -> Result<Contents, TerminalError> {
        let mut slot = Zeroizing::new(self.otp().read()?);
        match self.stored_record()? {
            Some(record) => {
                let fuses = slot.first_chunk().map(|secret| FuseSecret::from_bytes(*secret));
                Ok(Contents { record, fuses })
            }
            // As the terminal's agent reads it, with what lies behind the record.
            None => {
                slot.truncate(SLOT_BYTES);
                Ok(Contents { record: slot, fuses: None })
            }
        }
    }

    /// What ordinary storage holds in the `seed` profile. It is sealed, so whoever may read it may read it.
    fn stored_record(&self) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
        match self {
            Memory::Full(_) => Ok(None),
            Memory::Seed { record, .. } => Ok(Some(Zeroizing::new(read_public(record)?))),
        }
    }
}

impl Contents {
    pub(super) fn new(record: &OtpRecord, fuses: Option<FuseSecret>) -> Self {
        Contents { record: Zeroizing::new(record.as_bytes().to_vec()), fuses }
    }

    /// What goes into OTP, first byte to last.
    fn burned(&self) -> &[u8] {
        self.fuses.as_ref().map_or(&self.record, |secret| secret.as_bytes())
    }

    pub(super) fn fuse_tag(&self) -> Option<Tag> {
        self.fuses.as_ref().map(|secret| fuse_tag(secret.as_bytes()))
    }
}

/// Names a fuse secret in the journal. The secret is random, so that its digest tells nothing about it.
fn fuse_tag(secret: &[u8]) -> Tag {
    let digest = Sha384::new().chain_update(b"muster v1 fuse secret").chain_update(secret).finalize();
    Tag(std::array::from_fn(|i| digest[i]))
}
