//! A lot: the batch of devices that share a SKU, a secret and the hardware they must have.
//!
//! `declaration.rs` is what the factory signs about it and the cluster learns; `firmware.rs` is what ships, secretly,
//! inside the firmware of its terminals.

mod declaration;
mod firmware;
#[cfg(test)]
mod tests;

pub use declaration::{DeclarationError, LotDeclaration};
pub use firmware::{FirmwareError, LotFirmware};

use crate::ids::LotId;
use crate::secret::{derive, secret_bytes};
use zeroize::Zeroizing;

secret_bytes!(
    /// Part of every OTP sealing key of the lot. Every firmware of the lot knows it, so it hides little
    /// (protocol.md rule 24).
    LotSecret, 32
);
secret_bytes!(
    /// The key under which terminals of the lot report a record that does not open (protocol.md rule 25).
    TamperKey, 32
);

impl LotSecret {
    /// HKDF-SHA384(salt "muster v1 lot secret"; the secret; info "muster v1 tamper key" ‖ lot).
    #[must_use]
    pub fn tamper_key(&self, lot: LotId) -> TamperKey {
        let mut key = Zeroizing::new([0; TamperKey::BYTES]);
        let info: [&[u8]; 2] = [b"muster v1 tamper key", lot.as_bytes()];
        derive(b"muster v1 lot secret", self.as_bytes(), &info, &mut key[..]);
        TamperKey::from_bytes(*key)
    }
}
