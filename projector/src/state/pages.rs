//! A growing list whose digest is cheap: it is kept per page, and only pages that changed are hashed again.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const PAGE: usize = 64;

/// Items are added and changed, never removed: an index is a name.
#[derive(Clone, Debug)]
pub(crate) struct Pages<T> {
    items: Vec<T>,
    /// The digest of each page, none if it changed since; derived, hence neither compared nor stored.
    digests: Vec<Option<[u8; 32]>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Pages { items: Vec::new(), digests: Vec::new() }
    }
}

impl<T: PartialEq> PartialEq for Pages<T> {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
    }
}

impl<T: Eq> Eq for Pages<T> {}

impl<T> Pages<T> {
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    #[must_use]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.items.get(index as usize)
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let item = self.items.get_mut(index as usize)?;
        self.digests[index as usize / PAGE] = None;
        Some(item)
    }

    /// Adds an item and returns its index.
    pub(crate) fn push(&mut self, item: T) -> u32 {
        let index = self.items.len();
        if index.is_multiple_of(PAGE) {
            self.digests.push(None);
        }
        self.digests[index / PAGE] = None;
        self.items.push(item);
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.items.iter()
    }

    /// Items with their indices.
    pub(crate) fn numbered(&self) -> impl DoubleEndedIterator<Item = (u32, &T)> + '_ {
        self.items.iter().enumerate().map(|(index, item)| (u32::try_from(index).unwrap_or(u32::MAX), item))
    }
}

impl<T: Serialize> Pages<T> {
    /// SHA-256 over the number of items and the digests of the pages, each over its items' postcard bytes.
    pub(crate) fn digest(&mut self) -> Result<[u8; 32], postcard::Error> {
        let mut all = Sha256::new();
        all.update((self.items.len() as u64).to_le_bytes());
        for (items, kept) in self.items.chunks(PAGE).zip(&mut self.digests) {
            let digest = match *kept {
                Some(digest) => digest,
                None => Sha256::digest(postcard::to_stdvec(items)?).into(),
            };
            *kept = Some(digest);
            all.update(digest);
        }
        Ok(all.finalize().into())
    }
}

impl<T: Serialize> Serialize for Pages<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.items.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pages<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = Vec::deserialize(deserializer)?;
        let digests = vec![None; items.len().div_ceil(PAGE)];
        Ok(Pages { items, digests })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_digest_with_cached_pages_equals_one_made_from_scratch(
            changes in prop::collection::vec((any::<bool>(), any::<u16>(), any::<u32>()), 0..400),
        ) {
            let mut pages = Pages::default();
            for (push, at, value) in changes {
                match pages.get_mut(u32::from(at) % 300).filter(|_| !push) {
                    Some(item) => *item = value,
                    None => {
                        pages.push(value);
                    },
                }
                if value % 5 == 0 {
                    pages.digest().unwrap();
                }
            }
            let mut fresh: Pages<u32> =
                postcard::from_bytes(&postcard::to_stdvec(&pages).unwrap()).unwrap();
            prop_assert_eq!(pages.digest().unwrap(), fresh.digest().unwrap());
        }
    }

    #[test]
    fn a_changed_item_changes_the_digest() {
        let mut pages = Pages::default();
        (0..200u32).for_each(|n| {
            pages.push(n);
        });
        let before = pages.digest().unwrap();
        *pages.get_mut(130).unwrap() = 7;
        assert_ne!(pages.digest().unwrap(), before);
    }
}
