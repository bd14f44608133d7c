//! License token: what an app on the terminal checks offline (protocol.md rule 20).
//!
//! A JWT (RFC 7519) in compact serialization with exactly one header, `{"alg":"ES384","typ":"JWT"}`: there is nothing
//! to choose, so there is nothing to confuse. `cnf.jkt` (RFC 7800, RFC 9449) is the RFC 7638 thumbprint of the device
//! key; whoever shows the token must sign with that key.
//!
//! | claim | value | claim | value |
//! |---|---|---|---|
//! | `iss` | cluster | `iat`, `exp` | seconds since 1970; `exp` is the end of the lease |
//! | `sub` | device | `cnf.jkt` | thumbprint of the device key |
//! | `lic`, `plan`, `ent` | license, plan, entitlements | `lctr` | lease counter: a newer token has a higher one |

use crate::identity::key::{PublicKey, Signature, SigningKey};
use crate::ids::{ClusterId, DeviceId, LicenseId};
use crate::keyring::engine::{P384Engine, PureEngine};
use crate::limits::LICENSE_TOKEN_BYTES_MAX;
use crate::time::Timestamp;
use crate::vocabulary::license::Plan;
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

const HEADER: &str = r#"{"alg":"ES384","typ":"JWT"}"#;
/// Of SHA-256.
const THUMBPRINT_BYTES: usize = 32;

/// RFC 7638: SHA-256 over the canonical JWK of a P-384 key, in base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyThumbprint(String);

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub cluster: ClusterId,
    pub device: DeviceId,
    pub license: LicenseId,
    pub plan: String,
    pub entitlements: Vec<String>,
    /// Whole seconds; what is finer is cut.
    pub issued_at: Timestamp,
    /// End of the lease; at this moment the token is void.
    pub expires: Timestamp,
    pub confirmation: KeyThumbprint,
    pub lease_counter: u64,
}

/// Why a token is not issued, or not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("a license token of {0} bytes is longer than the {LICENSE_TOKEN_BYTES_MAX} allowed")]
    TooLong(usize),
    #[error("not a license token: {0}")]
    Malformed(&'static str),
    #[error("the header of a license token is `{HEADER}` and nothing else")]
    Header,
    #[error("the signature on the license token does not hold")]
    Signature,
    #[error("the license token expired at {0}")]
    Expired(Timestamp),
}

impl KeyThumbprint {
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        let (x, y) = key.as_bytes()[1..].split_at(48);
        let (x, y) = (BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y));
        let jwk = format!(r#"{{"crv":"P-384","kty":"EC","x":"{x}","y":"{y}"}}"#);
        KeyThumbprint(BASE64URL_NOPAD.encode(&Sha256::digest(jwk)))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Signs a token with the license key.
pub fn issue(license_key: &SigningKey, claims: &Claims) -> Result<String, TokenError> {
    issue_with(&PureEngine, license_key, claims)
}

/// The same with another engine's arithmetic.
pub fn issue_with(
    engine: &dyn P384Engine,
    license_key: &SigningKey,
    claims: &Claims,
) -> Result<String, TokenError> {
    let signed = signed_part(claims);
    let signature = engine.sign(license_key, signed.as_bytes());
    let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_bytes()));
    if token.len() > LICENSE_TOKEN_BYTES_MAX { Err(TokenError::TooLong(token.len())) } else { Ok(token) }
}

/// Whether each token of a plan can be issued, whoever has the license and whenever. Who sells a plan asks this first: a
/// license without a token is one that no app believes.
pub fn plan_fits(plan: &Plan) -> Result<(), TokenError> {
    let latest = Timestamp::from_millis(u64::MAX);
    let longest = Claims {
        cluster: ClusterId::from_bytes([0xff; ClusterId::BYTES]),
        device: DeviceId::from_bytes([0xff; DeviceId::BYTES]),
        license: LicenseId::from_bytes([0xff; LicenseId::BYTES]),
        plan: plan.name.clone(),
        entitlements: plan.entitlements.clone(),
        issued_at: latest,
        expires: latest,
        confirmation: KeyThumbprint(BASE64URL_NOPAD.encode(&[0xff; THUMBPRINT_BYTES])),
        lease_counter: u64::MAX,
    };
    let signature = BASE64URL_NOPAD.encode_len(Signature::BYTES);
    match signed_part(&longest).len() + 1 + signature {
        length if length > LICENSE_TOKEN_BYTES_MAX => Err(TokenError::TooLong(length)),
        _ => Ok(()),
    }
}

/// Checks header, signature and lease, in this order; nothing of the payload is read before its signature holds.
pub fn verify(license_key: &PublicKey, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
    if token.len() > LICENSE_TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong(token.len()));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed("it has no three parts"))?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed("it has no three parts"))?;
    if header != encoded_header() {
        return Err(TokenError::Header);
    }
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| TokenError::Signature)?;
    let signature = Signature::try_from(&signature[..]).map_err(|_| TokenError::Signature)?;
    license_key.verify(signed.as_bytes(), &signature).map_err(|_| TokenError::Signature)?;
    let claims = read_claims(payload)?;
    if now >= claims.expires { Err(TokenError::Expired(claims.expires)) } else { Ok(claims) }
}

fn signed_part(claims: &Claims) -> String {
    let payload = ClaimsText::from(claims);
    #[allow(clippy::expect_used, reason = "a struct of strings and numbers has a JSON form")]
    let payload = serde_json::to_vec(&payload).expect("claims serialize");
    format!("{}.{}", encoded_header(), BASE64URL_NOPAD.encode(&payload))
}

fn encoded_header() -> String {
    BASE64URL_NOPAD.encode(HEADER.as_bytes())
}

fn read_claims(payload: &str) -> Result<Claims, TokenError> {
    let json = BASE64URL_NOPAD.decode(payload.as_bytes());
    let json = json.map_err(|_| TokenError::Malformed("its payload is not base64url"))?;
    let text: ClaimsText = serde_json::from_slice(&json)
        .map_err(|_| TokenError::Malformed("its claims are not those of a license"))?;
    text.try_into()
}

/// The payload as JSON.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimsText {
    iss: ClusterId,
    sub: DeviceId,
    lic: LicenseId,
    plan: String,
    ent: Vec<String>,
    iat: u64,
    exp: u64,
    cnf: Confirmation,
    lctr: u64,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    jkt: String,
}

impl From<&Claims> for ClaimsText {
    fn from(claims: &Claims) -> Self {
        ClaimsText {
            iss: claims.cluster,
            sub: claims.device,
            lic: claims.license,
            plan: claims.plan.clone(),
            ent: claims.entitlements.clone(),
            iat: claims.issued_at.as_millis() / 1000,
            exp: claims.expires.as_millis() / 1000,
            cnf: Confirmation { jkt: claims.confirmation.0.clone() },
            lctr: claims.lease_counter,
        }
    }
}

impl TryFrom<ClaimsText> for Claims {
    type Error = TokenError;
    fn try_from(text: ClaimsText) -> Result<Self, TokenError> {
        let millis = |seconds: u64| seconds.checked_mul(1000).map(Timestamp::from_millis);
        let (Some(issued_at), Some(expires)) = (millis(text.iat), millis(text.exp)) else {
            return Err(TokenError::Malformed("its times are out of range"));
        };
        Ok(Claims {
            cluster: text.iss,
            device: text.sub,
            license: text.lic,
            plan: text.plan,
            entitlements: text.ent,
            issued_at,
            expires,
            confirmation: KeyThumbprint(text.cnf.jkt),
            lease_counter: text.lctr,
        })
    }
}

#[cfg(test)]
mod tests;
