//! Typed ids, parsed once. An id that exists is well formed.
//!
//! Binary ids print as a prefix and Crockford base32 (lower case): `dev_…`, `lic_…`. Names are lower-case tokens
//! that are safe in a NATS subject.

use crate::limits::{APP_NAME_BYTES_MAX, REGION_NAME_BYTES_MAX, SOURCE_ID_BYTES_MAX, SOURCE_NAME_BYTES_MAX};
use data_encoding::{Encoding, Specification};
use rkyv::{Archive, Deserialize, Serialize};
use std::sync::LazyLock;

/// Index of a committed raft entry. The first entry of a log has index 1.
pub type LogIndex = u64;
/// Member of the cluster; never used again after its member left.
pub type NodeId = u64;
/// Count of the device's key ratchet; the first session of a device has epoch 1.
pub type Epoch = u32;
/// Count of heartbeats within an epoch, from 1.
pub type Sequence = u32;
/// Dense index of a device, assigned by the fold at import and never reused.
pub type Slot = u32;
/// Raised when a cluster is restored from a backup (protocol.md rule 7).
pub type Generation = u32;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("expected an id that starts with `{expected}`, got `{got}`")]
    Prefix { expected: &'static str, got: String },
    #[error("expected {expected} base32 characters after `{prefix}`, got {got}")]
    Length { prefix: &'static str, expected: usize, got: usize },
    #[error("`{got}` holds a character that is not Crockford base32 (0-9, a-z without i, l, o, u)")]
    Alphabet { got: String },
    #[error("a name is 1 to {max} characters of a-z, 0-9 and `-`, got `{got}`")]
    Name { max: usize, got: String },
}

/// Crockford's base32, lower case, without padding; ambiguous letters are read as the digits they look like.
fn crockford() -> &'static Encoding {
    static ENCODING: LazyLock<Encoding> = LazyLock::new(|| {
        let mut spec = Specification::new();
        spec.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
        spec.translate.from.push_str("ABCDEFGHJKMNPQRSTVWXYZoOiIlL");
        spec.translate.to.push_str("abcdefghjkmnpqrstvwxyz001111");
        spec.check_trailing_bits = true;
        #[allow(clippy::expect_used, reason = "a constant specification, exercised by the tests below")]
        spec.encoding().expect("the alphabet has 32 distinct symbols")
    });
    &ENCODING
}

fn parse_id<const N: usize>(prefix: &'static str, text: &str) -> Result<[u8; N], IdError> {
    let Some(body) = text.strip_prefix(prefix) else {
        return Err(IdError::Prefix { expected: prefix, got: text.chars().take(64).collect() });
    };
    let expected = crockford().encode_len(N);
    if body.len() != expected {
        return Err(IdError::Length { prefix, expected, got: body.len() });
    }
    let alphabet = || IdError::Alphabet { got: text.chars().take(64).collect() };
    // Into place: a node reads the id of each heartbeat's subject.
    let mut id = [0; N];
    if crockford().decode_len(body.len()) != Ok(N) {
        return Err(alphabet());
    }
    crockford().decode_mut(body.as_bytes(), &mut id).map_err(|_| alphabet())?;
    Ok(id)
}

macro_rules! binary_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            pub const PREFIX: &'static str = $prefix;
            pub const BYTES: usize = $bytes;

            #[must_use]
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                $name(bytes)
            }

            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}{}", $prefix, crockford().encode_display(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_id($prefix, text).map($name)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serde::Serialize::serialize(&self.0[..], serializer)
                }
            }
        }

        #[cfg(feature = "schema")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let length = crockford().encode_len($bytes);
                crate::schema::text(format!("^{}[0-9a-hjkmnp-tv-z]{{{length}}}$", $prefix))
            }
        }

        #[cfg(feature = "schema")]
        impl utoipa::ToSchema for $name {}

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                if deserializer.is_human_readable() {
                    let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                    text.parse().map_err(D::Error::custom)
                } else {
                    let bytes = <Vec<u8> as serde::Deserialize>::deserialize(deserializer)?;
                    let got = bytes.len();
                    let bytes = bytes.try_into().map_err(|_| D::Error::invalid_length(got, &"an id"))?;
                    Ok($name(bytes))
                }
            }
        }
    };
}

binary_id!(
    /// One physical terminal: the first 16 bytes of SHA-384 of its uncompressed public key (self-certifying).
    DeviceId, 16, "dev_"
);
binary_id!(
    /// Production batch of devices.
    LotId, 4, "lot_"
);
binary_id!(
    /// Provisioning station: the first 4 bytes of SHA-384 of its uncompressed public key.
    StationId, 4, "sta_"
);
binary_id!(
    /// One cluster, random at `cluster init`.
    ClusterId, 16, "clu_"
);
binary_id!(
    /// A license: the first 16 bytes of the digest of the code that created it.
    LicenseId, 16, "lic_"
);
binary_id!(
    /// An activation code as the log knows it: a keyed digest, never the code.
    CodeDigest, 16, "cod_"
);
binary_id!(
    /// One issue of activation codes.
    CodeBatchId, 8, "cba_"
);
binary_id!(
    /// One start of an agent process, random (protocol.md rule 8).
    BootId, 16, "boo_"
);
binary_id!(
    /// Digest of an OTP record as burned: the first 16 bytes of its SHA-384.
    RecordDigest, 16, "rec_"
);
binary_id!(
    /// A flag: digest of its kind, subject and first evidence.
    FlagId, 8, "fla_"
);
binary_id!(
    /// A rollout of software update, random when its offer is signed.
    RolloutId, 16, "rol_"
);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        name!($(#[$doc])* $name, $max, is_word, format!("^[a-z0-9-]{{1,{}}}$", $max));
    };
    ($(#[$doc:meta])* $name:ident, $max:expr, $is_good:ident, $pattern:expr) => {
        $(#[$doc])*
        #[derive(
            Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
        )]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if text.len() > $max || !$is_good(text) {
                    return Err(IdError::Name { max: $max, got: text.chars().take(64).collect() });
                }
                Ok($name(text.to_owned()))
            }
        }

        #[cfg(feature = "schema")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                crate::schema::text($pattern)
            }
        }

        #[cfg(feature = "schema")]
        impl utoipa::ToSchema for $name {}

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_source(text: &str) -> bool {
    let (region, name) = text.split_once('.').map_or((None, text), |(region, name)| (Some(region), name));
    let is_region = |region: &str| is_word(region) && region.len() <= REGION_NAME_BYTES_MAX;
    region.is_none_or(is_region) && is_word(name) && name.len() <= SOURCE_NAME_BYTES_MAX
}

impl SourceId {
    #[must_use]
    pub fn new(region: &RegionName, source: &SourceName) -> SourceId {
        SourceId(format!("{region}.{source}"))
    }

    /// Whether this is the source of that name in that region.
    #[must_use]
    pub fn is(&self, region: &str, source: &str) -> bool {
        self.0.strip_prefix(region).and_then(|rest| rest.strip_prefix('.')) == Some(source)
    }

    /// Whether somebody who asks for `asked` means this one: a name without a region means all that are called so.
    #[must_use]
    pub fn is_meant_by(&self, asked: &SourceId) -> bool {
        let name = self.0.split_once('.').map_or(self.0.as_str(), |(_, name)| name);
        self == asked || name == asked.0
    }
}

name!(
    /// What the NATS server of a region confines a connection to: the `<source>` token of its subjects.
    SourceName, SOURCE_NAME_BYTES_MAX
);
name!(
    /// A source among those of all regions: `<region>.<source>`. Two regions may give one name to two shops, and what one
    /// does must not be held against the other. Logs of before level 7 have the name alone.
    SourceId, SOURCE_ID_BYTES_MAX, is_source,
    format!("^([a-z0-9-]{{1,{REGION_NAME_BYTES_MAX}}}[.])?[a-z0-9-]{{1,{SOURCE_NAME_BYTES_MAX}}}$")
);
name!(
    /// A place with its own NATS cluster and at least one node.
    RegionName, REGION_NAME_BYTES_MAX
);
name!(
    /// An app on a terminal that may ask its agent for the license token.
    AppName, APP_NAME_BYTES_MAX
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_device_id_survives_its_text(bytes: [u8; 16]) {
            let id = DeviceId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<DeviceId>(), Ok(id));
            prop_assert_eq!(id.to_string().to_uppercase().replace("DEV_", "dev_").parse::<DeviceId>(), Ok(id));
        }

        #[test]
        fn no_text_panics_the_parser(text: String) {
            let _ = text.parse::<DeviceId>();
            let _ = text.parse::<SourceName>();
            let _ = text.parse::<SourceId>();
        }
    }

    #[test]
    fn a_device_id_reads_like_the_documentation_says() {
        let id = DeviceId::from_bytes([0xff; 16]);
        assert_eq!(id.to_string(), "dev_zzzzzzzzzzzzzzzzzzzzzzzzzw");
    }

    #[test]
    fn a_wrong_id_says_what_was_expected() {
        assert!(matches!("lic_00".parse::<DeviceId>(), Err(IdError::Prefix { .. })));
        assert!(matches!("dev_00".parse::<DeviceId>(), Err(IdError::Length { expected: 26, got: 2, .. })));
        assert!(matches!(
            "dev_uuuuuuuuuuuuuuuuuuuuuuuuuu".parse::<DeviceId>(),
            Err(IdError::Alphabet { .. })
        ));
        assert!("Shop 7".parse::<SourceName>().is_err());
        assert_eq!("shop-7".parse::<SourceName>().unwrap().as_str(), "shop-7");
    }

    #[test]
    fn a_source_is_known_by_its_region_and_its_name() {
        let (region, name) = ("eu-west".parse().unwrap(), "shop-7".parse().unwrap());
        let source = SourceId::new(&region, &name);
        assert_eq!(source.to_string().parse::<SourceId>(), Ok(source.clone()));
        assert!(source.is("eu-west", "shop-7"));
        assert!(
            !source.is("eu-wes", "shop-7")
                && !source.is("eu-west", "shop")
                && !source.is("eu", "west.shop-7")
        );
        let bare = "shop-7".parse::<SourceId>().expect("as older logs have it");
        assert!(source.is_meant_by(&source) && source.is_meant_by(&name.to_string().parse().unwrap()));
        assert!(!source.is_meant_by(&"us.shop-7".parse().unwrap()) && !bare.is_meant_by(&source));
        for wrong in ["", ".", "eu.", ".shop", "eu.shop.7", "EU.shop"] {
            assert!(wrong.parse::<SourceId>().is_err(), "{wrong}");
        }
        assert!("eu.shop".parse::<SourceName>().is_err(), "a token of a subject has no dot");
    }
}
