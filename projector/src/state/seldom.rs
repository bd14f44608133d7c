//! A list that most devices have nothing in: empty it is one pointer.

use serde::{Deserialize, Serialize};
use std::ops::{Deref, DerefMut};

/// Invariant: what is boxed is not empty.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seldom<T>(
    #[allow(clippy::box_collection, reason = "a pointer, not three words")] Option<Box<Vec<T>>>,
);

impl<T> Seldom<T> {
    pub(crate) fn push(&mut self, item: T) {
        self.change(|items| {
            // Most have one, and room for four would be kept for a million devices.
            items.reserve_exact(1);
            items.push(item);
        });
    }

    /// Takes out the item at `at`, which must be there.
    pub(crate) fn remove(&mut self, at: usize) -> T {
        self.change(|items| items.remove(at))
    }

    /// Drops those that are not to be kept, and the room that they had.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        if self.is_empty() {
            return;
        }
        self.change(|items| {
            items.retain(keep);
            items.shrink_to_fit();
        });
    }

    fn change<R>(&mut self, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
        let mut items = self.0.take().unwrap_or_default();
        let result = change(&mut items);
        if !items.is_empty() {
            self.0 = Some(items);
        }
        result
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}

impl<T> From<Vec<T>> for Seldom<T> {
    fn from(items: Vec<T>) -> Self {
        Seldom((!items.is_empty()).then(|| Box::new(items)))
    }
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Seldom(None)
    }
}

impl<T> Deref for Seldom<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.0.as_deref().map(Vec::as_slice).unwrap_or_default()
    }
}

impl<T> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_deref_mut().map(Vec::as_mut_slice).unwrap_or_default()
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Seldom<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&**self, f)
    }
}

impl<T: Serialize> Serialize for Seldom<T> {
    /// As the list that it is.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self[..].serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Seldom<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Seldom::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_holds_changes_and_stores_what_a_list_would(changes in prop::collection::vec((0u8..6, any::<u32>()), 0..40)) {
            let (mut seldom, mut list) = (Seldom::default(), Vec::new());
            for (change, item) in changes {
                match change {
                    0 => {
                        seldom.clear();
                        list.clear();
                    },
                    1 if !list.is_empty() => {
                        let at = item as usize % list.len();
                        prop_assert_eq!(seldom.remove(at), list.remove(at));
                    }
                    2 => {
                        seldom.retain(|kept| kept % 2 == item % 2);
                        list.retain(|kept| kept % 2 == item % 2);
                    }
                    _ => {
                        seldom.push(item);
                        list.push(item);
                    },
                }
                prop_assert_eq!(&seldom[..], &list[..]);
                prop_assert_eq!(seldom.0.is_none(), list.is_empty());
                let stored = postcard::to_stdvec(&seldom).unwrap();
                prop_assert_eq!(&stored, &postcard::to_stdvec(&list).unwrap());
                prop_assert_eq!(&postcard::from_bytes::<Seldom<u32>>(&stored).unwrap(), &seldom);
            }
        }
    }
}
