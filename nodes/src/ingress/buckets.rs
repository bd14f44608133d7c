//! Token buckets: who may speak how often. Time is a value, so that tests and simulation own it.
//!
//! Invariants:
//! - A map holds a bounded number of buckets. One that is full again equals one that never was, so only such are
//!   evicted: nobody gets fresh tokens by pushing his own bucket out.
//! - When all places are in use, newcomers share one bucket: they are slowed, not let through and not locked out.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

/// How fast a bucket fills and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that a full bucket holds.
    pub burst: u32,
    /// A token returns after so many milliseconds.
    pub every_millis: u64,
}

/// One bucket: 8 bytes, so that there may be one per device. It stores when it will be full again, which needs
/// neither a count nor a timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// Takes a token at `now` (milliseconds of a clock that never goes back); false if there is none.
    pub fn take(&mut self, rate: Rate, now: u64) -> bool {
        self.take_many(1, rate, now)
    }

    /// Takes `tokens`, or none if there are not so many.
    pub fn take_many(&mut self, tokens: u32, rate: Rate, now: u64) -> bool {
        let every = rate.every_millis.max(1);
        let missing_until = self.full_at.max(now).saturating_add(every.saturating_mul(u64::from(tokens)));
        if missing_until - now > every.saturating_mul(u64::from(rate.burst.max(1))) {
            return false;
        }
        self.full_at = missing_until;
        true
    }

    /// Whether it holds all its tokens, so that nothing is lost by forgetting it.
    #[must_use]
    pub const fn is_full(&self, now: u64) -> bool {
        self.full_at <= now
    }
}

/// A bounded map of buckets of one rate.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    places_max: usize,
    buckets: HashMap<K, Bucket>,
    shared: Bucket,
    /// No sweep before this: one that frees nothing must not be repeated for every newcomer.
    sweep_after: u64,
}

impl<K: Eq + Hash> Buckets<K> {
    #[must_use]
    pub fn new(rate: Rate, places_max: usize) -> Self {
        Buckets { rate, places_max, buckets: HashMap::new(), shared: Bucket::default(), sweep_after: 0 }
    }

    /// Takes a token of `key` at `now`; false if it has none left.
    pub fn take(&mut self, key: K, now: u64) -> bool {
        if let Some(bucket) = self.buckets.get_mut(&key) {
            return bucket.take(self.rate, now);
        }
        if self.buckets.len() >= self.places_max {
            self.sweep(now);
        }
        if self.buckets.len() >= self.places_max {
            return self.shared.take(self.rate, now);
        }
        self.buckets.entry(key).or_default().take(self.rate, now)
    }

    /// Whether `key` has a token left, taking none.
    pub fn has_token<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: u64) -> bool
    where
        K: Borrow<Q>,
    {
        self.buckets.get(key).is_none_or(|bucket| Bucket { ..*bucket }.take(self.rate, now))
    }

    fn sweep(&mut self, now: u64) {
        if now < self.sweep_after {
            return;
        }
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
        self.sweep_after = now.saturating_add(self.rate.every_millis.max(1));
    }
}

/// Buckets of devices by slot, each with its own granted rate: an index, no hash, for the way of a heartbeat.
#[derive(Debug, Default)]
pub struct SlotBuckets {
    buckets: Vec<Bucket>,
}

impl SlotBuckets {
    /// Takes a token of the device at `slot`. Slots are dense, so the vector grows to the number of devices.
    pub fn take(&mut self, slot: u32, rate: Rate, now: u64) -> bool {
        self.take_many(slot, 1, rate, now)
    }

    /// Takes `tokens` of the device at `slot`, or none if there are not so many.
    pub fn take_many(&mut self, slot: u32, tokens: u32, rate: Rate, now: u64) -> bool {
        let at = slot as usize;
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, Bucket::default());
        }
        self.buckets[at].take_many(tokens, rate, now)
    }
}

/// Buckets of pairs of a device and a source that speaks for it: a source that repeats a device's messages spends its
/// own tokens and not the device's.
///
/// Invariant: memory is [`PairBuckets::PLACES`] × 8 bytes from the start, whatever comes. Pairs share a place by a secret
/// hash, so that nobody can choose whom he shares one with: who keeps *n* pairs drained slows another one with a chance
/// of *n* / `PLACES`, and has to go on with authentic messages of *n* pairs to do so.
#[derive(Debug)]
pub struct PairBuckets {
    rate: Rate,
    hasher: RandomState,
    places: Box<[Bucket]>,
}

impl PairBuckets {
    /// One MiB of them.
    pub const PLACES: usize = 131_072;

    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let places = vec![Bucket::default(); Self::PLACES].into_boxed_slice();
        PairBuckets { rate, hasher: RandomState::new(), places }
    }

    /// Takes a token of the pair; costs no allocation.
    pub fn take(&mut self, slot: u32, source: &str, now: u64) -> bool {
        let at = self.hasher.hash_one((slot, source)) as usize % self.places.len();
        self.places[at].take(self.rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate { burst: 3, every_millis: 1_000 };

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_token_per_interval() {
        let mut bucket = Bucket::default();
        assert_eq!((0..5).filter(|_| bucket.take(RATE, 10_000)).count(), 3);
        assert!(!bucket.take(RATE, 10_999));
        assert!(bucket.take(RATE, 11_000));
        assert!(!bucket.take(RATE, 11_000));
        assert!(bucket.is_full(14_000));
    }

    #[test]
    fn many_tokens_are_taken_whole_or_not_at_all() {
        let mut bucket = Bucket::default();
        assert!(bucket.take_many(2, RATE, 10_000));
        assert!(!bucket.take_many(2, RATE, 10_000), "one is left");
        assert!(bucket.take_many(1, RATE, 10_000));
        assert!(!bucket.take_many(2, RATE, 11_999) && bucket.take_many(2, RATE, 12_000));
    }

    #[test]
    fn nobody_gets_fresh_tokens_by_pushing_his_own_bucket_out() {
        let mut buckets = Buckets::new(RATE, 8);
        while buckets.take(0, 0) {}
        for other in 1..1_000 {
            buckets.take(other, 0);
        }
        assert!(!buckets.take(0, 0), "a drained bucket must survive a crowd");
        assert!(buckets.buckets.len() <= 8);
    }

    #[test]
    fn newcomers_to_a_full_map_share_one_bucket() {
        let mut buckets = Buckets::new(RATE, 2);
        for key in 0..2 {
            while buckets.take(key, 0) {}
        }
        assert_eq!((2..100).filter(|&key| buckets.take(key, 0)).count(), 3);
        assert!(buckets.take(200, 5_000), "once the first are full again, there is room");
    }

    #[test]
    fn devices_do_not_share_a_bucket() {
        let mut buckets = SlotBuckets::default();
        while buckets.take(7, RATE, 0) {}
        assert!(buckets.take(8, RATE, 0));
        assert!(buckets.take(3, RATE, 0));
    }

    #[test]
    fn a_source_spends_its_own_tokens_and_a_crowd_of_pairs_takes_no_more_memory() {
        let mut pairs = PairBuckets::new(RATE);
        assert_eq!((0..100).filter(|_| pairs.take(7, "thief", 0)).count(), 3);
        // With a chance of 1 in 131072 the two share a place; the others tell.
        assert!((7..12).filter(|&slot| pairs.take(slot, "home", 0)).count() >= 4);
        for slot in 0..300_000 {
            pairs.take(slot, "crowd", 0);
        }
        assert_eq!(std::mem::size_of_val(&*pairs.places), 1024 * 1024);
    }

    proptest! {
        #[test]
        fn no_pattern_of_arrivals_beats_burst_and_rate(
            gaps in proptest::collection::vec(0u64..3_000, 1..200),
        ) {
            let mut bucket = Bucket::default();
            let (mut now, mut taken) = (0, 0);
            for gap in gaps {
                now += gap;
                taken += u64::from(bucket.take(RATE, now));
            }
            prop_assert!(taken <= u64::from(RATE.burst) + now / RATE.every_millis);
        }

        #[test]
        fn no_numbers_panic_a_bucket(burst: u32, every_millis: u64, times: Vec<u64>) {
            let mut bucket = Bucket::default();
            for now in times {
                bucket.take(Rate { burst, every_millis }, now);
            }
        }
    }
}
