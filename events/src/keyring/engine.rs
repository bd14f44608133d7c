//! The three operations on P-384 that a cluster pays for, behind a trait: whoever runs a node may bring faster
//! arithmetic than the pure Rust that terminals use. Formats, refusals and key derivation stay here, once.
//!
//! Invariants, whatever the engine: a shared secret is the x coordinate, 48 bytes; a point that is compressed, at
//! infinity or off the curve is refused; signatures are low-S, and one that is not is refused (protocol.md rule 17).

use crate::identity::key::{PublicKey, Signature, SignatureRefused, SigningKey};
use crate::keyring::hpke::{ENCAPSULATED_BYTES, HpkeError, HpkeSecretKey};
use hkdf::Hkdf;
use hpke::kem::{DhP384HkdfSha384, SharedSecret};
use hpke::{Deserializable, Kem, Serializable};
use p384::elliptic_curve::ecdh::diffie_hellman;
use rand_core::CryptoRng;
use sha2::Sha384;
use std::sync::Arc;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// Arithmetic on P-384.
pub trait P384Engine: Send + Sync {
    /// As it appears in logs and measurements.
    fn name(&self) -> &'static str;

    /// ECDH: the x coordinate of `secret` × `point`, which is an uncompressed SEC1 point from outside.
    fn agree(
        &self,
        secret: &HpkeSecretKey,
        point: &[u8; ENCAPSULATED_BYTES],
    ) -> Result<Zeroizing<[u8; 48]>, HpkeError>;

    /// ECDSA with SHA-384.
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> Result<(), SignatureRefused>;

    /// ECDSA with SHA-384. Whether it is deterministic is the engine's business.
    fn sign(&self, key: &SigningKey, message: &[u8]) -> Signature;
}

/// The engine in pure Rust, which runs everywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct PureEngine;

impl P384Engine for PureEngine {
    fn name(&self) -> &'static str {
        "p384"
    }

    fn agree(
        &self,
        secret: &HpkeSecretKey,
        point: &[u8; ENCAPSULATED_BYTES],
    ) -> Result<Zeroizing<[u8; 48]>, HpkeError> {
        if point[0] != 4 {
            return Err(HpkeError);
        }
        let point = p384::PublicKey::from_sec1_bytes(point).map_err(|_| HpkeError)?;
        let secret = p384::SecretKey::from_slice(&secret.to_bytes()[..]).map_err(|_| HpkeError)?;
        let shared = diffie_hellman(secret.to_nonzero_scalar(), point.as_affine());
        Ok(Zeroizing::new((*shared.raw_secret_bytes()).into()))
    }

    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> Result<(), SignatureRefused> {
        key.verify(message, signature)
    }

    fn sign(&self, key: &SigningKey, message: &[u8]) -> Signature {
        key.sign(message)
    }
}

/// DHKEM(P-384, HKDF-SHA384) for receivers, with the multiplication done by an engine. It takes the recipient's public
/// key from the key pair instead of computing it anew for each message, which is half of what decapsulation costs.
pub(crate) struct EngineKem;

/// A receiver's key and who multiplies by it.
#[derive(Clone)]
pub(crate) struct Recipient {
    pub key: HpkeSecretKey,
    pub engine: Arc<dyn P384Engine>,
}

/// An encapsulated key as it came. The engine says whether it is a point.
#[derive(Clone)]
pub(crate) struct EncapsulatedKey(pub [u8; ENCAPSULATED_BYTES]);

type Library = DhP384HkdfSha384;

impl Kem for EngineKem {
    type PublicKey = <Library as Kem>::PublicKey;
    type PrivateKey = Recipient;
    type EncappedKey = EncapsulatedKey;
    type NSecret = <Library as Kem>::NSecret;
    const KEM_ID: u16 = <Library as Kem>::KEM_ID;

    fn sk_to_pk(recipient: &Recipient) -> Self::PublicKey {
        Library::sk_to_pk(recipient.key.secret())
    }

    fn derive_keypair(seed: &[u8]) -> (Recipient, Self::PublicKey) {
        let (secret, public) = Library::derive_keypair(seed);
        #[allow(clippy::expect_used, reason = "DeriveKeyPair returns only valid keys")]
        let recipient = Recipient::from_bytes(&secret.to_bytes()).expect("DeriveKeyPair returns a valid key");
        (recipient, public)
    }

    /// RFC 9180 section 4.1, Decap:
    ///
    /// ```text
    /// dh = DH(skR, pkE);  kem_context = concat(enc, pkRm);  return ExtractAndExpand(dh, kem_context)
    /// ```
    fn decap(
        recipient: &Recipient,
        sender: Option<&Self::PublicKey>,
        encapsulated: &EncapsulatedKey,
    ) -> Result<SharedSecret<Self>, hpke::HpkeError> {
        // Muster uses base and PSK mode: nobody authenticates by a static Diffie-Hellman.
        if sender.is_some() {
            return Err(hpke::HpkeError::DecapError);
        }
        let shared = recipient.engine.agree(&recipient.key, &encapsulated.0);
        let shared = shared.map_err(|HpkeError| hpke::HpkeError::DecapError)?;
        extract_and_expand(&shared, [&encapsulated.0, recipient.key.public().key.as_bytes()])
    }

    /// Senders use the library itself.
    fn encap_with_rng(
        _to: &Self::PublicKey,
        _sender: Option<(&Recipient, &Self::PublicKey)>,
        _rng: &mut impl CryptoRng,
    ) -> Result<(SharedSecret<Self>, EncapsulatedKey), hpke::HpkeError> {
        Err(hpke::HpkeError::EncapError)
    }
}

/// RFC 9180 section 4.1:
///
/// ```text
/// eae_prk = LabeledExtract("", "eae_prk", dh)
/// shared_secret = LabeledExpand(eae_prk, "shared_secret", kem_context, Nsecret)
/// ```
fn extract_and_expand(
    dh: &[u8; 48],
    kem_context: [&[u8]; 2],
) -> Result<SharedSecret<EngineKem>, hpke::HpkeError> {
    const VERSION: &[u8] = b"HPKE-v1";
    let [high, low] = EngineKem::KEM_ID.to_be_bytes();
    let suite = [b'K', b'E', b'M', high, low];
    let labeled = Zeroizing::new([VERSION, &suite, b"eae_prk", dh].concat());
    let (_, expander) = Hkdf::<Sha384>::extract(None, &labeled);

    let mut secret = SharedSecret::<EngineKem>::default();
    #[allow(clippy::cast_possible_truncation, reason = "48")]
    let length = (secret.0.len() as u16).to_be_bytes();
    let info = [&length[..], VERSION, &suite, b"shared_secret", kem_context[0], kem_context[1]];
    expander.expand_multi_info(&info, &mut secret.0).map_err(|_| hpke::HpkeError::DecapError)?;
    Ok(secret)
}

impl ConstantTimeEq for Recipient {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.key.secret().ct_eq(other.key.secret())
    }
}

impl Serializable for Recipient {
    type OutputSize = <<Library as Kem>::PrivateKey as Serializable>::OutputSize;

    fn write_exact(&self, buffer: &mut [u8]) {
        self.key.secret().write_exact(buffer);
    }
}

impl Deserializable for Recipient {
    fn from_bytes(bytes: &[u8]) -> Result<Self, hpke::HpkeError> {
        let bytes = bytes.try_into().map_err(|_| hpke::HpkeError::ValidationError)?;
        let key = HpkeSecretKey::from_bytes(0, bytes).map_err(|_| hpke::HpkeError::ValidationError)?;
        Ok(Recipient { key, engine: Arc::new(PureEngine) })
    }
}

impl Serializable for EncapsulatedKey {
    type OutputSize = <<Library as Kem>::EncappedKey as Serializable>::OutputSize;

    fn write_exact(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

impl Deserializable for EncapsulatedKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, hpke::HpkeError> {
        bytes.try_into().map(EncapsulatedKey).map_err(|_| hpke::HpkeError::ValidationError)
    }
}
