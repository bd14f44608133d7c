//! Finds items of a list by a key that each item holds itself: four bytes an item and a little air, and one look where a
//! tree of keys takes five.
//!
//! Only asked, never gone through: no order of it reaches state, digest or effects. Its hash is the same everywhere and
//! for ever. Who could choose keys that meet is a station, for what its quota lets it burn; all other keys are digests.

use events::ids::{CodeDigest, DeviceId, RecordDigest, StationId};
use hashbrown::HashTable;
use std::marker::PhantomData;

/// A table doubles when it is full, and finds every item's key again for it. In parts that takes a moment where a whole
/// one of a million devices would hold the log up. No power of two, so that fleets of a round number are not just above
/// what parts hold.
const PARTS: usize = 160;

/// What an item is found by.
pub(crate) trait Key: Copy + Eq {
    /// The key in two words; equal keys give equal words.
    fn words(&self) -> [u64; 2];
}

/// Invariant: each item stands in the part and at the hash that its key gives, and no key stands there twice.
#[derive(Clone)]
pub(crate) struct Finder<K> {
    parts: Vec<HashTable<u32>>,
    keys: PhantomData<K>,
}

impl<K> Default for Finder<K> {
    fn default() -> Self {
        Finder { parts: vec![HashTable::new(); PARTS], keys: PhantomData }
    }
}

impl<K> Finder<K> {
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }

    /// The indices of all items, ascending.
    fn sorted(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.parts.iter().flatten().copied().collect();
        all.sort_unstable();
        all
    }
}

/// Of the same items; that they are found by their keys is another question.
impl<K> PartialEq for Finder<K> {
    fn eq(&self, other: &Self) -> bool {
        self.sorted() == other.sorted()
    }
}

impl<K> Eq for Finder<K> {}

impl<K> std::fmt::Debug for Finder<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Finder({} items)", self.len())
    }
}

impl<K: Key> Finder<K> {
    /// Finds the first `items` by their keys; of those that share one only the first.
    #[must_use]
    pub(crate) fn of(items: usize, key_of: impl Fn(u32) -> Option<K>) -> Self {
        let mut finder = Finder::default();
        (0..items as u32).for_each(|at| {
            finder.insert(at, &key_of);
        });
        finder
    }

    /// The index of the item with this key; `key_of` reads an item's key.
    #[must_use]
    pub(crate) fn find(&self, key: &K, key_of: impl Fn(u32) -> Option<K>) -> Option<u32> {
        let hash = hash(key);
        self.parts[part(hash)].find(hash, |&at| key_of(at).as_ref() == Some(key)).copied()
    }

    /// Remembers an item by its key. False, and nothing changed, if another item has that key.
    pub(crate) fn insert(&mut self, at: u32, key_of: impl Fn(u32) -> Option<K>) -> bool {
        let Some(key) = key_of(at) else { return false };
        if self.find(&key, &key_of).is_some() {
            return false;
        }
        let hash_of = |&at: &u32| key_of(at).as_ref().map_or(0, self::hash);
        let hash = self::hash(&key);
        self.parts[part(hash)].insert_unique(hash, at, hash_of);
        true
    }
}

/// Mixed so that each bit of the key moves all of the hash (the last steps are those of SplitMix64).
fn hash<K: Key>(key: &K) -> u64 {
    let [one, two] = key.words();
    let mixed = one.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) ^ two;
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// By bits that a table does not look at: it takes the highest and the lowest.
fn part(hash: u64) -> usize {
    ((hash >> 24) as u32 as usize * PARTS) >> 32
}

fn words(bytes: &[u8; 16]) -> [u64; 2] {
    let both = u128::from_le_bytes(*bytes);
    [both as u64, (both >> 64) as u64]
}

impl Key for DeviceId {
    fn words(&self) -> [u64; 2] {
        words(self.as_bytes())
    }
}

impl Key for RecordDigest {
    fn words(&self) -> [u64; 2] {
        words(self.as_bytes())
    }
}

impl Key for CodeDigest {
    fn words(&self) -> [u64; 2] {
        words(self.as_bytes())
    }
}

/// A station and the number that it gave a unit.
impl Key for (StationId, u32) {
    fn words(&self) -> [u64; 2] {
        [u64::from(u32::from_le_bytes(*self.0.as_bytes())), u64::from(self.1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_finds_what_an_ordered_map_would(
            units in prop::collection::vec((0u8..3, prop_oneof![0u32..300, any::<u32>()]), 0..2000),
        ) {
            let mut items: Vec<(StationId, u32)> = Vec::new();
            let (mut finder, mut model) = (Finder::default(), BTreeMap::new());
            for (station, unit) in units {
                let key = (StationId::from_bytes([station; 4]), unit);
                let at = items.len() as u32;
                items.push(key);
                prop_assert_eq!(
                    finder.insert(at, |at| items.get(at as usize).copied()),
                    !model.contains_key(&key)
                );
                model.entry(key).or_insert(at);
                prop_assert_eq!(finder.len(), model.len());
            }
            let key_of = |at| items.get(at as usize).copied();
            for key in &items {
                prop_assert_eq!(finder.find(key, key_of), model.get(key).copied());
                let (station, unit) = *key;
                let other = (station, unit ^ 0x5000_0000);
                prop_assert_eq!(finder.find(&other, key_of), model.get(&other).copied());
            }
        }
    }

    #[test]
    fn units_that_are_counted_up_spread_over_parts_and_hashes() {
        let station = StationId::from_bytes([7; 4]);
        let hashes: Vec<u64> = (0..160_000).map(|unit| hash(&(station, unit))).collect();
        let mut counts = vec![0_u32; PARTS];
        hashes.iter().for_each(|&hash| counts[part(hash)] += 1);
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        let mut low: Vec<u64> = hashes.iter().map(|hash| hash % 65_536).collect();
        low.sort_unstable();
        low.dedup();
        assert!(low.len() > 55_000, "{} of 65,536 values, where chance gives 59,800", low.len());
    }
}
