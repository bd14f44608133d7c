//! Secret bytes: wiped when dropped, never printed, compared in constant time. And the one key derivation that
//! everything here uses.

use hkdf::Hkdf;
use sha2::Sha384;

macro_rules! secret_bytes {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
        pub struct $name([u8; $bytes]);

        impl $name {
            pub const BYTES: usize = $bytes;

            #[must_use]
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                $name(bytes)
            }

            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// Fresh random bytes.
            pub fn generate(rng: &mut (impl rand_core::CryptoRng + ?Sized)) -> Self {
                let mut bytes = [0; $bytes];
                rng.fill_bytes(&mut bytes);
                $name(bytes)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = crate::secret::WrongLength;
            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                let wrong = crate::secret::WrongLength { expected: $bytes, got: bytes.len() };
                bytes.try_into().map($name).map_err(|_| wrong)
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                subtle::ConstantTimeEq::ct_eq(&self.0[..], &other.0[..]).into()
            }
        }
        impl Eq for $name {}

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}
pub(crate) use secret_bytes;

/// Bytes of another length than the secret has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret of {expected} bytes was expected, got {got}")]
pub struct WrongLength {
    pub expected: usize,
    pub got: usize,
}

/// HKDF-SHA384 (RFC 5869), extract then expand. `info` is the concatenation of its parts.
///
/// The output is at most 255 × 48 bytes, which every caller's constant length keeps.
pub(crate) fn derive(salt: &[u8], secret: &[u8], info: &[&[u8]], output: &mut [u8]) {
    let hkdf = Hkdf::<Sha384>::new(Some(salt), secret);
    #[allow(clippy::expect_used, reason = "every caller asks for a constant length far below 12,240 bytes")]
    hkdf.expand_multi_info(info, output).expect("the output is short");
}

/// Ciphers, hashes (and so MACs and derivations) and keys of other crates are wiped only with their `zeroize` feature:
/// without one of them this does not compile.
const _: () = {
    const fn wiped_when_dropped<T: zeroize::ZeroizeOnDrop>() {}
    wiped_when_dropped::<aes_gcm::Aes256Gcm>();
    wiped_when_dropped::<chacha20poly1305::ChaCha20Poly1305>();
    wiped_when_dropped::<Sha384>();
    wiped_when_dropped::<p384::ecdsa::SigningKey>();
    wiped_when_dropped::<ed25519_dalek::SigningKey>();
};

#[cfg(test)]
mod tests {
    use getrandom::{SysRng, rand_core::UnwrapErr};

    secret_bytes!(
        /// For the test.
        Sample, 32
    );

    #[test]
    fn a_secret_never_prints_its_bytes() {
        assert_eq!(format!("{:?}", Sample::from_bytes([7; 32])), "Sample(…)");
    }

    #[test]
    fn a_generated_secret_equals_its_own_bytes_and_no_other() {
        let (one, other) =
            (Sample::generate(&mut UnwrapErr(SysRng)), Sample::generate(&mut UnwrapErr(SysRng)));
        assert_eq!(Sample::from_bytes(*one.as_bytes()), one);
        assert_ne!(one, other);
        assert_eq!(one.as_bytes().len(), Sample::BYTES);
    }

    #[test]
    fn a_secret_of_another_length_is_refused() {
        assert_eq!(
            Sample::try_from(&[1u8, 2][..]).unwrap_err().to_string(),
            "a secret of 32 bytes was expected, got 2"
        );
    }
}
