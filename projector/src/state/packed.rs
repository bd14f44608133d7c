//! A short list that is seldom read, kept in the bytes that it is stored as: a million devices have one each. A few lines
//! lie in place: pieces of memory that grow with each line would leave holes behind.

use serde::de::DeserializeOwned;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::ops::Deref;

/// Bytes that lie in place: the story of a device that was imported, activated and heard has about 85.
const HERE: usize = 94;

/// Invariant: `bytes` are the postcard encodings of `count` items, one after the other.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Packed<T> {
    count: u32,
    bytes: Bytes,
    items: PhantomData<T>,
}

/// Invariant: what does not fit in place is elsewhere, and nothing else is.
#[derive(Clone)]
enum Bytes {
    Here { length: u8, bytes: [u8; HERE] },
    Elsewhere(Box<[u8]>),
}

impl<T> Default for Packed<T> {
    fn default() -> Self {
        Packed { count: 0, bytes: Bytes::Here { length: 0, bytes: [0; HERE] }, items: PhantomData }
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Here { length, bytes } => &bytes[..usize::from(*length)],
            Bytes::Elsewhere(bytes) => bytes,
        }
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl Bytes {
    fn push(&mut self, item: &impl Serialize) {
        if let Bytes::Here { length, bytes } = self
            && let Ok(encoded) = postcard::to_slice(item, &mut bytes[usize::from(*length)..])
        {
            *length += encoded.len() as u8;
            return;
        }
        #[allow(
            clippy::expect_used,
            reason = "postcard fails on maps of unknown length only; no item has one"
        )]
        let encoded = postcard::to_stdvec(item).expect("an item has an encoding");
        *self = Bytes::Elsewhere([&self[..], &encoded].concat().into_boxed_slice());
    }
}

impl<T> Packed<T> {
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<T: Serialize + DeserializeOwned> Packed<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        let mut left = &self.bytes[..];
        std::iter::from_fn(move || {
            let (item, rest) = postcard::take_from_bytes(left).ok()?;
            left = rest;
            Some(item)
        })
    }

    #[must_use]
    pub(crate) fn last(&self) -> Option<T> {
        self.iter().last()
    }

    pub(crate) fn push(&mut self, item: &T) {
        self.bytes.push(item);
        self.count += 1;
    }

    pub(crate) fn remove_first(&mut self) {
        let skip = usize::from(self.count > 0);
        *self = self.iter().skip(skip).collect();
    }

    /// Puts another item in the place of the last one.
    pub(crate) fn replace_last(&mut self, item: &T) {
        let keep = self.len().saturating_sub(1);
        *self = self.iter().take(keep).collect();
        self.push(item);
    }
}

impl<T: Serialize + DeserializeOwned> FromIterator<T> for Packed<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut packed = Packed::default();
        items.into_iter().for_each(|item| packed.push(&item));
        packed
    }
}

impl<T: Serialize + DeserializeOwned + std::fmt::Debug> std::fmt::Debug for Packed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: Serialize + DeserializeOwned> Serialize for Packed<T> {
    /// As the list that it is.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        self.iter().try_for_each(|item| list.serialize_element(&item))?;
        list.end()
    }
}

impl<'de, T: Serialize + DeserializeOwned> Deserialize<'de> for Packed<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<T>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
                        packed.replace_last(&item);
                        list.pop();
                        list.push(item);
                    },
                    _ => {
                        packed.push(&item);
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
