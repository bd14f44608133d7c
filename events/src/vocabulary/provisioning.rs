//! What the factory tells the cluster.

use super::shared::{ComponentKind, Wrapped};
use crate::ids::{DeviceId, LotId, RecordDigest, StationId};
use crate::time::Timestamp;
use rkyv::{Archive, Deserialize, Serialize};

/// A production batch of devices.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct LotCreated {
    pub lot: LotId,
    pub sku: String,
    /// Components without which an OTP record of this lot does not open, in canonical order.
    pub required: Vec<ComponentKind>,
    /// The other components that a record carries, of which `threshold` must match.
    pub optional: Vec<ComponentKind>,
    pub threshold: u8,
    /// Key under which terminals of the lot report a record that does not open (protocol.md rule 25).
    pub tamper_key: Wrapped,
}

/// A station may sign records of one lot, up to a quota, until a date (protocol.md rule 21).
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct StationCertified {
    pub station: StationId,
    pub lot: LotId,
    /// Uncompressed SEC1 point, 97 bytes.
    pub public_key: Vec<u8>,
    pub quota: u32,
    pub until: Timestamp,
    /// The certificate as the factory key signed it.
    pub certificate: Vec<u8>,
}

/// Records that this station signs from now on are refused.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct StationRevoked {
    pub station: StationId,
    pub reason: String,
}

/// A terminal left the factory: one entry of a manifest, opened and checked by the importing node.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct DeviceProvisioned {
    pub device: DeviceId,
    pub lot: LotId,
    pub station: StationId,
    pub unit: u32,
    /// Uncompressed SEC1 point of the device's ECDSA P-384 key, 97 bytes.
    pub public_key: Vec<u8>,
    /// The OTP pre-shared key.
    pub pre_shared_key: Wrapped,
    /// The device's public NATS nkey (Ed25519), raw.
    pub nats_key: [u8; 32],
    /// Keyed digests of the hardware components, in canonical order.
    pub components: Vec<ComponentDigest>,
    pub record: RecordDigest,
    /// The station's claim; stations may be offline with a wrong clock.
    pub burned_at: Timestamp,
}

/// One hardware component as the log knows it: never its value (protocol.md rules 19 and 23).
#[derive(
    Archive, Serialize, Deserialize, serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq,
)]
pub struct ComponentDigest {
    pub kind: ComponentKind,
    pub digest: [u8; 8],
}

/// Secrets wrapped anew under a newer key-encryption key, so that an older one can be destroyed (protocol.md rule 19).
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretsRewrapped {
    pub devices: Vec<RewrappedDevice>,
    pub lots: Vec<RewrappedLot>,
}

/// A device's pre-shared key, under another key-encryption key.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct RewrappedDevice {
    pub device: DeviceId,
    pub pre_shared_key: Wrapped,
}

/// A lot's tamper key, under another key-encryption key.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct RewrappedLot {
    pub lot: LotId,
    pub tamper_key: Wrapped,
}
