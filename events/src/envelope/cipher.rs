//! The two AEADs, keys set up once, sealing and opening in place.

use super::EnvelopeError;
use crate::vocabulary::shared::Suite;
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit, Tag};
use chacha20poly1305::ChaCha20Poly1305;

pub(super) const TAG_BYTES: usize = 16;

#[derive(Clone)]
pub(super) enum Cipher {
    Aes256Gcm(Box<Aes256Gcm>),
    ChaCha20Poly1305(Box<ChaCha20Poly1305>),
}

impl Cipher {
    pub(super) fn new(suite: Suite, key: &[u8; 32]) -> Self {
        match suite {
            Suite::Aes256Gcm => Cipher::Aes256Gcm(Box::new(Aes256Gcm::new(key.into()))),
            Suite::ChaCha20Poly1305 => Cipher::ChaCha20Poly1305(Box::new(ChaCha20Poly1305::new(key.into()))),
        }
    }

    /// Encrypts `message[from..]` in place and appends the tag.
    pub(super) fn seal(&self, nonce: &[u8; 12], aad: &[&[u8]], message: &mut Vec<u8>, from: usize) {
        let tag = self.seal_in_place(nonce, aad, &mut message[from..]);
        message.extend_from_slice(&tag);
    }

    /// Encrypts `body` where it lies, and gives the tag.
    pub(super) fn seal_in_place(&self, nonce: &[u8; 12], aad: &[&[u8]], body: &mut [u8]) -> [u8; TAG_BYTES] {
        let aad = Aad::of(aad);
        let tag = match self {
            Cipher::Aes256Gcm(cipher) => {
                cipher.encrypt_inout_detached(nonce.into(), aad.bytes(), body.into())
            }
            Cipher::ChaCha20Poly1305(cipher) => {
                cipher.encrypt_inout_detached(nonce.into(), aad.bytes(), body.into())
            }
        };
        #[allow(clippy::expect_used, reason = "both ciphers fail only far above the size of any message")]
        tag.expect("a message is short").into()
    }

    /// Decrypts `sealed` (ciphertext ‖ tag).
    pub(super) fn open(
        &self,
        nonce: &[u8; 12],
        aad: &[&[u8]],
        sealed: &[u8],
    ) -> Result<Vec<u8>, EnvelopeError> {
        let mut plain = vec![0; sealed.len().saturating_sub(TAG_BYTES)];
        self.open_into(nonce, aad, sealed, &mut plain)?;
        Ok(plain)
    }

    /// Decrypts `sealed` into the beginning of `room`. Nothing is left there of what is not authentic.
    pub(super) fn open_into<'a>(
        &self,
        nonce: &[u8; 12],
        aad: &[&[u8]],
        sealed: &[u8],
        room: &'a mut [u8],
    ) -> Result<&'a [u8], EnvelopeError> {
        let aad = Aad::of(aad);
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(EnvelopeError::Malformed)?;
        let plain = room.get_mut(..ciphertext.len()).ok_or(EnvelopeError::Malformed)?;
        plain.copy_from_slice(ciphertext);
        let body = &mut plain[..];
        let opened = match self {
            Cipher::Aes256Gcm(cipher) => {
                let tag: &Tag<Aes256Gcm> = tag.into();
                cipher.decrypt_inout_detached(nonce.into(), aad.bytes(), body.into(), tag)
            }
            Cipher::ChaCha20Poly1305(cipher) => {
                let tag: &Tag<ChaCha20Poly1305> = tag.into();
                cipher.decrypt_inout_detached(nonce.into(), aad.bytes(), body.into(), tag)
            }
        };
        match opened {
            Ok(()) => Ok(plain),
            Err(_) => {
                plain.fill(0);
                Err(EnvelopeError::NotAuthentic)
            }
        }
    }
}

/// Associated data as one slice, on the stack: it is at most a message's fixed part and a digest.
struct Aad {
    bytes: [u8; Aad::BYTES_MAX],
    len: usize,
}

impl Aad {
    /// The fixed part of a resume (108) or of a heartbeat (40), or a down header (22) and a digest (48).
    const BYTES_MAX: usize = 128;

    fn of(parts: &[&[u8]]) -> Self {
        let mut aad = Aad { bytes: [0; Aad::BYTES_MAX], len: 0 };
        for part in parts {
            aad.bytes[aad.len..aad.len + part.len()].copy_from_slice(part);
            aad.len += part.len();
        }
        aad
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
