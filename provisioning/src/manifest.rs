//! Manifest files: how burned units travel from a station to a cluster. Signed, and sealed entry by entry, so that
//! they may lie anywhere.

use crate::armor::{self, ArmorError, Kind};
use crate::files::{self, FileError};
use events::identity::manifest::{Manifest, ManifestError};
use std::path::{Path, PathBuf};

/// Why a file is no manifest, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ManifestFileError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Armor(#[from] ArmorError),
    #[error("{path}: {why}: export the manifest again")]
    Manifest { path: PathBuf, why: ManifestError },
}

/// Text of a manifest file; `number` counts a station's manifests.
#[must_use]
pub fn text(number: u32, manifest: &Manifest) -> String {
    let note = format!(
        "Manifest {number} of {}: {} units of {} for {}. Sealed: it may lie anywhere.",
        manifest.station(),
        manifest.units(),
        manifest.lot(),
        manifest.cluster()
    );
    armor::encode_bytes(Kind::Manifest, &note, &manifest.encode())
}

/// Reads a manifest file. Trust it only after `Manifest::verify`.
pub fn load(path: &Path) -> Result<Manifest, ManifestFileError> {
    let bytes = armor::decode_bytes(Kind::Manifest, path, &files::read_public(path)?)?;
    Manifest::parse(&bytes).map_err(|why| ManifestFileError::Manifest { path: path.to_owned(), why })
}
