//! A wrapped secret as the state keeps it: what [`Wrapped`] says, in place.

use super::usual::Usual;
use events::vocabulary::shared::Wrapped;
use serde::{Deserialize, Serialize};

/// A secret of 48 bytes and its tag: pre-shared keys and resumption secrets are such.
const SEALED_BYTES: usize = 48 + 16;

/// Stored as [`Wrapped`] is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub key: u32,
    salt: [u8; 16],
    sealed: Usual<u8, SEALED_BYTES>,
}

impl From<Wrapped> for Kept {
    fn from(wrapped: Wrapped) -> Self {
        let Wrapped { key, salt, sealed } = wrapped;
        Kept { key, salt, sealed: sealed.into() }
    }
}

impl From<&Kept> for Wrapped {
    fn from(kept: &Kept) -> Self {
        Wrapped { key: kept.key, salt: kept.salt, sealed: kept.sealed.to_vec() }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept(key {}, {} bytes)", self.key, self.sealed.len())
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
