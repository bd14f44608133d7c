//! A signed head of the log's Merkle tree, as C2SP's tlog-checkpoint and signed-note write it.
//!
//! ```text
//! muster/<cluster id>
//! <number of entries, decimal>
//! <root, base64>
//! generation <decimal>
//!
//! — muster/<cluster id> <base64 of key id ‖ signature>
//! ```
//!
//! Signature type 0x02: ECDSA over the SHA-256 of the text with its last newline, in DER; here with the checkpoint key, on
//! P-384. The key id is the first 4 bytes of the SHA-256 of the public key as SPKI in DER. The fourth line is an extension
//! line: after a restore from a backup the log may go on otherwise, and then its generation is another (protocol.md rule
//! 7). Checkpoints of before that line was written are read without it.

use super::merkle::TreeHash;
use crate::identity::key::{PublicKey, SigningKey};
use crate::ids::{ClusterId, Generation};
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
const GENERATION: &str = "generation ";
/// A signature with its key id, in bytes: two integers of 49 bytes in DER, at most.
pub const CHECKPOINT_SIGNATURE_BYTES_MAX: usize = 4 + 9 + 2 * 49;

/// So many entries, and the root over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub cluster: ClusterId,
    /// None for a checkpoint of before generations were named.
    pub generation: Option<Generation>,
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
        self.note(&self.signature(key))
    }

    /// Key id ‖ signature, as events carry it.
    #[must_use]
    pub fn signature(&self, key: &SigningKey) -> Vec<u8> {
        let mut signature = key_id(&key.public()).to_vec();
        signature.extend_from_slice(&key.sign_sha256_der(self.text().as_bytes()));
        signature
    }

    /// The note that this signature makes, whether it holds or not.
    #[must_use]
    pub fn note(&self, signature: &[u8]) -> String {
        format!("{}\n— {} {}\n", self.text(), self.origin(), BASE64.encode(signature))
    }

    /// Whether `key` made this signature (key id ‖ signature).
    pub fn verify(&self, signature: &[u8], key: &PublicKey) -> Result<(), CheckpointError> {
        match signature.split_first_chunk::<4>() {
            Some((id, signature)) if *id == key_id(key) => key
                .verify_sha256_der(self.text().as_bytes(), signature)
                .map_err(|_| CheckpointError::Signature),
            Some(_) | None => Err(CheckpointError::UnknownKey),
        }
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
            (signer == name && signature.starts_with(&key_id(key))).then_some(signature)
        });
        checkpoint.verify(&own.ok_or(CheckpointError::UnknownKey)?, key)?;
        Ok(checkpoint)
    }

    fn origin(&self) -> String {
        format!("{ORIGIN}{}", self.cluster)
    }

    fn text(&self) -> String {
        let generation = self.generation.map_or_else(String::new, |number| format!("{GENERATION}{number}\n"));
        format!("{}\n{}\n{}\n{generation}", self.origin(), self.size, BASE64.encode(&self.root))
    }

    fn parse(text: &str) -> Option<Checkpoint> {
        let mut lines = text.lines();
        let cluster = lines.next()?.strip_prefix(ORIGIN)?.parse().ok()?;
        let size = lines.next()?.parse().ok()?;
        let root = BASE64.decode(lines.next()?.as_bytes()).ok()?.try_into().ok()?;
        let generation = match lines.next() {
            Some(line) => Some(line.strip_prefix(GENERATION)?.parse().ok()?),
            None => None,
        };
        let checkpoint = Checkpoint { cluster, generation, size, root };
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
        let cluster = ClusterId::from_bytes([7; 16]);
        Checkpoint { cluster, generation: Some(2), size: 1234, root: [9; 32] }
    }

    #[test]
    fn a_note_is_written_as_the_format_says_and_believed_with_the_public_key_alone() {
        let note = checkpoint().sign(&key(3));
        let lines: Vec<_> = note.lines().collect();
        assert_eq!(lines[0], format!("muster/{}", checkpoint().cluster));
        assert_eq!(&lines[1..3], ["1234", "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk="]);
        assert_eq!(&lines[3..5], ["generation 2", ""]);
        assert!(lines[5].starts_with(&format!("— muster/{} ", checkpoint().cluster)));
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
    fn a_checkpoint_without_a_generation_is_still_read_and_another_generation_is_another_text() {
        let old = Checkpoint { generation: None, ..checkpoint() };
        assert_eq!(Checkpoint::open(&old.sign(&key(3)), &key(3).public()), Ok(old));
        let other = checkpoint().sign(&key(3)).replacen("generation 2", "generation 3", 1);
        assert_eq!(Checkpoint::open(&other, &key(3).public()), Err(CheckpointError::Signature));
    }

    #[test]
    fn a_signature_makes_the_note_again_and_is_checked_without_it() {
        let signature = checkpoint().signature(&key(3));
        assert!(signature.len() <= CHECKPOINT_SIGNATURE_BYTES_MAX);
        let note = checkpoint().note(&signature);
        assert_eq!(Checkpoint::open(&note, &key(3).public()), Ok(checkpoint()));
        assert_eq!(checkpoint().verify(&signature, &key(3).public()), Ok(()));
        assert_eq!(checkpoint().verify(&signature, &key(4).public()), Err(CheckpointError::UnknownKey));
        let grown = Checkpoint { size: 1235, ..checkpoint() };
        assert_eq!(grown.verify(&signature, &key(3).public()), Err(CheckpointError::Signature));
        assert_eq!(grown.verify(&signature[..3], &key(3).public()), Err(CheckpointError::UnknownKey));
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
        fn every_checkpoint_survives_its_note(cluster: [u8; 16], generation: Option<u32>, size: u64, root: [u8; 32]) {
            let cluster = ClusterId::from_bytes(cluster);
            let checkpoint = Checkpoint { cluster, generation, size, root };
            prop_assert_eq!(Checkpoint::open(&checkpoint.sign(&key(5)), &key(5).public()), Ok(checkpoint));
        }

        #[test]
        fn no_text_panics_the_reader(text in "\\PC{0,200}") {
            prop_assert!(Checkpoint::open(&text, &key(3).public()).is_err());
        }
    }
}
