//! Exporting burned units in signed, numbered manifests (protocol.md rule 22).
//!
//! Which units a manifest holds is in the journal before the manifest leaves; so a manifest that was lost on its way can
//! be exported again, with the same units under the same number. Importing one twice changes nothing.

use super::Station;
use super::journal::JournalError;
use super::step::{ManifestNumber, Step, UnitNumber};
use crate::files::{self, FileError};
use crate::manifest;
use events::identity::manifest::{ExportParams, Manifest, ManifestError};
use events::limits::MANIFEST_ENTRIES_MAX;
use events::time::Timestamp;
use rand_core::CryptoRng;
use std::path::Path;

/// A manifest and what it holds.
#[derive(Clone, Debug)]
pub struct ExportedUnits {
    pub number: ManifestNumber,
    pub units: Vec<UnitNumber>,
    /// When the units were first exported.
    pub at: Timestamp,
    pub manifest: Manifest,
    /// Burned units that did not fit: export once more.
    pub left: usize,
}

/// Why nothing is exported, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("no unit is burned yet: burn some first")]
    NothingBurned,
    #[error("this station made manifests 1 to {last}; there is no manifest {number}")]
    NoSuchManifest { number: ManifestNumber, last: ManifestNumber },
    #[error("nothing is exported: {0}")]
    Unwritable(FileError),
    #[error(
        "manifest {number} is written down in the journal, but not to its file: {source}. Say `muster station export --manifest {number}` once that is mended"
    )]
    Lost { number: ManifestNumber, source: FileError },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Station {
    /// Exports the burned units that are in no manifest yet; if there are none, the last manifest again.
    pub fn export(&mut self, rng: &mut impl CryptoRng, now: Timestamp) -> Result<ExportedUnits, ExportError> {
        let mut units = self.ledger().unexported();
        if units.is_empty() {
            let last = self.ledger().next_manifest() - 1;
            return if last == 0 { Err(ExportError::NothingBurned) } else { self.export_again(last, rng) };
        }
        units.truncate(MANIFEST_ENTRIES_MAX);
        let number = self.ledger().next_manifest();
        self.journal.record(now, Step::Exported { manifest: number, units })?;
        self.export_again(number, rng)
    }

    /// Exports into a new file: the next manifest, or one that was made before. That the file can be made is found out
    /// before anything is written down, and if it goes wrong all the same, the error says how its units come back.
    pub fn export_into(
        &mut self,
        out: &Path,
        again: Option<ManifestNumber>,
        rng: &mut impl CryptoRng,
        now: Timestamp,
    ) -> Result<ExportedUnits, ExportError> {
        files::check_new_public(out).map_err(ExportError::Unwritable)?;
        let exported = match again {
            Some(number) => self.export_again(number, rng)?,
            None => self.export(rng, now)?,
        };
        let (number, text) = (exported.number, manifest::text(exported.number, &exported.manifest));
        files::create_public(out, text.as_bytes()).map_err(|source| ExportError::Lost { number, source })?;
        Ok(exported)
    }

    /// Makes a manifest once more.
    pub fn export_again(
        &self,
        number: ManifestNumber,
        rng: &mut impl CryptoRng,
    ) -> Result<ExportedUnits, ExportError> {
        let last = self.ledger().next_manifest() - 1;
        let known = self.ledger().manifests().get(&number);
        let known = known.ok_or(ExportError::NoSuchManifest { number, last })?;
        let units = self.ledger().units();
        let entries = known.units.iter().filter_map(|unit| units.get(unit));
        let manifest = Manifest::export(
            rng,
            ExportParams {
                cluster: self.cluster.cluster,
                import_key: &self.cluster.import_key,
                firmware: &self.firmware,
                station_key: &self.key,
                entries: entries.map(|unit| unit.planned.entry.0.clone()).collect(),
            },
        )?;
        let left = self.ledger().unexported().len();
        Ok(ExportedUnits { number, units: known.units.clone(), at: known.at, manifest, left })
    }
}
