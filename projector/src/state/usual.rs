//! A list that nearly always has the same length lies in place, without a piece of memory of its own: a million devices
//! have one each.

use serde::{Deserialize, Serialize};
use std::ops::{Deref, DerefMut};

/// `N` items, or in a few cases another number of them.
#[derive(Clone)]
pub(crate) enum Usual<T, const N: usize> {
    Here([T; N]),
    Other(Box<[T]>),
}

impl<T, const N: usize> Usual<T, N> {
    /// Changes the list as a whole.
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
        let mut items = Vec::from(std::mem::take(self));
        let result = change(&mut items);
        *self = Usual::from(items);
        result
    }
}

impl<T, const N: usize> Default for Usual<T, N> {
    /// Empty.
    fn default() -> Self {
        Usual::Other(Box::default())
    }
}

impl<T, const N: usize> From<Vec<T>> for Usual<T, N> {
    fn from(items: Vec<T>) -> Self {
        items.try_into().map_or_else(|items: Vec<T>| Usual::Other(items.into_boxed_slice()), Usual::Here)
    }
}

impl<T: Copy, const N: usize> From<&[T]> for Usual<T, N> {
    fn from(items: &[T]) -> Self {
        items.try_into().map_or_else(|_| Usual::Other(items.into()), Usual::Here)
    }
}

impl<T, const N: usize> From<Usual<T, N>> for Vec<T> {
    fn from(usual: Usual<T, N>) -> Self {
        match usual {
            Usual::Here(items) => Vec::from(items),
            Usual::Other(items) => items.into_vec(),
        }
    }
}

impl<T, const N: usize> Deref for Usual<T, N> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Usual::Here(items) => items,
            Usual::Other(items) => items,
        }
    }
}

impl<T, const N: usize> DerefMut for Usual<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Usual::Here(items) => items,
            Usual::Other(items) => items,
        }
    }
}

impl<T: PartialEq, const N: usize> PartialEq for Usual<T, N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, const N: usize> Eq for Usual<T, N> {}

impl<T: std::fmt::Debug, const N: usize> std::fmt::Debug for Usual<T, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&**self, f)
    }
}

impl<T: Serialize, const N: usize> Serialize for Usual<T, N> {
    /// As the list that it is.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self[..].serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Usual<T, N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Usual::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_holds_changes_and_stores_what_a_list_would(changes in prop::collection::vec(any::<(bool, u32)>(), 0..40)) {
            let (mut usual, mut list) = (Usual::<u32, 3>::default(), Vec::new());
            for (push, item) in changes {
                let change = |list: &mut Vec<u32>| match push {
                    true => list.push(item),
                    false => list.truncate(list.len().saturating_sub(1)),
                };
                usual.change(change);
                change(&mut list);
                prop_assert_eq!(matches!(usual, Usual::Here(_)), list.len() == 3);
                prop_assert_eq!(&usual[..], &list[..]);
                let stored = postcard::to_stdvec(&usual).unwrap();
                prop_assert_eq!(&stored, &postcard::to_stdvec(&list).unwrap());
                prop_assert_eq!(&postcard::from_bytes::<Usual<u32, 3>>(&stored).unwrap(), &usual);
            }
        }
    }
}
