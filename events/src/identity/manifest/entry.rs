//! One unit in a manifest, sealed at the moment of its burn so that it can lie on the station and travel anywhere.
//!
//! ```text
//! sealed:  unit u32 ‖ import key id u32 ‖ encapsulated key 97 ‖ ciphertext ‖ tag 16             little endian
//!          HPKE base mode; info "muster v1 manifest entry" ‖ cluster; associated data lot ‖ station ‖ unit
//! plain:   version u8 = 1 ‖ device public key 97 ‖ pre-shared key 48 ‖ NATS public nkey 32 ‖ record digest 16
//!          ‖ burned at u64 (ms) ‖ count u8 ‖ count × (component kind u8 ‖ digest 8)
//! ```

use super::{ManifestError, Reader};
use crate::identity::fingerprint::Fingerprint;
use crate::identity::key::{DeviceSeed, PreSharedKey, PublicKey};
use crate::identity::otp::OtpRecord;
use crate::ids::{ClusterId, DeviceId, LotId, RecordDigest, StationId};
use crate::keyring::{HpkePublicKey, Keyring, hpke_open, hpke_seal};
use crate::limits::COMPONENTS_MAX;
use crate::time::Timestamp;
use crate::vocabulary::provisioning::ComponentDigest;
use crate::vocabulary::shared::ComponentKind;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const INFO: &[u8] = b"muster v1 manifest entry";
const PLAIN_BYTES_MAX: usize = 203 + COMPONENTS_MAX * 9;
/// Unit and key id, encapsulated key, ciphertext, tag.
pub(super) const SEALED_BYTES_MAX: usize = 8 + 97 + PLAIN_BYTES_MAX + 16;

/// What the cluster learns of one unit. The device id follows from the public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryBody {
    pub lot: LotId,
    pub station: StationId,
    pub unit: u32,
    pub public_key: PublicKey,
    pub pre_shared_key: PreSharedKey,
    /// The device's public NATS nkey (Ed25519), raw.
    pub nats_key: [u8; 32],
    /// In canonical order, each kind once.
    pub components: Vec<ComponentDigest>,
    pub record: RecordDigest,
    /// The station's claim.
    pub burned_at: Timestamp,
}

impl EntryBody {
    /// What follows from a unit's seed, hardware and record.
    #[must_use]
    pub fn new(
        seed: &DeviceSeed,
        fingerprint: &Fingerprint,
        record: &OtpRecord,
        burned_at: Timestamp,
    ) -> Self {
        EntryBody {
            lot: record.lot(),
            station: record.station(),
            unit: record.unit(),
            public_key: seed.device_key().public(),
            pre_shared_key: seed.pre_shared_key(),
            nats_key: seed.nats_public(),
            components: fingerprint.digests(seed),
            record: record.digest(),
            burned_at,
        }
    }

    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.public_key.device_id()
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut plain = Zeroizing::new(Vec::with_capacity(PLAIN_BYTES_MAX));
        plain.push(VERSION);
        plain.extend_from_slice(self.public_key.as_bytes());
        plain.extend_from_slice(self.pre_shared_key.as_bytes());
        plain.extend_from_slice(&self.nats_key);
        plain.extend_from_slice(self.record.as_bytes());
        plain.extend_from_slice(&self.burned_at.as_millis().to_le_bytes());
        // At most eight: there are no more kinds, and a fingerprint has each once.
        plain.push(self.components.len() as u8);
        for component in &self.components {
            plain.push(component.kind as u8);
            plain.extend_from_slice(&component.digest);
        }
        plain
    }

    fn decode(lot: LotId, station: StationId, unit: u32, plain: &[u8]) -> Option<Self> {
        let mut reader = Reader(plain);
        if reader.array()? != [VERSION] {
            return None;
        }
        let body = EntryBody {
            lot,
            station,
            unit,
            public_key: PublicKey::from_bytes(reader.bytes(97)?).ok()?,
            pre_shared_key: PreSharedKey::from_bytes(reader.array()?),
            nats_key: reader.array()?,
            record: RecordDigest::from_bytes(reader.array()?),
            burned_at: Timestamp::from_millis(u64::from_le_bytes(reader.array()?)),
            components: decode_components(&mut reader)?,
        };
        reader.is_empty().then_some(body)
    }
}

fn decode_components(reader: &mut Reader<'_>) -> Option<Vec<ComponentDigest>> {
    let [count] = reader.array()?;
    let mut components: Vec<ComponentDigest> = Vec::new();
    for _ in 0..count {
        let kind = ComponentKind::from_number(reader.array::<1>()?[0])?;
        if components.last().is_some_and(|last| last.kind >= kind) {
            return None;
        }
        components.push(ComponentDigest { kind, digest: reader.array()? });
    }
    Some(components)
}

/// Seals a unit's entry to the import key of one cluster (protocol.md rule 22). What comes out may lie anywhere.
pub fn seal_entry(
    rng: &mut impl CryptoRng,
    cluster: ClusterId,
    import_key: &HpkePublicKey,
    body: &EntryBody,
) -> Result<Vec<u8>, ManifestError> {
    let aad = associated_data(body.lot, body.station, body.unit);
    let sealed = hpke_seal(rng, import_key, &info(cluster), &aad, &body.encode());
    let sealed = sealed.map_err(|_| ManifestError::Seal)?;
    Ok([&body.unit.to_le_bytes()[..], &import_key.id.to_le_bytes(), &sealed].concat())
}

/// The unit that a sealed entry says it is of.
pub(super) fn unit_of(sealed: &[u8]) -> Option<u32> {
    Reader(sealed).array().map(u32::from_le_bytes)
}

pub(super) fn open_entry(
    keyring: &Keyring,
    lot: LotId,
    station: StationId,
    sealed: &[u8],
) -> Result<EntryBody, ManifestError> {
    let mut reader = Reader(sealed);
    let (Some(unit), Some(key)) = (reader.array(), reader.array()) else {
        return Err(ManifestError::Malformed("entry"));
    };
    let (unit, key) = (u32::from_le_bytes(unit), u32::from_le_bytes(key));
    let key = keyring.import_key(key).ok_or(ManifestError::ImportKey(key))?;
    let plain = hpke_open(key, &info(keyring.cluster), &associated_data(lot, station, unit), reader.0)
        .map_err(|_| ManifestError::Entry { unit })?;
    EntryBody::decode(lot, station, unit, &plain).ok_or(ManifestError::Entry { unit })
}

fn info(cluster: ClusterId) -> Vec<u8> {
    [INFO, cluster.as_bytes()].concat()
}

fn associated_data(lot: LotId, station: StationId, unit: u32) -> Vec<u8> {
    [&lot.as_bytes()[..], station.as_bytes(), &unit.to_le_bytes()].concat()
}
