//! HPKE keys (RFC 9180, DHKEM(P-384, HKDF-SHA384), HKDF-SHA384, AES-256-GCM) with the number by which messages name
//! them, and base mode for what only needs secrecy: manifest entries.

use super::engine::{EncapsulatedKey, EngineKem, P384Engine, Recipient};
use crate::identity::key::PublicKey;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha384;
use hpke::kem::DhP384HkdfSha384;
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable, setup_receiver, setup_sender_with_rng,
};
use rand_core::CryptoRng;
use std::sync::Arc;
use zeroize::Zeroizing;

/// An encapsulated key is an uncompressed point.
pub const ENCAPSULATED_BYTES: usize = 97;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HpkePublicKey {
    pub id: u32,
    pub key: PublicKey,
}

#[derive(Clone)]
pub struct HpkeSecretKey {
    id: u32,
    secret: <DhP384HkdfSha384 as Kem>::PrivateKey,
    public: HpkePublicKey,
}

/// Sealed bytes that do not open, or a key that is none. One error: what failed is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message was not sealed for this key and purpose, or was altered")]
pub struct HpkeError;

impl HpkeSecretKey {
    pub fn generate(id: u32, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut seed = Zeroizing::new([0; 48]);
        rng.fill_bytes(&mut seed[..]);
        let (secret, _) = DhP384HkdfSha384::derive_keypair(&seed[..]);
        let bytes = Zeroizing::new(<[u8; 48]>::from(secret.to_bytes()));
        #[allow(clippy::expect_used, reason = "DeriveKeyPair returns only valid keys")]
        HpkeSecretKey::from_bytes(id, &bytes).expect("DeriveKeyPair returns a valid key")
    }

    pub fn from_bytes(id: u32, bytes: &[u8; 48]) -> Result<Self, HpkeError> {
        let secret = <DhP384HkdfSha384 as Kem>::PrivateKey::from_bytes(bytes).map_err(|_| HpkeError)?;
        let public = DhP384HkdfSha384::sk_to_pk(&secret).to_bytes();
        let key = PublicKey::from_bytes(&public).map_err(|_| HpkeError)?;
        Ok(HpkeSecretKey { id, secret, public: HpkePublicKey { id, key } })
    }

    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 48]> {
        Zeroizing::new(self.secret.to_bytes().into())
    }

    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    #[must_use]
    pub const fn public(&self) -> HpkePublicKey {
        self.public
    }

    pub(crate) fn secret(&self) -> &<DhP384HkdfSha384 as Kem>::PrivateKey {
        &self.secret
    }
}

/// A message of PSK mode, as its receiver has it.
pub(crate) struct PskMessage<'a> {
    pub psk: &'a [u8],
    pub psk_id: &'a [u8],
    pub info: &'a [u8],
    pub aad: &'a [u8],
    pub encapsulated: &'a [u8],
    pub ciphertext: &'a [u8],
}

/// What opening gave.
pub(crate) struct OpenedPsk {
    pub plain: Zeroizing<Vec<u8>>,
    pub exported: Zeroizing<[u8; 48]>,
}

/// Opens a message of PSK mode with the engine's arithmetic, and exports 48 bytes under `label`.
pub(crate) fn hpke_open_psk(
    engine: &Arc<dyn P384Engine>,
    key: &HpkeSecretKey,
    message: &PskMessage<'_>,
    label: &[u8],
) -> Result<OpenedPsk, HpkeError> {
    let psk = PskBundle::new(message.psk, message.psk_id).map_err(|_| HpkeError)?;
    let encapsulated = EncapsulatedKey::from_bytes(message.encapsulated).map_err(|_| HpkeError)?;
    let recipient = Recipient { key: key.clone(), engine: Arc::clone(engine) };
    let mut context = setup_receiver::<AesGcm256, HkdfSha384, EngineKem>(
        &OpModeR::Psk(psk),
        &recipient,
        &encapsulated,
        message.info,
    )
    .map_err(|_| HpkeError)?;
    let plain = context.open(message.ciphertext, message.aad).map(Zeroizing::new).map_err(|_| HpkeError)?;
    let mut exported = Zeroizing::new([0; 48]);
    context.export(label, &mut exported[..]).map_err(|_| HpkeError)?;
    Ok(OpenedPsk { plain, exported })
}

impl HpkePublicKey {
    pub(crate) fn to_hpke(self) -> Result<<DhP384HkdfSha384 as Kem>::PublicKey, HpkeError> {
        <DhP384HkdfSha384 as Kem>::PublicKey::from_bytes(self.key.as_bytes()).map_err(|_| HpkeError)
    }
}

impl std::fmt::Debug for HpkeSecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HpkeSecretKey({}, …)", self.id)
    }
}

/// Base mode: encapsulated key (97 bytes) ‖ ciphertext ‖ tag (16 bytes).
pub fn hpke_seal(
    rng: &mut impl CryptoRng,
    to: &HpkePublicKey,
    info: &[u8],
    aad: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, HpkeError> {
    let (encapsulated, mut context) = setup_sender_with_rng::<AesGcm256, HkdfSha384, DhP384HkdfSha384>(
        &OpModeS::Base,
        &to.to_hpke()?,
        info,
        rng,
    )
    .map_err(|_| HpkeError)?;
    let sealed = context.seal(plain, aad).map_err(|_| HpkeError)?;
    Ok([&encapsulated.to_bytes()[..], &sealed].concat())
}

/// Opens what [`hpke_seal`] sealed.
pub fn hpke_open(
    key: &HpkeSecretKey,
    info: &[u8],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
    let (encapsulated, ciphertext) = sealed.split_at_checked(ENCAPSULATED_BYTES).ok_or(HpkeError)?;
    let encapsulated =
        <DhP384HkdfSha384 as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| HpkeError)?;
    let mut context = setup_receiver::<AesGcm256, HkdfSha384, DhP384HkdfSha384>(
        &OpModeR::Base,
        key.secret(),
        &encapsulated,
        info,
    )
    .map_err(|_| HpkeError)?;
    context.open(ciphertext, aad).map(Zeroizing::new).map_err(|_| HpkeError)
}
