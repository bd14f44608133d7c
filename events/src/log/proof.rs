//! Proofs over a log's Merkle tree: made as RFC 6962 sections 2.1.1 and 2.1.2 define them, checked as RFC 9162 sections
//! 2.1.3.2 and 2.1.4.2 do, without the leaves.

use super::merkle::{Frontier, TreeHash, node_hash};
use std::ops::Range;

/// The subtrees whose roots are `PATH(index, leaves)` of a tree of `size` leaves, as ranges of leaves, in the path's
/// order. `None` if the leaf is not in the tree.
#[must_use]
pub fn inclusion_ranges(index: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if index >= size {
        return None;
    }
    let (mut ranges, mut tree) = (Vec::new(), 0..size);
    while tree.end - tree.start > 1 {
        let middle = middle(&tree);
        let (left, right) = (tree.start..middle, middle..tree.end);
        let (inside, other) = if index < middle { (left, right) } else { (right, left) };
        ranges.push(other);
        tree = inside;
    }
    ranges.reverse();
    Some(ranges)
}

/// As [`inclusion_ranges`], for `PROOF(old, leaves)`. `None` if the older tree is the larger one.
#[must_use]
pub fn consistency_ranges(old: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if old > size {
        return None;
    }
    if old == 0 {
        return Some(Vec::new());
    }
    let (mut ranges, mut tree, mut is_old_root) = (Vec::new(), 0..size, true);
    while old < tree.end {
        let middle = middle(&tree);
        let (left, right) = (tree.start..middle, middle..tree.end);
        if old <= middle {
            ranges.push(right);
            tree = left;
        } else {
            ranges.push(left);
            (tree, is_old_root) = (right, false);
        }
    }
    if !is_old_root {
        ranges.push(tree);
    }
    ranges.reverse();
    Some(ranges)
}

/// `PATH(index, leaves)`: what shows that a leaf is in the tree. `None` if it is not.
#[must_use]
pub fn inclusion_path(leaves: &[TreeHash], index: usize) -> Option<Vec<TreeHash>> {
    Some(Path::of(inclusion_ranges(index as u64, leaves.len() as u64)?, leaves))
}

/// `PROOF(old, leaves)`: what shows that the tree of the first `old` leaves is the beginning of this one. `None` if it
/// cannot be.
#[must_use]
pub fn consistency_path(leaves: &[TreeHash], old: usize) -> Option<Vec<TreeHash>> {
    Some(Path::of(consistency_ranges(old as u64, leaves.len() as u64)?, leaves))
}

/// A path that is made while the leaves go by, so that a log of any length takes no memory.
#[derive(Clone, Debug)]
pub struct Path {
    /// In the path's order; disjoint.
    subtrees: Vec<(Range<u64>, Frontier)>,
    next: u64,
}

impl Path {
    #[must_use]
    pub fn over(ranges: Vec<Range<u64>>) -> Path {
        Path { subtrees: ranges.into_iter().map(|range| (range, Frontier::default())).collect(), next: 0 }
    }

    /// The next leaf, from leaf 0 on.
    pub fn push(&mut self, leaf: TreeHash) {
        let at = self.next;
        self.next += 1;
        if let Some((_, subtree)) = self.subtrees.iter_mut().find(|(range, _)| range.contains(&at)) {
            subtree.push(leaf);
        }
    }

    /// The hashes; `None` while leaves are missing.
    #[must_use]
    pub fn hashes(&self) -> Option<Vec<TreeHash>> {
        let whole = |(range, subtree): &(Range<u64>, Frontier)| {
            (subtree.size() == range.end - range.start).then(|| subtree.root())
        };
        self.subtrees.iter().map(whole).collect()
    }

    fn of(ranges: Vec<Range<u64>>, leaves: &[TreeHash]) -> Vec<TreeHash> {
        let subtree = |range: Range<u64>| root(&leaves[range.start as usize..range.end as usize]);
        ranges.into_iter().map(subtree).collect()
    }
}

/// The root of the tree of `size` leaves in which `leaf` stands at `index`, if `path` shows it; `None` if the path has
/// another length than such a tree has.
#[must_use]
pub fn root_by_inclusion(leaf: TreeHash, index: u64, size: u64, path: &[TreeHash]) -> Option<TreeHash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

/// Whether `path` shows that the tree of (size, root) `old` is the beginning of `new`.
#[must_use]
pub fn is_consistent(old: (u64, TreeHash), new: (u64, TreeHash), path: &[TreeHash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 || old_size == new_size {
        let known =
            if old_size == 0 { old_root == super::merkle::empty_root() } else { old_root == new_root };
        return path.is_empty() && old_size <= new_size && known;
    }
    let own = old_size.is_power_of_two().then_some(&old_root);
    let mut hashes = own.into_iter().chain(path);
    let Some(first) = hashes.next().filter(|_| old_size < new_size) else { return false };
    let (mut at, mut last) = (old_size - 1, new_size - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in hashes {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old_hash == old_root && new_hash == new_root
}

/// Where a tree of two leaves or more is split: after the largest power of two below its length.
fn middle(tree: &Range<u64>) -> u64 {
    tree.start + (1 << (tree.end - tree.start - 1).ilog2())
}

fn root(leaves: &[TreeHash]) -> TreeHash {
    leaves.iter().copied().collect::<Frontier>().root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::merkle::leaf_hash;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    /// The leaves of Certificate Transparency's published test tree, whose heads `merkle.rs` is held against.
    fn published() -> Vec<TreeHash> {
        let leaves = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        leaves.iter().map(|leaf| leaf_hash(&HEXLOWER.decode(leaf.as_bytes()).unwrap())).collect()
    }

    fn hex(path: Option<Vec<TreeHash>>) -> Vec<String> {
        path.unwrap().iter().map(|hash| HEXLOWER.encode(hash)).collect()
    }

    #[test]
    fn paths_are_those_of_the_published_test_vectors() {
        let leaves = published();
        assert_eq!(
            hex(inclusion_path(&leaves, 0)),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
            ]
        );
        assert!(hex(consistency_path(&leaves[..1], 1)).is_empty());
        assert_eq!(
            hex(consistency_path(&leaves, 1)),
            hex(inclusion_path(&leaves, 0)),
            "the first leaf alone is its own tree"
        );
    }

    fn streamed(ranges: Option<Vec<Range<u64>>>, leaves: &[TreeHash]) -> Option<Vec<TreeHash>> {
        let mut path = Path::over(ranges.unwrap());
        leaves.iter().for_each(|leaf| path.push(*leaf));
        path.hashes()
    }

    #[test]
    fn ranges_of_the_largest_tree_are_found_without_its_leaves() {
        assert_eq!(inclusion_ranges(0, u64::MAX).unwrap().len(), 64);
        assert_eq!(consistency_ranges(u64::MAX, u64::MAX), Some(vec![]));
        assert!(consistency_ranges(u64::MAX - 1, u64::MAX).is_some());
    }

    #[test]
    fn a_path_is_whole_only_once_all_its_leaves_went_by() {
        let leaves = published();
        assert_eq!(streamed(inclusion_ranges(2, 8), &leaves[..7]), None);
        assert_eq!(streamed(inclusion_ranges(2, 8), &leaves), inclusion_path(&leaves, 2));
    }

    proptest! {
        #[test]
        fn a_path_made_while_the_leaves_go_by_is_the_same(
            leaves in prop::collection::vec(any::<[u8; 32]>(), 1..70), at in any::<prop::sample::Index>(),
        ) {
            let (at, size) = (at.index(leaves.len()), leaves.len() as u64);
            let inclusion = streamed(inclusion_ranges(at as u64, size), &leaves);
            prop_assert_eq!(inclusion, inclusion_path(&leaves, at));
            let growth = streamed(consistency_ranges(at as u64, size), &leaves);
            prop_assert_eq!(growth, consistency_path(&leaves, at));
        }

        #[test]
        fn a_path_shows_its_leaf_and_no_other(
            leaves in prop::collection::vec(any::<[u8; 32]>(), 1..70),
            index in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(), flipped in 0u8..=255,
        ) {
            let (index, size) = (index.index(leaves.len()), leaves.len() as u64);
            let path = inclusion_path(&leaves, index).unwrap();
            let shown = |leaf, at: usize, path: &[TreeHash]| root_by_inclusion(leaf, at as u64, size, path);
            let head = root(&leaves);
            prop_assert_eq!(shown(leaves[index], index, &path), Some(head));
            let other = other.index(leaves.len());
            prop_assert!(other == index || shown(leaves[index], other, &path) != Some(head));
            let mut changed = leaves[index];
            changed[usize::from(flipped) % 32] ^= 1;
            prop_assert_ne!(shown(changed, index, &path), Some(head));
            let longer: Vec<_> = path.iter().copied().chain([[0; 32]]).collect();
            prop_assert_ne!(shown(leaves[index], index, &longer), Some(head));
            prop_assert!(path.is_empty() || shown(leaves[index], index, &path[1..]) != Some(head));
        }

        #[test]
        fn a_tree_is_consistent_with_its_beginning_and_with_no_other(
            leaves in prop::collection::vec(any::<[u8; 32]>(), 1..70),
            old in any::<prop::sample::Index>(), changed in any::<prop::sample::Index>(),
        ) {
            let old = old.index(leaves.len() + 1);
            let path = consistency_path(&leaves, old).unwrap();
            let (before, now) = ((old as u64, root(&leaves[..old])), (leaves.len() as u64, root(&leaves)));
            prop_assert!(is_consistent(before, now, &path));
            if old > 0 {
                let mut rewritten = leaves[..old].to_vec();
                rewritten[changed.index(old)][0] ^= 1;
                prop_assert!(!is_consistent((before.0, root(&rewritten)), now, &path));
                let mut rewritten = leaves.clone();
                rewritten[changed.index(old)][0] ^= 1;
                let rewritten_path = consistency_path(&rewritten, old).unwrap();
                prop_assert!(!is_consistent(before, (now.0, root(&rewritten)), &rewritten_path));
            }
        }

        #[test]
        fn no_path_panics_the_checks(
            sizes: (u64, u64), index: u64, hashes: ([u8; 32], [u8; 32]), path: Vec<[u8; 32]>,
        ) {
            let _ = root_by_inclusion(hashes.0, index, sizes.1, &path);
            let _ = is_consistent((sizes.0, hashes.0), (sizes.1, hashes.1), &path);
        }
    }

    #[test]
    fn what_is_not_there_has_no_path() {
        assert_eq!(inclusion_path(&published(), 8), None);
        assert_eq!(consistency_path(&published(), 9), None);
    }
}
