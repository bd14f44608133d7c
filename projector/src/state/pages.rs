//! A growing list whose digest and whose copy are cheap.
//!
//! Its items lie in pages, and copies share their pages until one of them changes one (copy on write), so a snapshot of a
//! million devices is taken in the time that counting its pages takes. Hashed they are in parts, whose digests are kept
//! until an item of theirs changes, so only parts that changed are hashed again. What is a part, all nodes must agree on;
//! what is a page, is nobody's business but the allocator's.

use crate::works::{DoAll, in_parts};
use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::marker::PhantomData;
use std::ops::Range;
use triomphe::Arc;

/// Items of a page, unless they are large: with the count of who shares it, a page is as large as 64 items or a little less,
/// which is how an allocator cuts memory. For a whole 64 it would take the next larger piece: a quarter more for rows.
const ITEMS: usize = 63;
/// The largest piece that jemalloc cuts out of a larger one. What is larger has pages to itself, and one more so that not
/// all begin in the same lines of the caches; in huge pages that one is there, and paid for.
pub(crate) const PAGE_BYTES_MAX: usize = 14 * 1024;
/// Items that are hashed as one. Part of what the state's digest means.
const PART: usize = 64;
/// Parts that are hashed as one piece of work.
const PARTS_AT_ONCE: usize = 128;

/// Items are added and changed, never removed: an index is a name. Those of a full page lie in one piece, so that an item
/// is found with one look at the list of pages.
#[derive(Clone, Debug)]
pub(crate) struct Pages<T, const PAGE: usize = ITEMS> {
    full: Vec<Arc<[T; PAGE]>>,
    /// The items after the last full page; always fewer than a page.
    tail: Arc<Vec<T>>,
    /// Of full parts; derived, hence neither compared nor stored. They lie beside the pages, so that hashing what a copy
    /// shares does not part the two.
    digests: Vec<[u8; 32]>,
    /// Of which parts the digest still holds.
    hashed: Vec<bool>,
}

impl<T, const PAGE: usize> Default for Pages<T, PAGE> {
    fn default() -> Self {
        Pages { full: Vec::new(), tail: Arc::default(), digests: Vec::new(), hashed: Vec::new() }
    }
}

impl<T: PartialEq, const PAGE: usize> PartialEq for Pages<T, PAGE> {
    fn eq(&self, other: &Self) -> bool {
        self.full == other.full && self.tail == other.tail
    }
}

impl<T: Eq, const PAGE: usize> Eq for Pages<T, PAGE> {}

impl<T, const PAGE: usize> Pages<T, PAGE> {
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.full.len() * PAGE + self.tail.len()
    }

    #[must_use]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (page, at) = Self::place(index);
        match self.full.get(page) {
            Some(items) => Some(&items[at]),
            None if page == self.full.len() => self.tail.get(at),
            None => None,
        }
    }

    /// As [`Pages::get`], and reads besides whose the page is, so that all that [`Pages::get_mut`] asks memory for is at
    /// hand then.
    #[inline]
    pub(crate) fn look_at(&self, index: u32) -> Option<(&T, bool)> {
        let (page, at) = Self::place(index);
        match self.full.get(page) {
            Some(items) => Some((&items[at], items.is_unique())),
            None => Some((self.get(index)?, self.tail.is_unique())),
        }
    }

    #[inline]
    fn place(index: u32) -> (usize, usize) {
        (index as usize / PAGE, index as usize % PAGE)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + '_ {
        self.full.iter().flat_map(|page| page.iter()).chain(self.tail.iter())
    }

    /// Items with their indices.
    pub(crate) fn numbered(&self) -> impl DoubleEndedIterator<Item = (u32, &T)> + '_ {
        (0..=self.full.len()).flat_map(|page| {
            let items = self.full.get(page).map_or(&self.tail[..], |items| &items[..]);
            let first = page * PAGE;
            let index = move |at| u32::try_from(first + at).unwrap_or(u32::MAX);
            items.iter().enumerate().map(move |(at, item)| (index(at), item))
        })
    }
}

impl<T: Clone, const PAGE: usize> Pages<T, PAGE> {
    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let ((page, at), full) = (Self::place(index), self.full.len());
        // Asked before the page is made one's own: whoever asks for nothing copies nothing.
        let is_there = page < full || page == full && at < self.tail.len();
        if let Some(hashed) = self.hashed.get_mut(index as usize / PART).filter(|_| is_there) {
            *hashed = false;
        }
        match self.full.get_mut(page) {
            Some(items) => Some(&mut Arc::make_mut(items)[at]),
            None => is_there.then(|| Arc::make_mut(&mut self.tail).get_mut(at)).flatten(),
        }
    }

    /// Adds an item and returns its index.
    pub(crate) fn push(&mut self, item: T) -> u32 {
        let index = self.len();
        let tail = Arc::make_mut(&mut self.tail);
        // Room for a whole page at once: lists that grow leave holes in memory.
        tail.reserve_exact(PAGE - tail.len());
        tail.push(item);
        if tail.len() == PAGE {
            let items = std::mem::take(tail);
            self.full.extend(full_page(items));
        }
        if self.len().is_multiple_of(PART) {
            self.digests.push([0; 32]);
            self.hashed.push(false);
        }
        u32::try_from(index).unwrap_or(u32::MAX)
    }
}

/// None unless there are just as many items as a page has.
fn full_page<T, const PAGE: usize>(items: Vec<T>) -> Option<Arc<[T; PAGE]>> {
    let items: Box<[T; PAGE]> = items.into_boxed_slice().try_into().ok()?;
    Some(Arc::from(items))
}

impl<T: Serialize, const PAGE: usize> Pages<T, PAGE> {
    /// SHA-256 over the number of items and the digests of the parts, each over its items' postcard bytes.
    pub(crate) fn digest(&mut self) -> Result<[u8; 32], postcard::Error> {
        let mut all = Sha256::new();
        all.update((self.len() as u64).to_le_bytes());
        for part in 0..self.hashed.len() {
            if !self.hashed[part] {
                self.digests[part] = self.digest_of(part)?;
                self.hashed[part] = true;
            }
            all.update(self.digests[part]);
        }
        if !self.len().is_multiple_of(PART) {
            all.update(self.digest_of(self.hashed.len())?);
        }
        Ok(all.finalize().into())
    }

    /// Hashes every full part, so that the next digest need not.
    pub(crate) fn hash_all(&mut self, do_all: DoAll<'_>) -> Result<(), postcard::Error>
    where
        T: Send + Sync,
    {
        let parts = self.hashed.len();
        let hash = |parts: Range<u32>| -> Result<Vec<_>, postcard::Error> {
            parts.map(|part| self.digest_of(part as usize)).collect()
        };
        let digests: Vec<Vec<_>> =
            in_parts(parts, PARTS_AT_ONCE, do_all, hash).into_iter().collect::<Result<_, _>>()?;
        self.digests = digests.concat();
        self.hashed = vec![true; parts];
        Ok(())
    }

    fn digest_of(&self, part: usize) -> Result<[u8; 32], postcard::Error> {
        let indices = part * PART..self.len().min((part + 1) * PART);
        let items: Vec<&T> = indices.filter_map(|index| self.get(index as u32)).collect();
        Ok(Sha256::digest(postcard::to_stdvec(&items)?).into())
    }
}

impl<T: Serialize, const PAGE: usize> Serialize for Pages<T, PAGE> {
    /// As one list, whatever the pages.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        self.iter().try_for_each(|item| list.serialize_element(item))?;
        list.end()
    }
}

impl<'de, T: Deserialize<'de>, const PAGE: usize> Deserialize<'de> for Pages<T, PAGE> {
    /// Page by page: a million records in one list, before they are pages, would be the memory of a node once more.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PagesVisitor::<T, PAGE>(PhantomData))
    }
}

struct PagesVisitor<T, const PAGE: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const PAGE: usize> Visitor<'de> for PagesVisitor<T, PAGE> {
    type Value = Pages<T, PAGE>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Pages<T, PAGE>, A::Error> {
        let (mut full, mut tail) = (Vec::new(), Vec::with_capacity(PAGE));
        while let Some(item) = items.next_element()? {
            tail.push(item);
            if tail.len() == PAGE {
                full.extend(full_page(std::mem::replace(&mut tail, Vec::with_capacity(PAGE))));
            }
        }
        let parts = (full.len() * PAGE + tail.len()) / PART;
        let (digests, hashed) = (vec![[0; 32]; parts], vec![false; parts]);
        Ok(Pages { full, tail: Arc::new(tail), digests, hashed })
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
            let mut pages: Pages<u32> = Pages::default();
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

    /// As all nodes must hash a list, whatever their pages.
    fn digest_of_list(list: &[u32]) -> [u8; 32] {
        let mut all = Sha256::new();
        all.update((list.len() as u64).to_le_bytes());
        for part in list.chunks(64) {
            all.update(Sha256::digest(postcard::to_stdvec(part).unwrap()));
        }
        all.finalize().into()
    }

    #[test]
    fn a_digest_is_of_parts_of_64_items_however_the_pages_lie_and_whoever_hashes_them() {
        for count in [0, 1, 62, 63, 64, 65, 126, 128, 200, 64 * 130 + 1] {
            let list: Vec<u32> = (0..count).collect();
            let stored = postcard::to_stdvec(&list).unwrap();
            let mut pages: Pages<u32> = postcard::from_bytes(&stored).unwrap();
            let mut small: Pages<u32, 18> = postcard::from_bytes(&stored).unwrap();
            small.hash_all(&|works| works.into_iter().rev().for_each(|work| work())).unwrap();
            let digests = [numbers(count).digest(), pages.digest(), small.digest()];
            assert!(digests.iter().all(|digest| *digest == Ok(digest_of_list(&list))), "{count} items");
        }
    }

    fn numbers(count: u32) -> Pages<u32> {
        let mut pages: Pages<u32> = Pages::default();
        (0..count).for_each(|n| {
            pages.push(n);
        });
        pages
    }

    #[test]
    fn a_copy_shares_every_page_until_one_side_changes_it_and_neither_sees_the_others_change() {
        let mut pages = numbers(200);
        let mut copy = pages.clone();
        let shared = |a: &Pages<u32>, b: &Pages<u32>| {
            let full = a.full.iter().zip(&b.full).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
            full + usize::from(Arc::ptr_eq(&a.tail, &b.tail))
        };
        assert_eq!(shared(&pages, &copy), 4);
        *pages.get_mut(70).unwrap() = 7;
        assert_eq!(shared(&pages, &copy), 3);
        copy.push(200);
        assert_eq!(shared(&pages, &copy), 2);
        assert_eq!((pages.len(), copy.len()), (200, 201));
        assert_eq!((pages.get(70), copy.get(70)), (Some(&7), Some(&70)));
        assert!(pages.get_mut(200).is_none() && pages.get_mut(9999).is_none());
    }

    #[test]
    fn a_digest_is_right_while_a_copy_shares_the_pages_and_after() {
        let mut pages = numbers(200);
        let copy = pages.clone();
        let shared = pages.digest().unwrap();
        drop(copy);
        assert_eq!(pages.digest().unwrap(), shared);
        let copy = pages.clone();
        *pages.get_mut(3).unwrap() = 1_000;
        assert_ne!(pages.digest().unwrap(), shared);
        assert_eq!(copy.clone().digest().unwrap(), shared);
    }

    #[test]
    fn pages_are_stored_as_one_list() {
        let stored = postcard::to_stdvec(&numbers(130)).unwrap();
        assert_eq!(stored, postcard::to_stdvec(&(0..130).collect::<Vec<u32>>()).unwrap());
        assert_eq!(postcard::from_bytes::<Pages<u32>>(&stored).unwrap(), numbers(130));
    }

    #[test]
    fn a_changed_item_changes_the_digest() {
        let mut pages: Pages<u32> = Pages::default();
        (0..200).for_each(|n| {
            pages.push(n);
        });
        let before = pages.digest().unwrap();
        *pages.get_mut(130).unwrap() = 7;
        assert_ne!(pages.digest().unwrap(), before);
    }
}
