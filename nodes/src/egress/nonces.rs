//! Random nonces, fetched from the entropy source by the hundred: one system call for a burst, not one per verdict.

use crate::entropy::Entropy;
use std::sync::Arc;

const NONCE_BYTES: usize = 12;
/// Fetched at once, twice as many each time: a batch of one heartbeat wants one.
const FETCHED: std::ops::RangeInclusive<usize> = 8..=256;

/// Gives each nonce once.
pub struct Nonces {
    entropy: Arc<dyn Entropy>,
    bytes: [u8; *FETCHED.end() * NONCE_BYTES],
    fetched: usize,
    left: usize,
}

impl Nonces {
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Nonces { entropy, bytes: [0; *FETCHED.end() * NONCE_BYTES], fetched: 0, left: 0 }
    }

    /// Draws one.
    pub fn draw(&mut self) -> [u8; NONCE_BYTES] {
        if self.left == 0 {
            self.fetched = (2 * self.fetched).clamp(*FETCHED.start(), *FETCHED.end());
            self.entropy.fill(&mut self.bytes[..self.fetched * NONCE_BYTES]);
            self.left = self.fetched;
        }
        self.left -= 1;
        let at = self.left * NONCE_BYTES;
        std::array::from_fn(|i| self.bytes[at + i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;
    use std::collections::BTreeSet;

    #[test]
    fn rule_11_no_nonce_is_given_twice() {
        let mut nonces = Nonces::new(Arc::new(OsEntropy));
        let given: BTreeSet<_> = (0..10_000).map(|_| nonces.draw()).collect();
        assert_eq!(given.len(), 10_000);
    }
}
