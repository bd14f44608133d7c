//! A signed head of the log's Merkle tree, as C2SP's tlog-checkpoint and signed-note write it.
//!
//! ```text
//! muster/<cluster id>
//! <number of entries, decimal>
//! <root, base64>
//!
//! — muster/<cluster id> <base64 of key id ‖ signature>
//! ```
//!
//! Signature type 0x02: ECDSA over the SHA-256 of the text with its last newline, in DER; here with the checkpoint key, on
//! P-384. The key id is the first 4 bytes of the SHA-256 of the public key as SPKI in DER.

use super::merkle::TreeHash;
use crate::identity::key::{PublicKey, SigningKey};
use crate::ids::ClusterId;
use data_encoding::BASE64;
use sha2::{Digest, Sha256};

/// SubjectPublicKeyInfo of an uncompressed P-384 point, without the point.
const SPKI_PREFIX: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
    0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];
/// A note is never longer, in bytes.
const NOTE_BYTES_MAX: usize = 64 * 1024;
const ORIGIN: &str = "muster/";

/// So many entries, and the root over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub cluster: ClusterId,
    pub size: u64,
    pub root: TreeHash,
}

/// Why a checkpoint is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("this is no checkpoint")]
    Malformed,
    #[error("the checkpoint is not signed by this key")]
    UnknownKey,
    #[error("the checkpoint's signature does not hold")]
    Signature,
}

impl Checkpoint {
    /// The note: the checkpoint's text and its signature.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let text = self.text();
        let mut signature = key_id(&key.public()).to_vec();
        signature.extend_from_slice(&key.sign_sha256_der(text.as_bytes()));
        format!("{text}\n— {} {}\n", self.origin(), BASE64.encode(&signature))
    }

    /// Believes a note that `key` signed.
    pub fn open(note: &str, key: &PublicKey) -> Result<Checkpoint, CheckpointError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(CheckpointError::Malformed);
        }
        let end = note.rfind("\n\n").ok_or(CheckpointError::Malformed)? + 1;
        let (text, signatures) = (&note[..end], &note[end + 1..]);
        let checkpoint = Checkpoint::parse(text).ok_or(CheckpointError::Malformed)?;
        let name = checkpoint.origin();
        let own = signatures.lines().find_map(|line| {
            let (signer, signature) = line.strip_prefix("— ")?.split_once(' ')?;
            let signature = BASE64.decode(signature.as_bytes()).ok()?;
            let (id, signature) = signature.split_first_chunk::<4>()?;
            (signer == name && *id == key_id(key)).then(|| signature.to_vec())
        });
        let signature = own.ok_or(CheckpointError::UnknownKey)?;
        key.verify_sha256_der(text.as_bytes(), &signature).map_err(|_| CheckpointError::Signature)?;
        Ok(checkpoint)
    }

    fn origin(&self) -> String {
        format!("{ORIGIN}{}", self.cluster)
    }

    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin(), self.size, BASE64.encode(&self.root))
    }

    fn parse(text: &str) -> Option<Checkpoint> {
        let mut lines = text.lines();
        let cluster = lines.next()?.strip_prefix(ORIGIN)?.parse().ok()?;
        let size = lines.next()?.parse().ok()?;
        let root = BASE64.decode(lines.next()?.as_bytes()).ok()?.try_into().ok()?;
        let checkpoint = Checkpoint { cluster, size, root };
        // One spelling only: no leading zeros, no further lines.
        (checkpoint.text() == text).then_some(checkpoint)
    }
}

fn key_id(key: &PublicKey) -> [u8; 4] {
    let digest = Sha256::new().chain_update(SPKI_PREFIX).chain_update(key.as_bytes()).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_bytes(&[byte; 48]).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { cluster: ClusterId::from_bytes([7; 16]), size: 1234, root: [9; 32] }
    }

    #[test]
    fn a_note_is_written_as_the_format_says_and_believed_with_the_public_key_alone() {
        let note = checkpoint().sign(&key(3));
        let lines: Vec<_> = note.lines().collect();
        assert_eq!(lines[0], format!("muster/{}", checkpoint().cluster));
        assert_eq!(&lines[1..4], ["1234", "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=", ""]);
        assert!(lines[4].starts_with(&format!("— muster/{} ", checkpoint().cluster)));
        assert_eq!(Checkpoint::open(&note, &key(3).public()), Ok(checkpoint()));
    }

    #[test]
    fn another_key_and_another_text_are_refused() {
        let note = checkpoint().sign(&key(3));
        assert_eq!(Checkpoint::open(&note, &key(4).public()), Err(CheckpointError::UnknownKey));
        let other = note.replacen("1234", "1235", 1);
        assert_eq!(Checkpoint::open(&other, &key(3).public()), Err(CheckpointError::Signature));
        let zero = note.replacen("1234", "01234", 1);
        assert_eq!(Checkpoint::open(&zero, &key(3).public()), Err(CheckpointError::Malformed));
    }

    #[test]
    fn signatures_of_others_beside_it_are_passed_over() {
        let note = checkpoint().sign(&key(3));
        let witness = checkpoint().sign(&key(4));
        let both = format!("{note}{}\n", witness.lines().last().unwrap());
        assert_eq!(Checkpoint::open(&both, &key(3).public()), Ok(checkpoint()));
        assert_eq!(Checkpoint::open(&both, &key(4).public()), Ok(checkpoint()));
    }

    proptest! {
        #[test]
        fn every_checkpoint_survives_its_note(cluster: [u8; 16], size: u64, root: [u8; 32]) {
            let checkpoint = Checkpoint { cluster: ClusterId::from_bytes(cluster), size, root };
            prop_assert_eq!(Checkpoint::open(&checkpoint.sign(&key(5)), &key(5).public()), Ok(checkpoint));
        }

        #[test]
        fn no_text_panics_the_reader(text in "\\PC{0,200}") {
            prop_assert!(Checkpoint::open(&text, &key(3).public()).is_err());
        }
    }
}
