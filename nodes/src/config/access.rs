//! Who may ask the operators' API for what.

use serde::{Deserialize, Serialize};

/// What somebody may do. Each is a set of [`Right`]s; only `Admin` has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessRole {
    /// Reads everything.
    Viewer,
    /// Reads everything; orders operations, clears flags, moves licenses.
    Operator,
    /// Reads everything; changes whatever can be changed.
    Admin,
    /// Lots, stations, manifests and codes, and nothing else.
    Factory,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Who the cluster's parts are and how they are: nothing of devices or customers.
    Look,
    /// Devices, licenses, flags, operations.
    Read,
    /// Change how devices and licenses stand.
    Operate,
    /// Tell of lots, stations, units and codes.
    Provision,
    /// Move the leadership, make snapshots.
    Administer,
}

impl AccessRole {
    pub const ALL: [AccessRole; 4] =
        [AccessRole::Viewer, AccessRole::Operator, AccessRole::Admin, AccessRole::Factory];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            AccessRole::Viewer => "viewer",
            AccessRole::Operator => "operator",
            AccessRole::Admin => "admin",
            AccessRole::Factory => "factory",
        }
    }

    #[must_use]
    pub const fn may(self, right: Right) -> bool {
        match (self, right) {
            (AccessRole::Admin, _) | (_, Right::Look) => true,
            (AccessRole::Viewer | AccessRole::Operator, Right::Read) => true,
            (AccessRole::Operator, Right::Operate) => true,
            (AccessRole::Factory, Right::Provision) => true,
            (AccessRole::Viewer | AccessRole::Operator | AccessRole::Factory, _) => false,
        }
    }
}

impl std::fmt::Display for AccessRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// SHA-256 of a bearer token: all that a node knows of it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigest(pub [u8; 32]);

/// Digests in configuration files start with this.
const PREFIX: &str = "sha256:";

impl TokenDigest {
    #[must_use]
    pub fn of(token: &str) -> Self {
        use sha2::Digest;
        TokenDigest(sha2::Sha256::digest(token.as_bytes()).into())
    }

    /// Compares in constant time.
    #[must_use]
    pub fn equals(&self, shown: &TokenDigest) -> bool {
        use subtle::ConstantTimeEq;
        bool::from(self.0.ct_eq(&shown.0))
    }
}

impl std::str::FromStr for TokenDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected `{PREFIX}` and 64 hexadecimal digits (`muster node token` makes one)");
        let digits = text.strip_prefix(PREFIX).ok_or_else(expected)?;
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| expected())?;
        bytes.try_into().map(TokenDigest).map_err(|_| expected())
    }
}

impl std::fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

/// Somebody who shows a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Who it is; the log names them.
    pub name: String,
    pub role: AccessRole,
    pub digest: TokenDigest,
}

/// Somebody who shows a certificate of the authority for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiClient {
    /// A DNS name in the certificate.
    pub name: String,
    pub role: AccessRole,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_do_what_its_work_needs_and_no_more() {
        let may = |role: AccessRole| {
            [Right::Look, Right::Read, Right::Operate, Right::Provision, Right::Administer]
                .map(|right| role.may(right))
        };
        assert_eq!(may(AccessRole::Viewer), [true, true, false, false, false]);
        assert_eq!(may(AccessRole::Operator), [true, true, true, false, false]);
        assert_eq!(may(AccessRole::Factory), [true, false, false, true, false]);
        assert_eq!(may(AccessRole::Admin), [true; 5]);
    }

    #[test]
    fn a_digest_reads_as_it_is_written_and_knows_its_token() {
        let digest = TokenDigest::of("0123456789abcdef0123456789abcdef");
        assert_eq!(digest.to_string().parse(), Ok(digest.clone()));
        assert!(
            digest.equals(&TokenDigest::of("0123456789abcdef0123456789abcdef"))
                && !digest.equals(&TokenDigest::of("0123"))
        );
        assert!("hunter2".parse::<TokenDigest>().unwrap_err().contains("sha256:"));
    }
}
