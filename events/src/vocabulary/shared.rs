//! Parts that several families share.

use crate::ids::{Generation, LogIndex};
use rkyv::{Archive, Deserialize, Serialize};

/// A secret that only a holder of the keyring can read: AES-256-GCM under HKDF(key-encryption key, salt), with
/// cluster, device, epoch and purpose as associated data (protocol.md rule 19). The fold carries it unread.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    serde::Serialize,
    serde::Deserialize,
    Clone,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
)]
pub struct Wrapped {
    /// Which key-encryption key; counts up with each rotation.
    pub key: u32,
    /// 16 fresh random bytes, which make the wrapping key unique.
    pub salt: [u8; 16],
    /// Ciphertext and 16-byte tag.
    pub sealed: Vec<u8>,
}

impl std::fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wrapped(key {}, {} bytes)", self.key, self.sealed.len())
    }
}

macro_rules! plain_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, serde::Serialize, serde::Deserialize, Clone, Copy,
            Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
        )]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant = $number),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some($name::$variant),)+ _ => None }
            }

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        #[cfg(feature = "schema")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                crate::schema::one_of(&[$($text),+])
            }
        }

        #[cfg(feature = "schema")]
        impl utoipa::ToSchema for $name {}

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use plain_enum;

plain_enum! {
    /// Kinds of hardware component, in canonical order.
    ComponentKind {
        SocSerial = 1 => "soc-serial",
        EmmcCid = 2 => "emmc-cid",
        MacAddress = 3 => "mac-address",
        BoardSerial = 4 => "board-serial",
        TpmEndorsement = 5 => "tpm-endorsement",
        RadioSerial = 6 => "radio-serial",
        PanelSerial = 7 => "panel-serial",
        VendorDefined = 8 => "vendor-defined",
    }
}

plain_enum! {
    /// Cipher suites of a session. The server chooses; a suite that the cluster retired is refused.
    Suite {
        Aes256Gcm = 1 => "aes-256-gcm",
        ChaCha20Poly1305 = 2 => "chacha20-poly1305",
    }
}

plain_enum! {
    /// Whether a device passes muster.
    Legitimacy {
        Provisioned = 1 => "provisioned",
        Legitimate = 2 => "legitimate",
        Suspect = 3 => "suspect",
        Restricted = 4 => "restricted",
        Revoked = 5 => "revoked",
        Retired = 6 => "retired",
    }
}

plain_enum! {
    /// Findings of an attack.
    FlagKind {
        Clone = 1 => "clone",
        Replay = 2 => "replay",
        Forgery = 3 => "forgery",
        Flood = 4 => "flood",
        Zombie = 5 => "zombie",
        Simulator = 6 => "simulator",
        LotLeak = 7 => "lot_leak",
        CodeBruteforce = 8 => "code_bruteforce",
        CodeReuse = 9 => "code_reuse",
        ImpossibleTravel = 10 => "impossible_travel",
        Rollback = 11 => "rollback",
        Tamper = 12 => "tamper",
        Silence = 13 => "silence",
        Downgrade = 14 => "downgrade",
    }
}

plain_enum! {
    /// Acts that change what a device or source may do.
    OperationKind {
        Challenge = 1 => "challenge",
        Throttle = 2 => "throttle",
        Restrict = 3 => "restrict",
        Rekey = 4 => "rekey",
        Revoke = 5 => "revoke",
        SuspendLicense = 6 => "suspend-license",
        BanSource = 7 => "ban-source",
        OfferUpdate = 8 => "offer-update",
        Notify = 9 => "notify",
        Reinstate = 10 => "reinstate",
    }
}

/// Names one directive and orders it against all others (protocol.md rule 12).
#[derive(
    Archive,
    Serialize,
    Deserialize,
    serde::Serialize,
    serde::Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DirectiveId {
    pub generation: Generation,
    pub index: LogIndex,
    pub ordinal: u16,
}
