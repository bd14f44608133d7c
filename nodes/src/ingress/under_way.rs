//! Who waits for the same thing as somebody before him: the work is done once, and all of them are answered.
//!
//! Invariants: a key is under way as long as its [`First`] lives, however it ends; at most [`COMPANIONS_MAX`] wait
//! with it, so that memory is bounded by what is under way.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

/// Repetitions that wait with the first: retries of one terminal. Who repeats more often asks again.
const COMPANIONS_MAX: usize = 4;

type Waiting<K, T> = Arc<Mutex<HashMap<K, Vec<T>>>>;

/// What is under way, and who came to wait for it.
pub(super) struct UnderWay<K: Eq + Hash, T>(Waiting<K, T>);

/// The one for whom the work is done. Dropping it leaves its companions unanswered.
pub struct First<K: Eq + Hash, T> {
    waiting: Waiting<K, T>,
    key: K,
}

/// What became of one who came.
pub(super) enum Joined<K: Eq + Hash, T> {
    /// Nobody was before him: his is the work.
    First(First<K, T>, T),
    /// He is answered with the first.
    Companion,
    /// Too many wait already.
    Full(T),
}

impl<K: Eq + Hash + Clone, T> UnderWay<K, T> {
    pub fn new() -> Self {
        UnderWay(Arc::default())
    }

    pub fn join(&self, key: K, waiter: T) -> Joined<K, T> {
        let mut waiting = self.0.lock();
        let Some(companions) = waiting.get_mut(&key) else {
            waiting.insert(key.clone(), Vec::new());
            return Joined::First(First { waiting: Arc::clone(&self.0), key }, waiter);
        };
        if companions.len() >= COMPANIONS_MAX {
            return Joined::Full(waiter);
        }
        companions.push(waiter);
        Joined::Companion
    }

    /// Whether somebody who came now would wait with another.
    pub fn contains(&self, key: &K) -> bool {
        self.0.lock().contains_key(key)
    }
}

impl<K: Eq + Hash, T> First<K, T> {
    /// The work is done: who waited with him.
    pub fn companions(self) -> Vec<T> {
        self.waiting.lock().remove(&self.key).unwrap_or_default()
    }
}

impl<K: Eq + Hash + fmt::Debug, T> fmt::Debug for First<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("First").field(&self.key).finish()
    }
}

impl<K: Eq + Hash, T> Drop for First<K, T> {
    fn drop(&mut self) {
        let companions = self.waiting.lock().remove(&self.key);
        // Outside of the lock: they may hold whatever.
        drop(companions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(joined: Joined<u8, u32>) -> First<u8, u32> {
        let Joined::First(first, _) = joined else { panic!("nobody was before him") };
        first
    }

    #[test]
    fn who_comes_while_it_is_under_way_waits_with_the_first_within_bounds() {
        let under_way = UnderWay::new();
        let begun = first(under_way.join(7, 0));
        let joined = (1..10).filter(|n| matches!(under_way.join(7, *n), Joined::Companion)).count();
        assert_eq!(joined, COMPANIONS_MAX);
        assert_eq!(begun.companions(), [1, 2, 3, 4]);
        assert!(!under_way.contains(&7));
        first(under_way.join(7, 9));
    }

    #[test]
    fn work_that_ends_without_a_word_leaves_nothing_behind() {
        let under_way = UnderWay::new();
        let begun = first(under_way.join(7, 0));
        assert!(matches!(under_way.join(7, 1), Joined::Companion));
        drop(begun);
        assert!(under_way.0.lock().is_empty());
    }
}
