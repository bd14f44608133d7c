//! ECDSA P-384 keys of devices, stations, factory and cluster, and the seed that a device's key follows from.
//!
//! Signatures made here are deterministic (RFC 6979) with SHA-384, written r ‖ s in 96 bytes, and low-S only: `p384` accepts
//! both forms, so a signature would otherwise have two spellings (protocol.md rule 17).

use crate::ids::{DeviceId, StationId};
use crate::secret::{derive, secret_bytes};
use hpke::{Kem, Serializable};
use p384::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p384::ecdsa::signature::{Signer, Verifier};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256, Sha384};
use zeroize::Zeroizing;

/// An uncompressed SEC1 point of P-384, known to lie on the curve.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    bytes: [u8; 97],
}

/// r ‖ s, each 48 bytes big endian.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 96]);

/// A private ECDSA P-384 key.
#[derive(Clone)]
pub struct SigningKey(p384::ecdsa::SigningKey);

pub type DeviceKey = SigningKey;
pub type StationKey = SigningKey;
pub type FactoryKey = SigningKey;

/// Why bytes are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("not an uncompressed P-384 point of 97 bytes")]
    Public,
    #[error("not a P-384 private key of 48 bytes")]
    Private,
}

/// The signature does not hold: wrong key, wrong message, malformed, or not low-S.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not hold")]
pub struct SignatureRefused;

impl PublicKey {
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: [u8; 97] = bytes.try_into().map_err(|_| KeyError::Public)?;
        // SEC1 allows other spellings of a point; a device id must follow from exactly one.
        if bytes[0] != 4 {
            return Err(KeyError::Public);
        }
        p384::PublicKey::from_sec1_bytes(&bytes).map_err(|_| KeyError::Public)?;
        Ok(PublicKey { bytes })
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 97] {
        &self.bytes
    }

    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureRefused> {
        let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes).map_err(|_| SignatureRefused)?;
        let parsed = signature.parse_low_s()?;
        key.verify(message, &parsed).map_err(|_| SignatureRefused)
    }

    /// Verifies a signature over the SHA-256 of `message`, in DER, as C2SP notes carry it.
    pub fn verify_sha256_der(&self, message: &[u8], der: &[u8]) -> Result<(), SignatureRefused> {
        let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes).map_err(|_| SignatureRefused)?;
        let parsed = p384::ecdsa::Signature::from_der(der).map_err(|_| SignatureRefused)?;
        key.verify_prehash(&Sha256::digest(message), &parsed).map_err(|_| SignatureRefused)
    }

    /// First 16 bytes of SHA-384 over the 97 bytes (protocol.md rule 23).
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        DeviceId::from_bytes(self.digest())
    }

    /// First 4 bytes of SHA-384 over the 97 bytes.
    #[must_use]
    pub fn station_id(&self) -> StationId {
        StationId::from_bytes(self.digest())
    }

    fn digest<const N: usize>(&self) -> [u8; N] {
        let digest = Sha384::digest(self.bytes);
        std::array::from_fn(|i| digest[i])
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", data_encoding::HEXLOWER.encode(&self.bytes[..9]))
    }
}

impl serde::Serialize for PublicKey {
    /// Lower-case hexadecimal.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&data_encoding::HEXLOWER.encode(&self.bytes))
    }
}

impl<'de> serde::Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(D::Error::custom)?;
        PublicKey::from_bytes(&bytes).map_err(D::Error::custom)
    }
}

impl Signature {
    pub const BYTES: usize = 96;

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 96]) -> Self {
        Signature(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 96] {
        &self.0
    }

    /// The low-S spelling of a signature that another library made; refuses what is none.
    pub fn low_s(bytes: [u8; 96]) -> Result<Self, SignatureRefused> {
        let parsed = p384::ecdsa::Signature::from_slice(&bytes).map_err(|_| SignatureRefused)?;
        Ok(Signature(parsed.normalize_s().to_bytes().into()))
    }

    /// Whether r and s are in range and s is the low one: what must hold before any other library is asked.
    pub fn check_low_s(&self) -> Result<(), SignatureRefused> {
        self.parse_low_s().map(drop)
    }

    fn parse_low_s(&self) -> Result<p384::ecdsa::Signature, SignatureRefused> {
        let parsed = p384::ecdsa::Signature::from_slice(&self.0).map_err(|_| SignatureRefused)?;
        if parsed.normalize_s() == parsed { Ok(parsed) } else { Err(SignatureRefused) }
    }
}

impl TryFrom<&[u8]> for Signature {
    type Error = SignatureRefused;
    fn try_from(bytes: &[u8]) -> Result<Self, SignatureRefused> {
        bytes.try_into().map(Signature).map_err(|_| SignatureRefused)
    }
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signature({}…)", data_encoding::HEXLOWER.encode(&self.0[..8]))
    }
}

impl SigningKey {
    /// A fresh key: 48 random bytes through RFC 9180 DeriveKeyPair.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut seed = Zeroizing::new([0; 48]);
        rng.fill_bytes(&mut seed[..]);
        SigningKey::derive(&seed[..])
    }

    /// RFC 9180 section 7.1.3, DeriveKeyPair of DHKEM(P-384, HKDF-SHA384).
    fn derive(seed: &[u8]) -> Self {
        let (secret, _) = hpke::kem::DhP384HkdfSha384::derive_keypair(seed);
        let scalar = Zeroizing::new(<[u8; 48]>::from(secret.to_bytes()));
        #[allow(clippy::expect_used, reason = "DeriveKeyPair returns only scalars in range")]
        SigningKey::from_bytes(&scalar).expect("DeriveKeyPair returns a valid scalar")
    }

    pub fn from_bytes(bytes: &[u8; 48]) -> Result<Self, KeyError> {
        p384::ecdsa::SigningKey::from_slice(bytes).map(SigningKey).map_err(|_| KeyError::Private)
    }

    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 48]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    #[must_use]
    pub fn public(&self) -> PublicKey {
        let point = self.0.verifying_key().to_sec1_point(false);
        let mut bytes = [0; 97];
        bytes.copy_from_slice(point.as_bytes());
        PublicKey { bytes }
    }

    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature: p384::ecdsa::Signature = self.0.sign(message);
        Signature(signature.normalize_s().to_bytes().into())
    }
}

impl SigningKey {
    /// Signs the SHA-256 of `message`, in DER, as C2SP notes carry it.
    #[must_use]
    pub fn sign_sha256_der(&self, message: &[u8]) -> Vec<u8> {
        #[allow(
            clippy::expect_used,
            reason = "signing fails only for digests below half of the curve's size"
        )]
        let signature: p384::ecdsa::Signature =
            self.0.sign_prehash(&Sha256::digest(message)).expect("32 bytes are signed");
        signature.normalize_s().to_der().as_bytes().to_vec()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

secret_bytes!(
    /// 32 random bytes that lie sealed in OTP memory and nowhere else (protocol.md rule 21).
    DeviceSeed, 32
);
secret_bytes!(
    /// What device and cluster share from the factory on; the HPKE pre-shared key of activation.
    PreSharedKey, 48
);

impl DeviceSeed {
    /// The device's signing key: DeriveKeyPair over HKDF(seed).
    #[must_use]
    pub fn device_key(&self) -> DeviceKey {
        let mut seed = Zeroizing::new([0; 48]);
        self.expand(b"muster v1 device key", &mut seed[..]);
        SigningKey::derive(&seed[..])
    }

    #[must_use]
    pub fn pre_shared_key(&self) -> PreSharedKey {
        let mut key = Zeroizing::new([0; 48]);
        self.expand(b"muster v1 pre-shared key", &mut key[..]);
        PreSharedKey::from_bytes(*key)
    }

    /// The key under which component digests are made.
    #[must_use]
    pub fn component_key(&self) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        self.expand(b"muster v1 component key", &mut key[..]);
        key
    }

    /// The device's public NATS nkey (Ed25519), raw.
    #[must_use]
    pub fn nats_public(&self) -> [u8; 32] {
        ed25519_dalek::SigningKey::from_bytes(&self.nats_key()).verifying_key().to_bytes()
    }

    /// The device's NATS user seed in the spelling of nkeys: `SU…`.
    #[must_use]
    pub fn nats_seed_text(&self) -> Zeroizing<String> {
        // nkeys: prefix byte S (18 << 3) and type byte U (20 << 3) share two bytes, then seed, then CRC-16.
        const SEED: u8 = 18 << 3;
        const USER: u8 = 20 << 3;
        let mut raw = Zeroizing::new(vec![SEED | (USER >> 5), (USER & 31) << 3]);
        raw.extend_from_slice(&self.nats_key()[..]);
        let crc = crc16_xmodem(&raw);
        raw.extend_from_slice(&crc.to_le_bytes());
        Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&raw))
    }

    fn nats_key(&self) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        self.expand(b"muster v1 nats nkey", &mut key[..]);
        key
    }

    fn expand(&self, label: &[u8], output: &mut [u8]) {
        derive(b"muster v1 device seed", self.as_bytes(), &[label], output);
    }
}

/// CRC-16/XMODEM, which nkeys end with.
fn crc16_xmodem(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use p384::elliptic_curve::sec1::ToSec1Point;

    fn seed(byte: u8) -> DeviceSeed {
        DeviceSeed::from_bytes([byte; 32])
    }

    #[test]
    fn rule_17_a_high_s_twin_of_a_signature_is_refused() {
        let key = seed(1).device_key();
        let signature = key.sign(b"message");
        assert_eq!(key.public().verify(b"message", &signature), Ok(()));
        let parsed = p384::ecdsa::Signature::from_slice(signature.as_bytes()).unwrap();
        let (r, s) = parsed.split_scalars();
        let twin = p384::ecdsa::Signature::from_scalars(r, -*s).unwrap();
        let verifying = p384::ecdsa::VerifyingKey::from_sec1_bytes(key.public().as_bytes()).unwrap();
        assert!(verifying.verify(b"message", &twin).is_ok(), "the library itself accepts the twin");
        let twin = Signature::from_bytes(twin.to_bytes().into());
        assert_eq!(key.public().verify(b"message", &twin), Err(SignatureRefused));
    }

    #[test]
    fn a_signature_over_another_message_is_refused() {
        let key = seed(2).device_key();
        assert!(key.public().verify(b"b", &key.sign(b"a")).is_err());
        assert!(seed(3).device_key().public().verify(b"a", &key.sign(b"a")).is_err());
    }

    #[test]
    fn rule_23_a_device_id_is_the_digest_of_the_uncompressed_point() {
        let public = seed(4).device_key().public();
        let digest = Sha384::digest(public.as_bytes());
        assert_eq!(public.device_id().as_bytes()[..], digest[..16]);
        assert_eq!(PublicKey::from_bytes(public.as_bytes()), Ok(public));
        let compressed = p384::PublicKey::from_sec1_bytes(public.as_bytes()).unwrap().to_sec1_point(true);
        assert_eq!(PublicKey::from_bytes(compressed.as_bytes()), Err(KeyError::Public));
    }

    #[test]
    fn what_follows_from_a_seed_differs_by_purpose() {
        let seed = seed(5);
        assert_ne!(seed.component_key()[..], seed.pre_shared_key().as_bytes()[..32]);
        assert_ne!(seed.nats_key()[..], seed.component_key()[..]);
        let text = seed.nats_seed_text();
        assert!(text.starts_with("SU") && text.len() == 58, "{}", text.len());
    }

    #[test]
    fn the_crc_is_the_published_one() {
        assert_eq!(crc16_xmodem(b"123456789"), 0x31c3);
    }
}
