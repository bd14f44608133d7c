//! A manifest that the factory's and the station's signatures vouch for, and what the import key opens in it.

use super::entry::open_entry;
use super::{EntryBody, Manifest, ManifestError, Reader, tamper_info};
use crate::identity::certificate::CertifiedStation;
use crate::identity::lot::{LotDeclaration, TamperKey};
use crate::keyring::{Keyring, hpke_open};
use std::collections::BTreeSet;

/// A manifest whose signatures hold.
#[derive(Clone, Debug)]
#[must_use]
pub struct VerifiedManifest {
    manifest: Manifest,
    station: CertifiedStation,
}

/// Everything that an import proposes: a lot, a station, and its units.
#[derive(Clone, Debug)]
pub struct OpenedManifest {
    pub declaration: LotDeclaration,
    pub station: CertifiedStation,
    pub tamper_key: TamperKey,
    pub entries: Vec<EntryBody>,
}

impl VerifiedManifest {
    pub(super) fn new(manifest: Manifest, station: CertifiedStation) -> Self {
        VerifiedManifest { manifest, station }
    }

    #[must_use]
    pub fn declaration(&self) -> &LotDeclaration {
        &self.manifest.declaration
    }

    #[must_use]
    pub fn station(&self) -> &CertifiedStation {
        &self.station
    }

    /// Opens everything or nothing. Costs one P-384 operation per entry, about a millisecond.
    pub fn open(&self, keyring: &Keyring) -> Result<OpenedManifest, ManifestError> {
        let (expected, got) = (keyring.cluster, self.manifest.cluster);
        if expected != got {
            return Err(ManifestError::OtherCluster { expected, got });
        }
        let tamper_key = self.open_tamper_key(keyring)?;
        let entries = self.open_entries(keyring).collect::<Result<Vec<_>, _>>()?;
        let mut devices = BTreeSet::new();
        if let Some(twice) = entries.iter().map(EntryBody::device).find(|device| !devices.insert(*device)) {
            return Err(ManifestError::DeviceTwice(twice));
        }
        let (declaration, station) = (self.manifest.declaration.clone(), self.station.clone());
        Ok(OpenedManifest { declaration, station, tamper_key, entries })
    }

    fn open_entries(&self, keyring: &Keyring) -> impl Iterator<Item = Result<EntryBody, ManifestError>> {
        let (lot, station) = (self.station.lot(), self.station.station());
        self.manifest.entries.iter().map(move |sealed| {
            let body = open_entry(keyring, lot, station, sealed)?;
            self.check(&body)?;
            Ok(body)
        })
    }

    fn check(&self, body: &EntryBody) -> Result<(), ManifestError> {
        let (unit, burned_at, until) = (body.unit, body.burned_at, self.station.until());
        if burned_at > until {
            return Err(ManifestError::Late { unit, burned_at, until });
        }
        let shown = |kind| body.components.iter().any(|component| component.kind == kind);
        if self.manifest.declaration.policy().slots().all(shown) {
            Ok(())
        } else {
            Err(ManifestError::Components { unit })
        }
    }

    fn open_tamper_key(&self, keyring: &Keyring) -> Result<TamperKey, ManifestError> {
        let mut reader = Reader(&self.manifest.sealed_tamper_key);
        let id = reader.array().map(u32::from_le_bytes).ok_or(ManifestError::TamperKey)?;
        let key = keyring.import_key(id).ok_or(ManifestError::ImportKey(id))?;
        let lot = self.station.lot();
        let plain = hpke_open(key, &tamper_info(keyring.cluster), lot.as_bytes(), reader.0)
            .map_err(|_| ManifestError::TamperKey)?;
        let tamper_key = TamperKey::try_from(&plain[..]).map_err(|_| ManifestError::TamperKey)?;
        if self.manifest.declaration.names_tamper_key(&tamper_key) {
            Ok(tamper_key)
        } else {
            Err(ManifestError::TamperKey)
        }
    }
}
