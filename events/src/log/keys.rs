//! Keys at rest: key-encryption keys as a keyring hands them over, and what is derived from them.
//!
//! A key-encryption key seals nothing itself. Each segment generation and each snapshot has a key of its own:
//! HKDF-SHA384 with a fresh random salt, and an info that names the purpose and the file.

use crate::keyring::hmac_sha384_mac;
use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use hmac::Mac;
use sha2::Sha384;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a salt.
pub const SALT_BYTES: usize = 32;

/// Bytes of what [`KeyEncryptionKey::authenticate`] gives.
pub const NOTE_TAG_BYTES: usize = 48;

const NOTE_LABEL: &[u8] = b"muster log note v1";

/// A key-encryption key for segments and snapshots, with the id by which files name it.
#[derive(Clone)]
pub struct KeyEncryptionKey {
    id: u32,
    bytes: Zeroizing<[u8; 32]>,
}

/// The key-encryption keys of a node, newest first: the newest seals, all of them open. Never empty.
#[derive(Clone, Debug)]
pub struct SegmentKeys(Vec<KeyEncryptionKey>);

/// Why a list of keys is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentKeysError {
    #[error("there is no key-encryption key for segments")]
    Empty,
    #[error("key-encryption key {0} is there twice")]
    Twice(u32),
}

impl KeyEncryptionKey {
    #[must_use]
    pub fn new(id: u32, bytes: [u8; 32]) -> Self {
        KeyEncryptionKey { id, bytes: Zeroizing::new(bytes) }
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The AES-256-GCM key for one file: HKDF-SHA384(salt, this key, the parts of `info` one after the other).
    #[must_use]
    pub fn derive(&self, salt: &[u8; SALT_BYTES], info: &[&[u8]]) -> Aes256Gcm {
        let mut key = Zeroizing::new([0; 32]);
        #[allow(clippy::expect_used, reason = "RFC 5869 allows up to 255 digests of output")]
        Hkdf::<Sha384>::new(Some(salt), self.bytes.as_slice())
            .expand_multi_info(info, key.as_mut_slice())
            .expect("32 bytes are less than 255 digests");
        let mut array = (*key).into();
        let cipher = Aes256Gcm::new(&array);
        array.zeroize();
        cipher
    }
}

impl KeyEncryptionKey {
    /// HMAC-SHA384 of a small file beside the segments, under a key of its own for that purpose. Each part is bound with
    /// its length, so that what one part ends with never passes for what the next begins with.
    #[must_use]
    pub fn authenticate(&self, parts: &[&[u8]]) -> [u8; NOTE_TAG_BYTES] {
        let mut key = Zeroizing::new([0; NOTE_TAG_BYTES]);
        #[allow(clippy::expect_used, reason = "RFC 5869 allows up to 255 digests of output")]
        Hkdf::<Sha384>::new(None, self.bytes.as_slice())
            .expand(NOTE_LABEL, key.as_mut_slice())
            .expect("one digest is less than 255");
        let mut mac = hmac_sha384_mac(key.as_slice(), &[]);
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyEncryptionKey({})", self.id)
    }
}

impl SegmentKeys {
    pub fn new(newest_first: Vec<KeyEncryptionKey>) -> Result<Self, SegmentKeysError> {
        if newest_first.is_empty() {
            return Err(SegmentKeysError::Empty);
        }
        for (position, key) in newest_first.iter().enumerate() {
            if newest_first[..position].iter().any(|earlier| earlier.id == key.id) {
                return Err(SegmentKeysError::Twice(key.id));
            }
        }
        Ok(SegmentKeys(newest_first))
    }

    /// The key that seals what is new.
    #[must_use]
    pub fn newest(&self) -> &KeyEncryptionKey {
        &self.0[0]
    }

    #[must_use]
    pub fn find(&self, id: u32) -> Option<&KeyEncryptionKey> {
        self.0.iter().find(|key| key.id == id)
    }

    /// The ids of all keys, newest first.
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().map(|key| key.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes_gcm::aead::Aead;

    #[test]
    fn the_newest_key_seals_and_older_ones_are_found_by_id() {
        let keys =
            SegmentKeys::new(vec![KeyEncryptionKey::new(2, [2; 32]), KeyEncryptionKey::new(1, [1; 32])])
                .unwrap();
        assert_eq!(keys.newest().id(), 2);
        assert_eq!(keys.find(1).map(KeyEncryptionKey::id), Some(1));
        assert!(keys.find(3).is_none());
    }

    #[test]
    fn an_empty_list_and_a_repeated_id_are_refused() {
        assert_eq!(SegmentKeys::new(vec![]).unwrap_err(), SegmentKeysError::Empty);
        let twice = vec![KeyEncryptionKey::new(7, [2; 32]), KeyEncryptionKey::new(7, [1; 32])];
        assert_eq!(SegmentKeys::new(twice).unwrap_err(), SegmentKeysError::Twice(7));
    }

    #[test]
    fn another_salt_or_info_gives_another_key() {
        let kek = KeyEncryptionKey::new(1, [1; 32]);
        let sealed = |salt, info: &[&[u8]]| {
            kek.derive(&salt, info).encrypt(&[0; 12].into(), b"same words".as_slice()).unwrap()
        };
        let first = sealed([1; 32], &[b"purpose", b"file 1"]);
        assert_eq!(first, sealed([1; 32], &[b"purpose", b"file 1"]));
        assert_ne!(first, sealed([2; 32], &[b"purpose", b"file 1"]));
        assert_ne!(first, sealed([1; 32], &[b"purpose", b"file 2"]));
    }

    #[test]
    fn a_note_is_authentic_under_one_key_and_with_one_division_into_parts_only() {
        let (key, other) = (KeyEncryptionKey::new(1, [1; 32]), KeyEncryptionKey::new(1, [2; 32]));
        let tag = key.authenticate(&[b"name", b"text"]);
        assert_eq!(tag, key.authenticate(&[b"name", b"text"]));
        assert_ne!(tag, other.authenticate(&[b"name", b"text"]));
        assert_ne!(tag, key.authenticate(&[b"namet", b"ext"]));
    }

    #[test]
    fn a_key_never_prints_its_bytes() {
        let keys = SegmentKeys::new(vec![KeyEncryptionKey::new(9, [0xab; 32])]).unwrap();
        assert_eq!(format!("{keys:?}"), "SegmentKeys([KeyEncryptionKey(9)])");
    }
}
