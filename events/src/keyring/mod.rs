//! The keys of a cluster's nodes, one purpose each, and what nodes do with those that wrap secrets.
//!
//! The keyring is one JSON file that lies beside, never in, the data directory (protocol.md rule 19). Its public
//! part is what agents and stations pin.

pub mod engine;
mod file;
pub mod hpke;
pub mod rotation;

pub use self::hpke::{HpkeError, HpkePublicKey, HpkeSecretKey, hpke_open, hpke_seal};
pub use file::KeyringError;

use crate::identity::key::{PublicKey, SigningKey};
use crate::ids::{ClusterId, CodeDigest, Epoch};
use crate::license::code::ActivationCode;
use crate::log::keys::{KeyEncryptionKey, SegmentKeys, SegmentKeysError};
use crate::secret::{derive, secret_bytes};
use crate::vocabulary::shared::Wrapped;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use hmac::{Hmac, Mac};
use rand_core::CryptoRng;
use sha2::Sha384;
use zeroize::Zeroizing;

secret_bytes!(
    /// Wraps secrets inside events or at rest; never seals anything itself.
    WrappingKey, 32
);
secret_bytes!(
    /// Authenticates tickets.
    TicketKey, 32
);
secret_bytes!(
    /// Turns activation codes into the digests that the log knows.
    CodeKey, 32
);

/// A wrapping key and the number by which wrapped secrets name it.
#[derive(Clone, Debug)]
pub struct NumberedKey {
    pub id: u32,
    pub key: WrappingKey,
}

/// Everything secret that a node needs. Lists are newest first: the newest seals, all of them open.
#[derive(Clone, Debug)]
pub struct Keyring {
    pub cluster: ClusterId,
    pub cluster_keys: Vec<HpkeSecretKey>,
    pub import_keys: Vec<HpkeSecretKey>,
    pub license_key: SigningKey,
    pub checkpoint_key: SigningKey,
    pub device_keys: Vec<NumberedKey>,
    pub session_keys: Vec<NumberedKey>,
    pub segment_keys: Vec<NumberedKey>,
    pub ticket_key: TicketKey,
    pub code_key: CodeKey,
}

/// What agents and stations pin of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterPublic {
    pub cluster: ClusterId,
    pub cluster_key: HpkePublicKey,
    pub import_key: HpkePublicKey,
    pub license_key: PublicKey,
    pub checkpoint_key: PublicKey,
}

/// What a wrapped secret is for; part of its associated data, so that none can stand in for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A device's pre-shared key (device key-encryption key).
    PreSharedKey,
    /// A lot's tamper key (device key-encryption key).
    TamperKey,
    /// The resumption secret of a device's epoch (session key-encryption key).
    Resumption,
}

/// Why a wrapped secret stays closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    #[error("key-encryption key {0} is not in this keyring; give this node the keyring that wrapped it")]
    UnknownKey(u32),
    #[error("the wrapped secret does not belong here, or was altered")]
    Refused,
}

impl Keyring {
    /// The key ceremony of a new cluster.
    pub fn generate(rng: &mut impl CryptoRng, cluster: ClusterId) -> Self {
        let numbered = |rng: &mut _| vec![NumberedKey { id: 1, key: WrappingKey::generate(rng) }];
        Keyring {
            cluster,
            cluster_keys: vec![HpkeSecretKey::generate(1, rng)],
            import_keys: vec![HpkeSecretKey::generate(1, rng)],
            license_key: SigningKey::generate(rng),
            checkpoint_key: SigningKey::generate(rng),
            device_keys: numbered(rng),
            session_keys: numbered(rng),
            segment_keys: numbered(rng),
            ticket_key: TicketKey::generate(rng),
            code_key: CodeKey::generate(rng),
        }
    }

    #[must_use]
    pub fn public(&self) -> ClusterPublic {
        ClusterPublic {
            cluster: self.cluster,
            cluster_key: self.cluster_keys[0].public(),
            import_key: self.import_keys[0].public(),
            license_key: self.license_key.public(),
            checkpoint_key: self.checkpoint_key.public(),
        }
    }

    #[must_use]
    pub fn cluster_key(&self, id: u32) -> Option<&HpkeSecretKey> {
        self.cluster_keys.iter().find(|key| key.id() == id)
    }

    #[must_use]
    pub fn import_key(&self, id: u32) -> Option<&HpkeSecretKey> {
        self.import_keys.iter().find(|key| key.id() == id)
    }

    /// The keys that segments and snapshots are sealed under.
    pub fn segment_keys(&self) -> Result<SegmentKeys, SegmentKeysError> {
        let keys = self.segment_keys.iter();
        SegmentKeys::new(
            keys.map(|numbered| KeyEncryptionKey::new(numbered.id, *numbered.key.as_bytes())).collect(),
        )
    }

    /// Wraps `secret` of `subject` (a device's or a lot's id) under the newest key of its purpose.
    ///
    /// AES-256-GCM under HKDF-SHA384(key-encryption key, 16 fresh bytes). The key is used once, so its nonce is zero.
    pub fn wrap(
        &self,
        rng: &mut (impl CryptoRng + ?Sized),
        purpose: Purpose,
        subject: &[u8],
        epoch: Epoch,
        secret: &[u8],
    ) -> Wrapped {
        let newest = &self.keys_for(purpose)[0];
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let aad = self.wrap_aad(purpose, subject, epoch);
        #[allow(clippy::expect_used, reason = "AES-GCM fails only above 64 GiB")]
        let sealed = wrap_cipher(newest, &salt)
            .encrypt(&Default::default(), Payload { msg: secret, aad: &aad })
            .expect("a secret is short");
        Wrapped { key: newest.id, salt, sealed }
    }

    pub fn unwrap(
        &self,
        purpose: Purpose,
        subject: &[u8],
        epoch: Epoch,
        wrapped: &Wrapped,
    ) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let keys = self.keys_for(purpose);
        let key =
            keys.iter().find(|key| key.id == wrapped.key).ok_or(UnwrapError::UnknownKey(wrapped.key))?;
        let aad = self.wrap_aad(purpose, subject, epoch);
        wrap_cipher(key, &wrapped.salt)
            .decrypt(&Default::default(), Payload { msg: &wrapped.sealed, aad: &aad })
            .map(Zeroizing::new)
            .map_err(|_| UnwrapError::Refused)
    }

    /// What the log knows of a code: HMAC-SHA384 under the code key, 16 bytes of it.
    #[must_use]
    pub fn code_digest(&self, code: &ActivationCode) -> CodeDigest {
        let tag =
            hmac_sha384(self.code_key.as_bytes(), &[b"muster v1 activation code", &code.to_bytes()[..]]);
        CodeDigest::from_bytes(std::array::from_fn(|i| tag[i]))
    }

    fn keys_for(&self, purpose: Purpose) -> &[NumberedKey] {
        match purpose {
            Purpose::PreSharedKey | Purpose::TamperKey => &self.device_keys,
            Purpose::Resumption => &self.session_keys,
        }
    }

    /// cluster ‖ purpose ‖ epoch ‖ subject; only the last has a variable length.
    fn wrap_aad(&self, purpose: Purpose, subject: &[u8], epoch: Epoch) -> Vec<u8> {
        let purpose = match purpose {
            Purpose::PreSharedKey => 1,
            Purpose::TamperKey => 2,
            Purpose::Resumption => 3,
        };
        let mut aad = self.cluster.as_bytes().to_vec();
        aad.push(purpose);
        aad.extend_from_slice(&epoch.to_le_bytes());
        aad.extend_from_slice(subject);
        aad
    }
}

fn wrap_cipher(key: &NumberedKey, salt: &[u8; 16]) -> aes_gcm::Aes256Gcm {
    let mut derived = Zeroizing::new([0; 32]);
    derive(salt, key.key.as_bytes(), &[b"muster v1 wrap"], &mut derived[..]);
    aes_gcm::Aes256Gcm::new(&(*derived).into())
}

/// HMAC-SHA384 over the concatenation of `parts`.
pub(crate) fn hmac_sha384(key: &[u8], parts: &[&[u8]]) -> [u8; 48] {
    hmac_sha384_mac(key, parts).finalize().into_bytes().into()
}

/// The same, not yet finished: for comparing in constant time.
pub(crate) fn hmac_sha384_mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha384> {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = <Hmac<Sha384> as KeyInit>::new_from_slice(key).expect("any key length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use getrandom::SysRng;
    use rand_core::UnwrapErr;

    fn keyring() -> Keyring {
        Keyring::generate(&mut UnwrapErr(SysRng), ClusterId::from_bytes([1; 16]))
    }

    #[test]
    fn rule_19_a_wrapped_secret_opens_only_for_its_cluster_subject_epoch_and_purpose() {
        let keyring = keyring();
        let wrapped = keyring.wrap(&mut UnwrapErr(SysRng), Purpose::Resumption, b"device", 3, b"secret");
        assert_eq!(keyring.unwrap(Purpose::Resumption, b"device", 3, &wrapped).unwrap()[..], b"secret"[..]);
        for (purpose, subject, epoch) in [
            (Purpose::Resumption, &b"devicf"[..], 3),
            (Purpose::Resumption, b"device", 4),
            (Purpose::PreSharedKey, b"device", 3),
        ] {
            assert_eq!(keyring.unwrap(purpose, subject, epoch, &wrapped), Err(UnwrapError::Refused));
        }
        let mut other = keyring.clone();
        other.cluster = ClusterId::from_bytes([2; 16]);
        assert_eq!(other.unwrap(Purpose::Resumption, b"device", 3, &wrapped), Err(UnwrapError::Refused));
    }

    #[test]
    fn rule_19_the_same_secret_is_never_wrapped_twice_under_one_key() {
        let keyring = keyring();
        let wrap = || keyring.wrap(&mut UnwrapErr(SysRng), Purpose::PreSharedKey, b"device", 0, b"secret");
        let (one, two) = (wrap(), wrap());
        assert_ne!(one.salt, two.salt);
        assert_ne!(one.sealed, two.sealed);
    }

    #[test]
    fn a_keyring_survives_its_file_and_refuses_unknown_fields() {
        let keyring = keyring();
        let text = keyring.to_json();
        let read = Keyring::from_json(&text).unwrap();
        assert_eq!(read.public(), keyring.public());
        assert_eq!(read.to_json(), text);
        let with_more = text.replacen('{', "{ \"colour\": 1,", 1);
        let error = Keyring::from_json(&with_more).unwrap_err().to_string();
        assert!(error.contains("colour"), "{error}");
        assert!(
            !format!("{keyring:?}").contains(&data_encoding::HEXLOWER.encode(keyring.ticket_key.as_bytes()))
        );
    }

    #[test]
    fn a_secret_wrapped_before_a_rotation_still_opens() {
        let mut keyring = keyring();
        let wrapped = keyring.wrap(&mut UnwrapErr(SysRng), Purpose::PreSharedKey, b"d", 0, b"old");
        let new = NumberedKey { id: 2, key: WrappingKey::from_bytes([9; 32]) };
        keyring.device_keys.insert(0, new);
        assert_eq!(keyring.unwrap(Purpose::PreSharedKey, b"d", 0, &wrapped).unwrap()[..], b"old"[..]);
        assert_eq!(keyring.wrap(&mut UnwrapErr(SysRng), Purpose::PreSharedKey, b"d", 0, b"new").key, 2);
        keyring.device_keys.remove(1);
        assert_eq!(keyring.unwrap(Purpose::PreSharedKey, b"d", 0, &wrapped), Err(UnwrapError::UnknownKey(1)));
    }
}
