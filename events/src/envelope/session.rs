//! The ratchet of secrets, and the session keys of one epoch.
//!
//! ```text
//! exporter ──after_activation──▶ resumption secret ──after_resume──▶ resumption secret of the next epoch ──▶ …
//!                                       │
//!                                       └──session_keys──▶ up, down
//! ```
//!
//! Version, suites offered and suite chosen enter every derivation: who changes one of them in flight ends up with
//! other keys (protocol.md rule 17).

use super::activation::ExporterSecret;
use super::cipher::Cipher;
use super::header::{PROTOCOL_VERSION, SuiteSet};
use crate::ids::{DeviceId, Epoch};
use crate::secret::{derive, secret_bytes};
use crate::vocabulary::shared::Suite;
use zeroize::Zeroizing;

secret_bytes!(
    /// What the next resume is authenticated by, and what an epoch's session keys follow from.
    ResumptionSecret, 48
);

/// Ready-made ciphers of one epoch: no key set-up per message.
#[derive(Clone)]
pub struct SessionKeys {
    pub(super) suite: Suite,
    pub(super) up: Cipher,
    pub(super) down: Cipher,
}

/// What a new epoch is bound to.
#[derive(Clone, Copy, Debug)]
pub struct EpochBinding {
    pub device: DeviceId,
    pub epoch: Epoch,
    pub offered: SuiteSet,
    pub suite: Suite,
}

/// The resumption secret that an activation or re-key begins with.
#[must_use]
pub fn after_activation(
    exporter: &ExporterSecret,
    server_nonce: &[u8; 32],
    binding: &EpochBinding,
) -> ResumptionSecret {
    next_secret(server_nonce, exporter.as_bytes(), b"muster v1 resumption", binding)
}

/// The ratchet: the next resumption secret from the last one and the nonces of both sides.
#[must_use]
pub fn after_resume(
    last: &ResumptionSecret,
    client_nonce: &[u8; 16],
    server_nonce: &[u8; 32],
    binding: &EpochBinding,
) -> ResumptionSecret {
    let mut salt = [0; 48];
    salt[..16].copy_from_slice(client_nonce);
    salt[16..].copy_from_slice(server_nonce);
    next_secret(&salt, last.as_bytes(), b"muster v1 ratchet", binding)
}

fn next_secret(salt: &[u8], secret: &[u8], label: &[u8], binding: &EpochBinding) -> ResumptionSecret {
    let mut next = Zeroizing::new([0; 48]);
    derive(salt, secret, &[label, &binding.encode()], &mut next[..]);
    ResumptionSecret::from_bytes(*next)
}

impl EpochBinding {
    /// version u8 │ offered u8 │ suite u8 │ device 16 │ epoch u32
    fn encode(&self) -> [u8; 23] {
        let mut bytes = [0; 23];
        bytes[..3].copy_from_slice(&[PROTOCOL_VERSION, self.offered.bits(), self.suite as u8]);
        bytes[3..19].copy_from_slice(self.device.as_bytes());
        bytes[19..].copy_from_slice(&self.epoch.to_le_bytes());
        bytes
    }
}

impl ResumptionSecret {
    #[must_use]
    pub fn session_keys(&self, device: DeviceId, epoch: Epoch, suite: Suite) -> SessionKeys {
        let cipher = |label: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            let number = [suite as u8];
            let info = [label, device.as_bytes(), &epoch.to_le_bytes(), &number];
            derive(&[], self.as_bytes(), &info, &mut key[..]);
            Cipher::new(suite, &key)
        };
        SessionKeys { suite, up: cipher(b"muster v1 session up"), down: cipher(b"muster v1 session down") }
    }
}

impl SessionKeys {
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionKeys({}, …)", self.suite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> EpochBinding {
        EpochBinding {
            device: DeviceId::from_bytes([1; 16]),
            epoch: 5,
            offered: SuiteSet::ALL,
            suite: Suite::Aes256Gcm,
        }
    }

    #[test]
    fn rule_17_suites_offered_and_chosen_enter_the_key_derivation() {
        let secret = ResumptionSecret::from_bytes([9; 48]);
        let next = |binding: &EpochBinding| after_resume(&secret, &[1; 16], &[2; 32], binding);
        let honest = next(&binding());
        assert_eq!(honest, next(&binding()));
        let only_chacha = SuiteSet::of(&[Suite::ChaCha20Poly1305]);
        assert_ne!(honest, next(&EpochBinding { offered: only_chacha, ..binding() }));
        assert_ne!(honest, next(&EpochBinding { suite: Suite::ChaCha20Poly1305, ..binding() }));
        assert_ne!(honest, next(&EpochBinding { epoch: 6, ..binding() }));
        assert_ne!(honest, next(&EpochBinding { device: DeviceId::from_bytes([2; 16]), ..binding() }));
    }

    #[test]
    fn two_holders_of_one_secret_cannot_both_follow_the_ratchet() {
        let secret = ResumptionSecret::from_bytes([9; 48]);
        let mine = after_resume(&secret, &[1; 16], &[2; 32], &binding());
        assert_ne!(mine, after_resume(&secret, &[3; 16], &[2; 32], &binding()), "another client nonce");
        assert_ne!(mine, after_resume(&secret, &[1; 16], &[4; 32], &binding()), "another server nonce");
        let exporter = ExporterSecret::from_bytes([9; 48]);
        assert_ne!(mine, after_activation(&exporter, &[2; 32], &binding()), "another label");
    }
}
