//! Signatures of deliveries, by the Standard Webhooks convention: HMAC-SHA256 over `id.timestamp.body` under a secret
//! that both sides hold, written `whsec_` and base64.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const SECRET_BYTES_MIN: usize = 24;
const SECRET_BYTES_MAX: usize = 64;

/// What a receiver verifies deliveries with.
#[derive(Clone)]
pub struct SigningSecret(Zeroizing<Vec<u8>>);

/// Why a text is no secret; it does not repeat the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected `{PREFIX}` and {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes in base64 (`muster webhook secret` makes one)"
)]
pub struct UnfitSecret;

impl SigningSecret {
    pub fn parse(text: &str) -> Result<Self, UnfitSecret> {
        let base64 = text.strip_prefix(PREFIX).ok_or(UnfitSecret)?;
        let bytes = Zeroizing::new(BASE64.decode(base64.as_bytes()).map_err(|_| UnfitSecret)?);
        let fits = (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len());
        fits.then_some(SigningSecret(bytes)).ok_or(UnfitSecret)
    }

    /// The text of a secret of these bytes.
    #[must_use]
    pub fn text(bytes: &[u8; 32]) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", BASE64.encode(bytes)))
    }

    /// The value of the head `webhook-signature`.
    #[must_use]
    pub(super) fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        // HMAC takes a key of any length.
        #[allow(clippy::expect_used, reason = "HMAC refuses no key")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key");
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
    }
}

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification.
    #[test]
    fn the_published_example_is_signed_as_published() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_text_that_is_no_secret_is_refused_without_being_repeated() {
        for text in ["hunter2hunter2hunter2hunter2", "whsec_aHVudGVyMg==", "whsec_%%%", ""] {
            let refused = SigningSecret::parse(text).unwrap_err().to_string();
            assert!(refused.contains("whsec_") && !refused.contains("unter"), "{refused}");
        }
        assert!(SigningSecret::parse(&SigningSecret::text(&[7; 32])).is_ok());
    }
}
