//! The tree of a log that grows, as whoever follows it keeps it: its frontier, and the roots of its recent sizes.

use super::merkle::{Frontier, TreeHash};
use std::collections::VecDeque;

/// Roots are known of so many sizes before the present one.
pub const SIZES_KNOWN: usize = 1024;

/// A tree's frontier some leaves ago, and the leaves since.
#[derive(Clone, Debug, Default)]
pub struct RecentTree {
    base: Frontier,
    leaves: VecDeque<TreeHash>,
}

impl From<Frontier> for RecentTree {
    fn from(base: Frontier) -> Self {
        RecentTree { base, leaves: VecDeque::new() }
    }
}

impl RecentTree {
    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.base.size() + self.leaves.len() as u64
    }

    pub fn push(&mut self, leaf: TreeHash) {
        self.leaves.push_back(leaf);
        if self.leaves.len() > SIZES_KNOWN
            && let Some(oldest) = self.leaves.pop_front()
        {
            self.base.push(oldest);
        }
    }

    /// The frontier of all leaves.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        self.grown_by(self.leaves.len())
    }

    /// The root of the tree of its first `size` leaves; `None` if that is not known any more, or not yet.
    #[must_use]
    pub fn root_at(&self, size: u64) -> Option<TreeHash> {
        let grown = usize::try_from(size.checked_sub(self.base.size())?).ok()?;
        (grown <= self.leaves.len()).then(|| self.grown_by(grown).root())
    }

    fn grown_by(&self, leaves: usize) -> Frontier {
        let mut frontier = self.base.clone();
        self.leaves.iter().take(leaves).for_each(|leaf| frontier.push(*leaf));
        frontier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(n: usize) -> TreeHash {
        let mut leaf = [0; 32];
        leaf[..8].copy_from_slice(&(n as u64).to_le_bytes());
        leaf
    }

    #[test]
    fn recent_roots_are_those_of_the_tree_then_and_older_ones_are_forgotten() {
        let (mut tree, mut frontier, mut roots) = (RecentTree::default(), Frontier::default(), Vec::new());
        for n in 0..SIZES_KNOWN + 300 {
            roots.push(frontier.root());
            tree.push(leaf(n));
            frontier.push(leaf(n));
        }
        assert_eq!(tree.frontier(), frontier);
        for (size, root) in roots.iter().enumerate() {
            assert_eq!(tree.root_at(size as u64), (size >= 300).then_some(*root), "size {size}");
        }
        assert_eq!(tree.root_at(tree.size()), Some(frontier.root()));
        assert_eq!(tree.root_at(tree.size() + 1), None);
    }

    #[test]
    fn a_tree_goes_on_from_a_frontier() {
        let before: Frontier = (0..37).map(leaf).collect();
        let mut tree = RecentTree::from(before.clone());
        assert_eq!(tree.root_at(37), Some(before.root()));
        assert_eq!(tree.root_at(36), None);
        tree.push(leaf(37));
        assert_eq!(tree.root_at(38), Some((0..38).map(leaf).collect::<Frontier>().root()));
    }
}
