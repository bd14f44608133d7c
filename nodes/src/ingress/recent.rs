//! A bounded memory of what was seen lately, by digest.

use events::envelope::RequestDigest;
use std::collections::{HashSet, VecDeque};

/// The last `max` digests, the oldest forgotten first.
pub(super) struct RecentDigests {
    max: usize,
    known: HashSet<[u8; 16]>,
    order: VecDeque<[u8; 16]>,
}

impl RecentDigests {
    pub fn new(max: usize) -> Self {
        RecentDigests { max, known: HashSet::new(), order: VecDeque::new() }
    }

    /// True if these bytes were not seen lately.
    pub fn insert(&mut self, bytes: &[u8]) -> bool {
        let digest = RequestDigest::of(bytes);
        let digest: [u8; 16] = std::array::from_fn(|i| digest.as_bytes()[i]);
        if !self.known.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_lately_is_known_and_the_oldest_is_forgotten() {
        let mut recent = RecentDigests::new(2);
        assert!(recent.insert(b"a") && !recent.insert(b"a"));
        assert!(recent.insert(b"b") && recent.insert(b"c"));
        assert!(!recent.insert(b"c"));
        assert!(recent.insert(b"a"), "the oldest was forgotten");
        assert_eq!(recent.known.len(), 2);
    }
}
