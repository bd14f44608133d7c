//! The OTP record: what is burned into one-time-programmable memory (protocol.md rule 23).
//!
//! ```text
//!   0  version u8 = 1 ‖ profile u8 ‖ k u8 ‖ count u8           k: the threshold; count: components in use
//!   4  lot 4 ‖ signer (station) 4 ‖ unit u32 ‖ salt 16          all numbers little endian
//!  32  ciphertext 96: device seed 32 ‖ eight component digests of 8 (required, then optional, then zeros)
//! 128  AES-256-GCM tag 16                                       associated data: the 32 bytes before
//! 144  ECDSA P-384 signature 96 of the station                  over "muster v1 otp record" ‖ bytes 0..144
//! 240
//! ```
//!
//! Key = HKDF-SHA384(salt; lot secret ‖ fuse secret (`seed` profile only), each with its length as u16, ‖ every
//! required component as kind u8 ‖ length u16 ‖ value; info "muster v1 otp record"), 32 bytes. The nonce is zero:
//! a key is used once, since every record has a random salt and a failed burn gets a new one.
//!
//! This binds, it does not hide: components have 20 to 40 bits and every firmware of a lot knows its secret (rule 24).

use super::fingerprint::{Comparison, ComponentPolicy, Fingerprint, compare};
use super::key::{DeviceSeed, PublicKey, Signature, StationKey};
use super::lot::LotSecret;
use crate::ids::{LotId, RecordDigest, StationId};
use crate::limits::COMPONENTS_MAX;
use crate::secret::{derive, secret_bytes};
use crate::vocabulary::provisioning::ComponentDigest;
use crate::vocabulary::rejection::TamperReason;
use crate::vocabulary::shared::{ComponentKind, plain_enum};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key};
use sha2::{Digest, Sha384};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a record.
pub const RECORD_BYTES: usize = 240;
/// Bytes of the OTP slot that a record lies in; the rest is blank.
pub const SLOT_BYTES: usize = 256;

const VERSION: u8 = 1;
const LABEL: &[u8] = b"muster v1 otp record";
const HEADER_BYTES: usize = 32;
const SIGNED_BYTES: usize = 144;
const DIGEST_BYTES: usize = 8;
const PLAIN_BYTES: usize = DeviceSeed::BYTES + COMPONENTS_MAX * DIGEST_BYTES;
const _: () = assert!(HEADER_BYTES + PLAIN_BYTES + 16 == SIGNED_BYTES);
const _: () = assert!(SIGNED_BYTES + Signature::BYTES == RECORD_BYTES);

plain_enum! {
    /// Where a record lies.
    OtpProfile {
        /// All of it in OTP; secret by the OTP's read protection.
        Full = 1 => "full",
        /// A 32-byte secret in fuses, the record in ordinary storage.
        Seed = 2 => "seed",
    }
}

secret_bytes!(
    /// What the `seed` profile burns into fuses; part of the sealing key.
    FuseSecret, 32
);

/// A record that has the form of one; nothing in it is trusted yet.
#[derive(Clone, PartialEq, Eq)]
pub struct OtpRecord([u8; RECORD_BYTES]);

/// A record whose station's signature holds.
#[derive(Clone, Debug)]
#[must_use]
pub struct VerifiedRecord(OtpRecord);

/// What a record holds, and how the hardware compares with what was burned.
#[derive(Debug)]
pub struct OpenedRecord {
    pub seed: DeviceSeed,
    /// The digests as burned: required components, then optional ones.
    pub burned: Vec<ComponentDigest>,
    /// Whether this terminal passes its boot check, and which components differ.
    pub comparison: Comparison,
}

/// What a station needs to know to seal a record.
#[derive(Debug)]
pub struct SealParams<'a> {
    pub profile: OtpProfile,
    pub lot: LotId,
    pub unit: u32,
    /// Fresh and random for every attempt to burn.
    pub salt: [u8; 16],
    pub policy: &'a ComponentPolicy,
    pub lot_secret: &'a LotSecret,
    /// Given exactly in the `seed` profile.
    pub fuse_secret: Option<&'a FuseSecret>,
}

/// Why a record cannot be sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the lot asks for component `{0}`, which this terminal does not show")]
    ComponentMissing(ComponentKind),
    #[error("a fuse secret belongs to the `seed` profile, and only to it")]
    FuseSecret,
}

/// Why a record does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtpError {
    #[error("the OTP memory is blank: this terminal was never burned")]
    Blank,
    #[error("an OTP record has 240 bytes, in a slot of at most 256 whose rest is blank; got {0}")]
    Length(usize),
    #[error("the bytes after the record are not blank")]
    Padding,
    #[error("an OTP record of version {0} is not known to this program")]
    Version(u8),
    #[error("the header of the OTP record is malformed")]
    Header,
    #[error("the record is of {got}, this firmware is of {expected}")]
    WrongLot { expected: LotId, got: LotId },
    #[error("this firmware has no certificate of station {0}, which signed the record")]
    UnknownStation(StationId),
    #[error("the station's signature on the record does not hold")]
    Signature,
    #[error("the record was made for another component policy than that of its lot")]
    Policy,
    #[error("a record of the `seed` profile needs the fuse secret, and one of the `full` profile has none")]
    FuseSecret,
    #[error("REQUIRED_HARDWARE: the record does not open with the required components of this board")]
    RequiredHardware,
}

impl OtpError {
    /// What a terminal reports to the cluster (protocol.md rule 25).
    #[must_use]
    pub fn tamper_reason(&self) -> TamperReason {
        match self {
            OtpError::Blank => TamperReason::RecordMissing,
            OtpError::RequiredHardware => TamperReason::RequiredHardware,
            OtpError::Length(_)
            | OtpError::Padding
            | OtpError::Version(_)
            | OtpError::Header
            | OtpError::WrongLot { .. }
            | OtpError::UnknownStation(_)
            | OtpError::Signature
            | OtpError::Policy
            | OtpError::FuseSecret => TamperReason::RecordInvalid,
        }
    }
}

/// The first 16 bytes of SHA-384 over bytes that should be a record, whatever they are: for tamper reports.
#[must_use]
pub fn record_digest(bytes: &[u8]) -> RecordDigest {
    let digest = Sha384::digest(bytes);
    RecordDigest::from_bytes(std::array::from_fn(|i| digest[i]))
}

impl OtpRecord {
    /// Seals and signs the record of one unit. Every component that the policy names must be there.
    pub fn seal(
        params: &SealParams<'_>,
        seed: &DeviceSeed,
        fingerprint: &Fingerprint,
        station: &StationKey,
    ) -> Result<Self, SealError> {
        if let Some(missing) = params.policy.slots().find(|kind| fingerprint.find(*kind).is_none()) {
            return Err(SealError::ComponentMissing(missing));
        }
        if params.fuse_secret.is_some() != (params.profile == OtpProfile::Seed) {
            return Err(SealError::FuseSecret);
        }
        let mut bytes = [0; RECORD_BYTES];
        bytes[..HEADER_BYTES].copy_from_slice(&header(params, station.public().station_id()));
        let cipher = cipher(&params.salt, params.lot_secret, params.fuse_secret, params.policy, fingerprint);
        let plain = plaintext(seed, &slot_digests(seed, fingerprint, params.policy));
        let payload = Payload { msg: &plain[..], aad: &bytes[..HEADER_BYTES] };
        #[allow(clippy::expect_used, reason = "96 bytes are far below the limit of AES-GCM")]
        let sealed = cipher.encrypt(&[0; 12].into(), payload).expect("a short plaintext seals");
        bytes[HEADER_BYTES..SIGNED_BYTES].copy_from_slice(&sealed);
        let signature = station.sign(&signed_message(&bytes));
        bytes[SIGNED_BYTES..].copy_from_slice(signature.as_bytes());
        Ok(OtpRecord(bytes))
    }

    /// Takes a record of 240 bytes, or a slot of up to 256 whose rest is all zeros or all ones.
    pub fn parse(slot: &[u8]) -> Result<Self, OtpError> {
        if !slot.is_empty() && is_blank(slot) {
            return Err(OtpError::Blank);
        }
        if slot.len() > SLOT_BYTES {
            return Err(OtpError::Length(slot.len()));
        }
        let (bytes, padding) = slot.split_first_chunk().ok_or(OtpError::Length(slot.len()))?;
        if !is_blank(padding) {
            return Err(OtpError::Padding);
        }
        let record = OtpRecord(*bytes);
        record.check_header()?;
        Ok(record)
    }

    fn check_header(&self) -> Result<(), OtpError> {
        let [version, profile, threshold, count, ..] = self.0;
        if version != VERSION {
            return Err(OtpError::Version(version));
        }
        let counts = count >= 1 && usize::from(count) <= COMPONENTS_MAX && threshold < count;
        if !counts || OtpProfile::from_number(profile).is_none() {
            return Err(OtpError::Header);
        }
        Ok(())
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; RECORD_BYTES] {
        &self.0
    }

    #[must_use]
    pub fn digest(&self) -> RecordDigest {
        record_digest(&self.0)
    }

    #[must_use]
    pub fn profile(&self) -> OtpProfile {
        match self.0[1] {
            1 => OtpProfile::Full,
            // `check_header` let only the two numbers in.
            _ => OtpProfile::Seed,
        }
    }

    #[must_use]
    pub fn lot(&self) -> LotId {
        LotId::from_bytes(self.field(4))
    }

    /// The station that signed it, as the record says.
    #[must_use]
    pub fn station(&self) -> StationId {
        StationId::from_bytes(self.field(8))
    }

    #[must_use]
    pub fn unit(&self) -> u32 {
        u32::from_le_bytes(self.field(12))
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|i| self.0[at + i])
    }

    /// The signature comes first: nothing is opened that no certified station vouches for.
    pub fn verify(&self, station: &PublicKey) -> Result<VerifiedRecord, OtpError> {
        if station.station_id() != self.station() {
            return Err(OtpError::Signature);
        }
        let signature = Signature::from_bytes(self.field(SIGNED_BYTES));
        station.verify(&signed_message(&self.0), &signature).map_err(|_| OtpError::Signature)?;
        Ok(VerifiedRecord(self.clone()))
    }
}

impl std::fmt::Debug for OtpRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OtpRecord({}, {}, unit {})", self.digest(), self.lot(), self.unit())
    }
}

impl VerifiedRecord {
    #[must_use]
    pub fn record(&self) -> &OtpRecord {
        &self.0
    }

    /// Opens it with the hardware of this board. A required component that differs or is missing is
    /// [`OtpError::RequiredHardware`]; optional ones that differ are named in the comparison.
    pub fn open(
        &self,
        policy: &ComponentPolicy,
        lot_secret: &LotSecret,
        fuse_secret: Option<&FuseSecret>,
        fingerprint: &Fingerprint,
    ) -> Result<OpenedRecord, OtpError> {
        let OtpRecord(bytes) = &self.0;
        if bytes[2] != policy.threshold() || usize::from(bytes[3]) != policy.slots().count() {
            return Err(OtpError::Policy);
        }
        if fuse_secret.is_some() != (self.0.profile() == OtpProfile::Seed) {
            return Err(OtpError::FuseSecret);
        }
        if policy.required().iter().any(|kind| fingerprint.find(*kind).is_none()) {
            return Err(OtpError::RequiredHardware);
        }
        let cipher = cipher(&self.0.field(16), lot_secret, fuse_secret, policy, fingerprint);
        let payload = Payload { msg: &bytes[HEADER_BYTES..SIGNED_BYTES], aad: &bytes[..HEADER_BYTES] };
        let plain = cipher.decrypt(&[0; 12].into(), payload).map_err(|_| OtpError::RequiredHardware)?;
        Ok(opened(&Zeroizing::new(plain), policy, fingerprint))
    }
}

fn opened(plain: &[u8], policy: &ComponentPolicy, fingerprint: &Fingerprint) -> OpenedRecord {
    let (seed, slots) = plain.split_at(DeviceSeed::BYTES);
    let seed = DeviceSeed::from_bytes(std::array::from_fn(|i| seed[i]));
    let digests = slots.chunks_exact(DIGEST_BYTES);
    let burned: Vec<_> = policy
        .slots()
        .zip(digests)
        .map(|(kind, slot)| ComponentDigest { kind, digest: std::array::from_fn(|i| slot[i]) })
        .collect();
    let comparison = compare(&burned, &fingerprint.digests(&seed), policy);
    OpenedRecord { seed, burned, comparison }
}

fn header(params: &SealParams<'_>, station: StationId) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    // At most eight components: the policy holds that.
    let count = params.policy.slots().count() as u8;
    bytes[..4].copy_from_slice(&[VERSION, params.profile as u8, params.policy.threshold(), count]);
    bytes[4..8].copy_from_slice(params.lot.as_bytes());
    bytes[8..12].copy_from_slice(station.as_bytes());
    bytes[12..16].copy_from_slice(&params.unit.to_le_bytes());
    bytes[16..].copy_from_slice(&params.salt);
    bytes
}

fn signed_message(bytes: &[u8; RECORD_BYTES]) -> Vec<u8> {
    [LABEL, &bytes[..SIGNED_BYTES]].concat()
}

fn slot_digests(
    seed: &DeviceSeed,
    fingerprint: &Fingerprint,
    policy: &ComponentPolicy,
) -> Vec<ComponentDigest> {
    let digests = fingerprint.digests(seed);
    policy.slots().filter_map(|kind| digests.iter().find(|digest| digest.kind == kind).copied()).collect()
}

fn plaintext(seed: &DeviceSeed, digests: &[ComponentDigest]) -> Zeroizing<[u8; PLAIN_BYTES]> {
    let mut plain = Zeroizing::new([0; PLAIN_BYTES]);
    let (seed_part, slots) = plain.split_at_mut(DeviceSeed::BYTES);
    seed_part.copy_from_slice(seed.as_bytes());
    for (slot, component) in slots.chunks_exact_mut(DIGEST_BYTES).zip(digests) {
        slot.copy_from_slice(&component.digest);
    }
    plain
}

/// The cipher that only this lot, these fuses and these required components yield.
fn cipher(
    salt: &[u8; 16],
    lot_secret: &LotSecret,
    fuse_secret: Option<&FuseSecret>,
    policy: &ComponentPolicy,
    fingerprint: &Fingerprint,
) -> Aes256Gcm {
    // Roomy enough for everything, so that growing leaves no unwiped copy behind.
    let mut material = Zeroizing::new(Vec::with_capacity(1024));
    let secrets = [Some(lot_secret.as_bytes()), fuse_secret.map(FuseSecret::as_bytes)];
    for secret in secrets.into_iter().flatten() {
        material.extend_from_slice(&(secret.len() as u16).to_le_bytes());
        material.extend_from_slice(secret);
    }
    for component in policy.required().iter().filter_map(|kind| fingerprint.find(*kind)) {
        material.extend_from_slice(&component.encode());
    }
    let mut key = Key::<Aes256Gcm>::default();
    derive(salt, &material, &[LABEL], &mut key);
    let cipher = Aes256Gcm::new(&key);
    key.zeroize();
    cipher
}

/// All zeros or all ones: what memory holds that nobody burned. Nothing at all is blank too.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0) || bytes.iter().all(|byte| *byte == 0xff)
}

#[cfg(test)]
mod tests;
