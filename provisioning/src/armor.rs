//! The text files of this room: a first line that says what the file is, lines for people, then PEM (RFC 7468).
//!
//! ```text
//! muster station key v1
//! sta_0c3r6gg: signs OTP records and manifests. Secret: keep this file mode 0600.
//! -----BEGIN PRIVATE KEY-----
//! ```
//!
//! Keys are PKCS #8 and SubjectPublicKeyInfo, so that other tools and an HSM can read them. The first line keeps a
//! key from being used for another purpose than its own.

use data_encoding::BASE64;
use events::identity::key::{PublicKey, SigningKey};
use events::update::{OFFER_TEXT_FIRST_LINE, OFFER_TEXT_LABEL};
use p384::SecretKey;
use p384::elliptic_curve::sec1::ToSec1Point;
use p384::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Width of base64 lines (RFC 7468 section 2).
const PEM_WIDTH: usize = 64;

/// What a text file may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    FactoryKey,
    FactoryPublicKey,
    StationKey,
    StationPublicKey,
    StationCertificate,
    Manifest,
    UpdateKey,
    UpdatePublicKey,
    UpdateOffer,
}

/// Why a text file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ArmorError {
    #[error("{path} is `{got}`, expected `{expected}`: give the right file")]
    WrongKind { path: PathBuf, expected: &'static str, got: String },
    #[error("{path}: damaged {what}: restore the file from its copy")]
    Damaged { path: PathBuf, what: &'static str },
}

impl Kind {
    #[must_use]
    pub const fn first_line(self) -> &'static str {
        match self {
            Kind::FactoryKey => "muster factory key v1",
            Kind::FactoryPublicKey => "muster factory public key v1",
            Kind::StationKey => "muster station key v1",
            Kind::StationPublicKey => "muster station public key v1",
            Kind::StationCertificate => "muster station certificate v1",
            Kind::Manifest => "muster manifest v1",
            Kind::UpdateKey => "muster update key v1",
            Kind::UpdatePublicKey => "muster update public key v1",
            Kind::UpdateOffer => OFFER_TEXT_FIRST_LINE,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Kind::FactoryKey | Kind::StationKey | Kind::UpdateKey => "PRIVATE KEY",
            Kind::FactoryPublicKey | Kind::StationPublicKey | Kind::UpdatePublicKey => "PUBLIC KEY",
            Kind::StationCertificate => "MUSTER STATION CERTIFICATE",
            Kind::Manifest => "MUSTER MANIFEST",
            Kind::UpdateOffer => OFFER_TEXT_LABEL,
        }
    }
}

/// Text of a private key.
#[must_use]
pub fn signing_key_text(kind: Kind, note: &str, key: &SigningKey) -> Zeroizing<String> {
    #[allow(clippy::expect_used, reason = "a signing key is a scalar of the curve, which PKCS #8 can hold")]
    let pem = SecretKey::from_slice(&key.to_bytes()[..])
        .ok()
        .and_then(|secret| secret.to_pkcs8_pem(LineEnding::LF).ok())
        .expect("every signing key has a PKCS #8 form");
    Zeroizing::new(format!("{}\n{note}\n{}", kind.first_line(), pem.as_str()))
}

/// Reads a private key's text.
pub fn signing_key(kind: Kind, path: &Path, text: &[u8]) -> Result<SigningKey, ArmorError> {
    let damaged = || ArmorError::Damaged { path: path.to_owned(), what: "private key" };
    let secret = SecretKey::from_pkcs8_pem(pem_part(kind, path, text)?).map_err(|_| damaged())?;
    let scalar = Zeroizing::new(<[u8; 48]>::from(secret.to_bytes()));
    SigningKey::from_bytes(&scalar).map_err(|_| damaged())
}

/// Text of a public key.
#[must_use]
pub fn public_key_text(kind: Kind, note: &str, key: &PublicKey) -> String {
    #[allow(clippy::expect_used, reason = "a public key is a point of the curve, which SPKI can hold")]
    let pem = p384::PublicKey::from_sec1_bytes(key.as_bytes())
        .ok()
        .and_then(|point| point.to_public_key_pem(LineEnding::LF).ok())
        .expect("every public key has a SubjectPublicKeyInfo form");
    format!("{}\n{note}\n{pem}", kind.first_line())
}

/// Reads a public key's text.
pub fn public_key(kind: Kind, path: &Path, text: &[u8]) -> Result<PublicKey, ArmorError> {
    let damaged = || ArmorError::Damaged { path: path.to_owned(), what: "public key" };
    let point = p384::PublicKey::from_public_key_pem(pem_part(kind, path, text)?).map_err(|_| damaged())?;
    PublicKey::from_bytes(point.to_sec1_point(false).as_bytes()).map_err(|_| damaged())
}

/// Text of other bytes.
#[must_use]
pub fn encode_bytes(kind: Kind, note: &str, bytes: &[u8]) -> String {
    let label = kind.label();
    let base64 = BASE64.encode(bytes);
    let mut text = format!("{}\n{note}\n-----BEGIN {label}-----\n", kind.first_line());
    for line in base64.as_bytes().chunks(PEM_WIDTH) {
        text.extend(line.iter().map(|&b| char::from(b)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// The bytes of a text of [`encode_bytes`].
pub fn decode_bytes(kind: Kind, path: &Path, text: &[u8]) -> Result<Vec<u8>, ArmorError> {
    let damaged = || ArmorError::Damaged { path: path.to_owned(), what: "base64" };
    let label = kind.label();
    let pem = pem_part(kind, path, text)?.replace("\r\n", "\n");
    let body = pem
        .strip_prefix(&format!("-----BEGIN {label}-----\n"))
        .and_then(|rest| rest.trim_end().strip_suffix(&format!("-----END {label}-----")))
        .ok_or_else(damaged)?;
    BASE64.decode(body.replace('\n', "").as_bytes()).map_err(|_| damaged())
}

/// Checks the first line and returns what begins with `-----BEGIN`.
fn pem_part<'a>(kind: Kind, path: &Path, text: &'a [u8]) -> Result<&'a str, ArmorError> {
    let wrong = |got: &str| ArmorError::WrongKind {
        path: path.to_owned(),
        expected: kind.first_line(),
        got: got.chars().take(64).collect(),
    };
    let text = std::str::from_utf8(text).map_err(|_| wrong("no text"))?;
    let first = text.lines().next().unwrap_or("").trim_end();
    if first != kind.first_line() {
        // A file that lost its first line may hold a secret: it is not quoted.
        return Err(wrong(if first.starts_with("muster ") { first } else { "some other file" }));
    }
    let begin = text
        .find("-----BEGIN ")
        .ok_or_else(|| ArmorError::Damaged { path: path.to_owned(), what: "text without PEM" })?;
    Ok(&text[begin..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 48]).unwrap()
    }

    #[test]
    fn keys_survive_their_text() {
        let path = Path::new("k");
        let private = signing_key_text(Kind::StationKey, "a note", &key());
        assert!(private.starts_with("muster station key v1\na note\n-----BEGIN PRIVATE KEY-----\n"));
        let read = signing_key(Kind::StationKey, path, private.as_bytes()).unwrap();
        assert_eq!(read.to_bytes(), key().to_bytes());
        let public = public_key_text(Kind::FactoryPublicKey, "a note", &key().public());
        assert_eq!(public_key(Kind::FactoryPublicKey, path, public.as_bytes()).unwrap(), key().public());
    }

    #[test]
    fn a_key_is_not_taken_for_one_of_another_purpose() {
        let text = signing_key_text(Kind::FactoryKey, "a note", &key());
        let refused = signing_key(Kind::StationKey, Path::new("k"), text.as_bytes()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "k is `muster factory key v1`, expected `muster station key v1`: give the right file"
        );
    }

    #[test]
    fn an_error_does_not_quote_a_file_that_may_hold_a_secret() {
        let refused = signing_key(Kind::StationKey, Path::new("k"), b"MEECAQAwEwYHKoZI").unwrap_err();
        assert!(!refused.to_string().contains("MEEC"));
    }

    proptest! {
        #[test]
        fn bytes_survive_their_text(bytes: Vec<u8>) {
            let text = encode_bytes(Kind::Manifest, "a note", &bytes);
            let windows = text.replace('\n', "\r\n");
            prop_assert!(text.lines().all(|line| line.len() <= PEM_WIDTH));
            for text in [text, windows] {
                prop_assert_eq!(&decode_bytes(Kind::Manifest, Path::new("m"), text.as_bytes()).unwrap(), &bytes);
            }
        }

        #[test]
        fn a_terminal_finds_an_offer_in_the_text_that_is_written_here(bytes: Vec<u8>) {
            let text = encode_bytes(Kind::UpdateOffer, "a note", &bytes);
            prop_assert_eq!(events::update::offer_in_file(text.as_bytes()), Some(bytes));
        }

        #[test]
        fn no_text_panics_the_reader(text: Vec<u8>) {
            let path = Path::new("m");
            let headed = [b"muster manifest v1\n-----BEGIN MUSTER MANIFEST-----\n", text.as_slice()].concat();
            for text in [text, headed] {
                let _ = decode_bytes(Kind::Manifest, path, &text);
                let _ = signing_key(Kind::StationKey, path, &text);
                let _ = public_key(Kind::StationPublicKey, path, &text);
            }
        }
    }
}
