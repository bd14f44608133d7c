//! Proof of possession: what the agent signs when it hands the license token to an app (protocol.md rule 20).
//!
//! ```text
//! Sign( device key, "muster v1 license proof\0" ‖ length of app u8 ‖ app ‖ nonce 32 ‖ at u64 ‖ SHA384(token) 48 )
//! ```
//!
//! The nonce is the asking app's own, so that nobody can show an old answer; the app's name is signed, so that one
//! app's answer is of no use to another; `at` is the time by which the agent judged the lease.

use crate::identity::key::{PublicKey, Signature, SignatureRefused, SigningKey};
use crate::ids::AppName;
use crate::time::Timestamp;
use sha2::{Digest, Sha384};

const LABEL: &[u8; 24] = b"muster v1 license proof\0";

/// Bytes of the nonce that an app brings.
pub const NONCE_BYTES: usize = 32;

/// What a proof says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofStatement<'a> {
    pub app: &'a AppName,
    /// Fresh and random, from the app or from the server behind it.
    pub nonce: [u8; NONCE_BYTES],
    /// The time at which the agent judged the lease, in milliseconds since 1970.
    pub at: Timestamp,
    pub token: &'a str,
}

impl ProofStatement<'_> {
    /// Signs it with the key that the token's `cnf` names.
    #[must_use]
    pub fn sign(&self, device_key: &SigningKey) -> Signature {
        device_key.sign(&self.encode())
    }

    /// Checks that the holder of `device_key` made this statement. Whether the token names that key, and whether the
    /// token itself holds, is the caller's next question.
    pub fn verify(&self, device_key: &PublicKey, proof: &Signature) -> Result<(), SignatureRefused> {
        device_key.verify(&self.encode(), proof)
    }

    fn encode(&self) -> Vec<u8> {
        let app = self.app.as_str().as_bytes();
        let mut bytes = Vec::with_capacity(LABEL.len() + 1 + app.len() + NONCE_BYTES + 8 + 48);
        bytes.extend_from_slice(LABEL);
        // A name has at most 32 bytes.
        bytes.push(app.len() as u8);
        bytes.extend_from_slice(app);
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.at.as_millis().to_le_bytes());
        bytes.extend_from_slice(&Sha384::digest(self.token.as_bytes()));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_own_statement_and_for_no_other() {
        let key = SigningKey::from_bytes(&[7; 48]).unwrap();
        let (player, radio): (AppName, AppName) = ("player".parse().unwrap(), "radio".parse().unwrap());
        let at = Timestamp::from_millis(5);
        let statement = ProofStatement { app: &player, nonce: [1; 32], at, token: "a.b.c" };
        let proof = statement.sign(&key);
        assert_eq!(statement.verify(&key.public(), &proof), Ok(()));
        let others = [
            ProofStatement { app: &radio, ..statement.clone() },
            ProofStatement { nonce: [2; 32], ..statement.clone() },
            ProofStatement { at: Timestamp::from_millis(6), ..statement.clone() },
            ProofStatement { token: "a.b.d", ..statement.clone() },
        ];
        for other in others {
            assert!(other.verify(&key.public(), &proof).is_err(), "{other:?}");
        }
        let stranger = SigningKey::from_bytes(&[8; 48]).unwrap().public();
        assert!(statement.verify(&stranger, &proof).is_err());
    }
}
