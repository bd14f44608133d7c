//! Manifest: how a station's burned units reach the cluster (protocol.md rule 22).
//!
//! ```text
//! version u8 = 1 ‖ cluster 16                                                             little endian
//! ‖ length u16 ‖ lot declaration ‖ station certificate 210
//! ‖ length u16 ‖ import key id u32 ‖ encapsulated key 97 ‖ tamper key, sealed 48
//! ‖ count u32 ‖ count × (length u16 ‖ sealed entry)                                       see entry.rs
//! ‖ ECDSA P-384 signature 96 of the station, over "muster v1 manifest" ‖ all before it
//! ```
//!
//! The way in: [`Manifest::parse`] → [`Manifest::verify`] (who signed it, and may they) → [`VerifiedManifest::open`].
//! Whether a station is revoked, and how much of its quota earlier manifests used, is for the cluster to say.

mod entry;
mod opened;
#[cfg(test)]
mod tests;

pub use entry::{EntryBody, seal_entry};
pub use opened::{OpenedManifest, VerifiedManifest};

use super::certificate::{CERTIFICATE_BYTES, CertificateError, StationCertificate};
use super::key::{PublicKey, Signature, StationKey};
use super::lot::{DeclarationError, LotDeclaration, LotFirmware};
use crate::ids::{ClusterId, DeviceId, LotId, StationId};
use crate::keyring::{HpkePublicKey, hpke_seal};
use crate::limits::MANIFEST_ENTRIES_MAX;
use crate::time::Timestamp;
use rand_core::CryptoRng;

const VERSION: u8 = 1;
const LABEL: &[u8] = b"muster v1 manifest";
const TAMPER_INFO: &[u8] = b"muster v1 manifest tamper key";

/// A manifest that has the form of one; nothing in it is trusted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    cluster: ClusterId,
    declaration: LotDeclaration,
    certificate: StationCertificate,
    sealed_tamper_key: Vec<u8>,
    entries: Vec<Vec<u8>>,
    signature: Signature,
}

/// What a station exports.
#[derive(Debug)]
pub struct ExportParams<'a> {
    pub cluster: ClusterId,
    pub import_key: &'a HpkePublicKey,
    /// Must hold the certificate of the exporting station.
    pub firmware: &'a LotFirmware,
    pub station_key: &'a StationKey,
    /// What [`seal_entry`] returned, one per burned unit.
    pub entries: Vec<Vec<u8>>,
}

/// Why a manifest is not made, or not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest is malformed: {0}")]
    Malformed(&'static str),
    #[error("a manifest of version {0} is not known to this program")]
    Version(u8),
    #[error("a manifest has at most {MANIFEST_ENTRIES_MAX} entries, got {0}: export in parts")]
    TooMany(usize),
    #[error(transparent)]
    Declaration(#[from] DeclarationError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the lot holds no certificate of station {0}: ask the factory for one")]
    NotCertified(StationId),
    #[error("the station is certified for {certified}, the manifest is of {declared}")]
    OtherLot { certified: LotId, declared: LotId },
    #[error("the station's signature on the manifest does not hold")]
    Signature,
    #[error("{got} entries are more than the {quota} units that station {station} may burn")]
    Quota { station: StationId, quota: u32, got: usize },
    #[error("unit {0} is in the manifest twice")]
    UnitTwice(u32),
    #[error("{0} is in the manifest twice")]
    DeviceTwice(DeviceId),
    #[error("the manifest is for cluster {got}, this is {expected}")]
    OtherCluster { expected: ClusterId, got: ClusterId },
    #[error("the manifest is sealed to import key {0}, which is not in this keyring")]
    ImportKey(u32),
    #[error("the tamper key does not open, or is not the one that the factory declared")]
    TamperKey,
    #[error("the entry of unit {unit} does not open, or is malformed")]
    Entry { unit: u32 },
    #[error("unit {unit} lacks a component that the lot's policy names")]
    Components { unit: u32 },
    #[error("unit {unit} was burned at {burned_at}, after the station's term ended at {until}")]
    Late { unit: u32, burned_at: Timestamp, until: Timestamp },
    #[error("could not seal to the import key: it is no usable key")]
    Seal,
}

impl Manifest {
    /// Collects sealed entries and signs them as the station.
    pub fn export(rng: &mut impl CryptoRng, params: ExportParams<'_>) -> Result<Self, ManifestError> {
        let ExportParams { cluster, import_key, firmware, station_key, entries } = params;
        let station = station_key.public().station_id();
        let certified = firmware.station(station).ok_or(ManifestError::NotCertified(station))?;
        check_count(entries.len())?;
        let mut manifest = Manifest {
            cluster,
            declaration: firmware.declaration.clone(),
            certificate: certified.certificate().clone(),
            sealed_tamper_key: seal_tamper_key(rng, cluster, import_key, firmware)?,
            entries,
            signature: Signature::from_bytes([0; Signature::BYTES]),
        };
        manifest.signature = station_key.sign(&manifest.signed_message());
        Ok(manifest)
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.body();
        bytes.extend_from_slice(self.signature.as_bytes());
        bytes
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let signed = bytes.split_last_chunk::<{ Signature::BYTES }>();
        let (body, signature) = signed.ok_or(ManifestError::Malformed("it is too short"))?;
        let mut reader = Reader(body);
        let [version] = reader.array().ok_or(ManifestError::Malformed("it is empty"))?;
        if version != VERSION {
            return Err(ManifestError::Version(version));
        }
        let cluster = reader.array().ok_or(ManifestError::Malformed("cluster"))?;
        let declaration = reader.counted().ok_or(ManifestError::Malformed("lot declaration"))?;
        let certificate =
            reader.bytes(CERTIFICATE_BYTES).ok_or(ManifestError::Malformed("station certificate"))?;
        let sealed_tamper_key = reader.counted().ok_or(ManifestError::Malformed("tamper key"))?.to_vec();
        let entries = parse_entries(&mut reader)?;
        if !reader.is_empty() {
            return Err(ManifestError::Malformed("bytes after the last entry"));
        }
        Ok(Manifest {
            cluster: ClusterId::from_bytes(cluster),
            declaration: LotDeclaration::parse(declaration)?,
            certificate: StationCertificate::parse(certificate)?,
            sealed_tamper_key,
            entries,
            signature: Signature::from_bytes(*signature),
        })
    }

    /// Checks the factory's signatures, the station's, and that nothing is there twice or above the quota.
    pub fn verify(self, factory: &PublicKey) -> Result<VerifiedManifest, ManifestError> {
        self.declaration.verify(factory)?;
        let station = self.certificate.clone().verify(factory)?;
        let (certified, declared) = (station.lot(), self.declaration.lot());
        if certified != declared {
            return Err(ManifestError::OtherLot { certified, declared });
        }
        let signed = station.public_key().verify(&self.signed_message(), &self.signature);
        signed.map_err(|_| ManifestError::Signature)?;
        if self.entries.len() > station.quota() as usize {
            let (station, quota) = (station.station(), station.quota());
            return Err(ManifestError::Quota { station, quota, got: self.entries.len() });
        }
        self.check_units()?;
        Ok(VerifiedManifest::new(self, station))
    }

    fn check_units(&self) -> Result<(), ManifestError> {
        let mut units: Vec<u32> = self.entries.iter().filter_map(|entry| entry::unit_of(entry)).collect();
        units.sort_unstable();
        match units.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(ManifestError::UnitTwice(twice[0])),
            None => Ok(()),
        }
    }

    /// The cluster that it is sealed to, as it says.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    #[must_use]
    pub fn lot(&self) -> LotId {
        self.declaration.lot()
    }

    #[must_use]
    pub fn station(&self) -> StationId {
        self.certificate.station()
    }

    #[must_use]
    pub fn units(&self) -> usize {
        self.entries.len()
    }

    fn body(&self) -> Vec<u8> {
        let mut body = vec![VERSION];
        body.extend_from_slice(self.cluster.as_bytes());
        push_counted(&mut body, &self.declaration.encode());
        body.extend_from_slice(&self.certificate.encode());
        push_counted(&mut body, &self.sealed_tamper_key);
        // At most `MANIFEST_ENTRIES_MAX`.
        body.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for entry in &self.entries {
            push_counted(&mut body, entry);
        }
        body
    }

    fn signed_message(&self) -> Vec<u8> {
        [LABEL, &self.body()].concat()
    }
}

fn parse_entries(reader: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, ManifestError> {
    let count = reader.array().map(u32::from_le_bytes).ok_or(ManifestError::Malformed("count"))? as usize;
    check_count(count)?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let entry = reader.counted().ok_or(ManifestError::Malformed("entry"))?;
        if entry::unit_of(entry).is_none() || entry.len() > entry::SEALED_BYTES_MAX {
            return Err(ManifestError::Malformed("entry"));
        }
        entries.push(entry.to_vec());
    }
    Ok(entries)
}

fn check_count(count: usize) -> Result<(), ManifestError> {
    if count > MANIFEST_ENTRIES_MAX { Err(ManifestError::TooMany(count)) } else { Ok(()) }
}

fn seal_tamper_key(
    rng: &mut impl CryptoRng,
    cluster: ClusterId,
    import_key: &HpkePublicKey,
    firmware: &LotFirmware,
) -> Result<Vec<u8>, ManifestError> {
    let key = firmware.lot_secret.tamper_key(firmware.lot);
    let info = tamper_info(cluster);
    let sealed = hpke_seal(rng, import_key, &info, firmware.lot.as_bytes(), key.as_bytes());
    let sealed = sealed.map_err(|_| ManifestError::Seal)?;
    Ok([&import_key.id.to_le_bytes()[..], &sealed].concat())
}

fn tamper_info(cluster: ClusterId) -> Vec<u8> {
    [TAMPER_INFO, cluster.as_bytes()].concat()
}

/// Length u16 ‖ bytes. Nothing in a manifest is longer than a few hundred bytes.
fn push_counted(body: &mut Vec<u8>, part: &[u8]) {
    body.extend_from_slice(&(part.len() as u16).to_le_bytes());
    body.extend_from_slice(part);
}

/// Takes bytes off the front; `None` when there are not enough.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let count = u16::from_le_bytes(self.array()?);
        self.bytes(usize::from(count))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
