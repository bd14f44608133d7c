//! Keys of the last writes, so that one that comes again is not done again. Bounded: the oldest gives way.

use events::ids::LogIndex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Keys remembered; at a write a second that is more than a quarter of an hour.
pub(crate) const REQUESTS_KEPT: usize = 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requests {
    known: BTreeMap<[u8; 16], ([u8; 16], LogIndex)>,
    /// Oldest first.
    order: VecDeque<[u8; 16]>,
}

impl Requests {
    /// What the key was used for, and the entry that did it.
    #[must_use]
    pub(crate) fn find(&self, key: &[u8; 16]) -> Option<([u8; 16], LogIndex)> {
        self.known.get(key).copied()
    }

    pub(crate) fn remember(&mut self, key: [u8; 16], content: [u8; 16], index: LogIndex) {
        if self.known.insert(key, (content, index)).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > REQUESTS_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Bounded, and every key in order.
    #[must_use]
    pub(crate) fn is_sound(&self) -> bool {
        self.known.len() == self.order.len()
            && self.order.len() <= REQUESTS_KEPT
            && self.order.iter().all(|key| self.known.contains_key(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_key_gives_way() {
        let mut requests = Requests::default();
        let key = |n: usize| (n as u128).to_le_bytes();
        (0..=REQUESTS_KEPT).for_each(|n| requests.remember(key(n), [0; 16], n as u64));
        assert_eq!(requests.find(&key(0)), None);
        assert_eq!(requests.find(&key(1)), Some(([0; 16], 1)));
        assert!(requests.is_sound());
    }
}
