//! A short list that is seldom read, kept as bytes: a million devices have one each. Each item is told by how it differs
//! from the one before it. A few lie in place: pieces of memory that grow with each would leave holes behind.

use serde::de::DeserializeOwned;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

/// Bytes that lie in place: the story of a device that was imported, activated and heard has about 65.
const HERE: usize = 69;

/// An item of a packed list.
pub(crate) trait Chained: Serialize + DeserializeOwned {
    /// How it differs from the one before it: what [`Chained::after`] makes it of.
    fn since(self, before: &Self) -> Self;
    /// The item of which this is the difference.
    fn after(self, before: &Self) -> Self;
}

/// Invariants: the bytes are the postcard encodings of `count` differences, one after the other; what does not fit in place
/// is elsewhere, and nothing else is.
#[derive(Clone, PartialEq, Eq)]
enum Bytes {
    Here { count: u8, length: u8, bytes: [u8; HERE] },
    Elsewhere { count: u32, bytes: Box<[u8]> },
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Packed<T> {
    bytes: Bytes,
    items: PhantomData<T>,
}

impl<T> Default for Packed<T> {
    fn default() -> Self {
        Packed { bytes: Bytes::Here { count: 0, length: 0, bytes: [0; HERE] }, items: PhantomData }
    }
}

impl Bytes {
    fn all(&self) -> &[u8] {
        match self {
            Bytes::Here { length, bytes, .. } => &bytes[..usize::from(*length)],
            Bytes::Elsewhere { bytes, .. } => bytes,
        }
    }

    fn push(&mut self, difference: &impl Serialize) {
        if let Bytes::Here { count, length, bytes } = self
            && let Ok(encoded) = postcard::to_slice(difference, &mut bytes[usize::from(*length)..])
        {
            *length += encoded.len() as u8;
            *count += 1;
            return;
        }
        #[allow(
            clippy::expect_used,
            reason = "postcard fails on maps of unknown length only; no item has one"
        )]
        let encoded = postcard::to_stdvec(difference).expect("an item has an encoding");
        let bytes = [self.all(), &encoded].concat().into_boxed_slice();
        *self = Bytes::Elsewhere { count: self.count() + 1, bytes };
    }

    fn count(&self) -> u32 {
        match self {
            Bytes::Here { count, .. } => u32::from(*count),
            Bytes::Elsewhere { count, .. } => *count,
        }
    }
}

impl<T> Packed<T> {
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.bytes.count() as usize
    }

    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Chained + Copy> Packed<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        let (mut left, mut before) = (self.bytes.all(), None);
        std::iter::from_fn(move || {
            let (difference, rest) = postcard::take_from_bytes::<T>(left).ok()?;
            left = rest;
            before = Some(before.map_or(difference, |before| difference.after(&before)));
            before
        })
    }

    #[must_use]
    pub(crate) fn last(&self) -> Option<T> {
        self.iter().last()
    }

    pub(crate) fn push(&mut self, item: T) {
        let difference = self.last().map_or(item, |before| item.since(&before));
        self.bytes.push(&difference);
    }

    pub(crate) fn remove_first(&mut self) {
        let skip = usize::from(!self.is_empty());
        *self = self.iter().skip(skip).collect();
    }

    /// Puts another item in the place of the last one.
    pub(crate) fn replace_last(&mut self, item: T) {
        let keep = self.len().saturating_sub(1);
        *self = self.iter().take(keep).chain([item]).collect();
    }
}

impl<T: Chained + Copy> FromIterator<T> for Packed<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let (mut packed, mut before) = (Packed::default(), None);
        for item in items {
            packed.bytes.push(&before.map_or(item, |before| item.since(&before)));
            before = Some(item);
        }
        packed
    }
}

impl<T: Chained + Copy + std::fmt::Debug> std::fmt::Debug for Packed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: Chained + Copy> Serialize for Packed<T> {
    /// As the list that it is.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        self.iter().try_for_each(|item| list.serialize_element(&item))?;
        list.end()
    }
}

impl<'de, T: Chained + Copy> Deserialize<'de> for Packed<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<T>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Chained for u64 {
        fn since(self, before: &u64) -> u64 {
            self.wrapping_sub(*before)
        }

        fn after(self, before: &u64) -> u64 {
            self.wrapping_add(*before)
        }
    }

    proptest! {
        #[test]
        fn it_holds_and_stores_what_a_list_would(changes in prop::collection::vec((0u8..4, any::<u64>()), 0..60)) {
            let (mut packed, mut list) = (Packed::default(), Vec::new());
            for (change, item) in changes {
                match change {
                    0 => {
                        packed.remove_first();
                        list.drain(..list.len().min(1));
                    },
                    1 => {
                        packed.replace_last(item);
                        list.pop();
                        list.push(item);
                    },
                    _ => {
                        packed.push(item);
                        list.push(item);
                    },
                }
                prop_assert_eq!((packed.len(), packed.last()), (list.len(), list.last().copied()));
                prop_assert!(packed.iter().eq(list.iter().copied()));
                let stored = postcard::to_stdvec(&packed).unwrap();
                prop_assert_eq!(&stored, &postcard::to_stdvec(&list).unwrap());
                prop_assert_eq!(&postcard::from_bytes::<Packed<u64>>(&stored).unwrap(), &packed);
            }
        }
    }
}
