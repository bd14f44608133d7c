//! The derivations and ciphers of `PROTOCOL.md` from the bare crates, without the code under test: they give the
//! values in between, and prove by opening the messages that these are the right ones.

use aes_gcm::aead::{Aead, KeyInit, Nonce, Payload};
use events::vocabulary::shared::Suite;
use hmac::Mac;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha384;
use hpke::kem::DhP384HkdfSha384 as P384;
use hpke::{Deserializable, Kem, OpModeR, PskBundle, setup_receiver};
use sha2::{Digest, Sha384};

pub fn sha384(message: &[u8]) -> [u8; 48] {
    Sha384::digest(message).into()
}

pub fn hmac(key: &[u8], message: &[u8]) -> [u8; 48] {
    let mut mac = <hmac::Hmac<Sha384> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().into()
}

pub fn hkdf(salt: &[u8], secret: &[u8], info: &[&[u8]], length: usize) -> Vec<u8> {
    let mut output = vec![0; length];
    hkdf::Hkdf::<Sha384>::new(Some(salt), secret).expand_multi_info(info, &mut output).unwrap();
    output
}

pub fn open(suite: Suite, key: &[u8], nonce: &[u8], aad: &[u8], sealed: &[u8]) -> Vec<u8> {
    match suite {
        Suite::Aes256Gcm => open_with::<aes_gcm::Aes256Gcm>(key, nonce, aad, sealed),
        Suite::ChaCha20Poly1305 => open_with::<chacha20poly1305::ChaCha20Poly1305>(key, nonce, aad, sealed),
    }
}

fn open_with<C: Aead + KeyInit>(key: &[u8], nonce: &[u8], aad: &[u8], sealed: &[u8]) -> Vec<u8> {
    let nonce = Nonce::<C>::try_from(nonce).unwrap();
    C::new_from_slice(key).unwrap().decrypt(&nonce, Payload { msg: sealed, aad }).unwrap()
}

/// What an activation's HPKE context is made from.
pub struct Hpke<'a> {
    pub secret_key: &'a [u8],
    pub info: &'a [u8],
    pub psk: &'a [u8],
    pub psk_id: &'a [u8],
}

impl Hpke<'_> {
    /// Plaintext and exported secret.
    pub fn open(&self, encapsulated: &[u8], aad: &[u8], sealed: &[u8]) -> (Vec<u8>, [u8; 48]) {
        let mode = OpModeR::<P384>::Psk(PskBundle::new(self.psk, self.psk_id).unwrap());
        let key = <P384 as Kem>::PrivateKey::from_bytes(self.secret_key).unwrap();
        let encapsulated = <P384 as Kem>::EncappedKey::from_bytes(encapsulated).unwrap();
        let mut context =
            setup_receiver::<AesGcm256, HkdfSha384, P384>(&mode, &key, &encapsulated, self.info).unwrap();
        let plain = context.open(sealed, aad).unwrap();
        let mut exported = [0; 48];
        context.export(b"muster v1 exporter", &mut exported).unwrap();
        (plain, exported)
    }
}
