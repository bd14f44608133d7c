//! A wrapped secret as the state keeps it: what [`Wrapped`] says, in place.

use events::vocabulary::shared::Wrapped;
use serde::{Deserialize, Serialize};

/// A secret of 48 bytes and its tag: pre-shared keys and resumption secrets are such.
const SEALED_BYTES: usize = 48 + 16;

/// Stored as [`Wrapped`] is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    Here {
        key: u32,
        salt: [u8; 16],
        sealed: [u8; SEALED_BYTES],
    },
    /// Invariant: of another length.
    Other(Box<Wrapped>),
}

/// What is stored, borrowed.
#[derive(Serialize, Deserialize)]
struct Stored<'a>(u32, [u8; 16], #[serde(borrow, with = "super::octets")] &'a [u8]);

impl Kept {
    /// Number of the key-encryption key.
    #[must_use]
    pub(crate) fn key(&self) -> u32 {
        self.stored().0
    }

    fn stored(&self) -> Stored<'_> {
        match self {
            Kept::Here { key, salt, sealed } => Stored(*key, *salt, sealed),
            Kept::Other(wrapped) => Stored(wrapped.key, wrapped.salt, &wrapped.sealed),
        }
    }
}

impl From<Stored<'_>> for Kept {
    fn from(Stored(key, salt, sealed): Stored<'_>) -> Self {
        match sealed.try_into() {
            Ok(sealed) => Kept::Here { key, salt, sealed },
            Err(_) => Kept::Other(Box::new(Wrapped { key, salt, sealed: sealed.to_vec() })),
        }
    }
}

impl From<Wrapped> for Kept {
    fn from(Wrapped { key, salt, sealed }: Wrapped) -> Self {
        Stored(key, salt, &sealed).into()
    }
}

impl From<&Kept> for Wrapped {
    fn from(kept: &Kept) -> Self {
        let Stored(key, salt, sealed) = kept.stored();
        Wrapped { key, salt, sealed: sealed.to_vec() }
    }
}

impl Serialize for Kept {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.stored().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Stored::deserialize(deserializer).map(Kept::from)
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Stored(key, _, sealed) = self.stored();
        write!(f, "Kept(key {key}, {} bytes)", sealed.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_any_length_comes_back_and_is_stored_as_it_was() {
        for length in [0, 1, 63, 64, 65, 300] {
            let wrapped = Wrapped { key: 300, salt: [7; 16], sealed: (0..length).map(|n| n as u8).collect() };
            let kept = Kept::from(wrapped.clone());
            assert_eq!(Wrapped::from(&kept), wrapped);
            let stored = postcard::to_stdvec(&wrapped).unwrap();
            assert_eq!(postcard::to_stdvec(&kept).unwrap(), stored);
            assert_eq!(postcard::from_bytes::<Kept>(&stored).unwrap(), kept);
        }
    }
}
