//! Merkle tree hashes of RFC 6962, section 2.1.
//!
//! SHA-256, because RFC 6962 fixes it and a C2SP checkpoint (tlog-checkpoint) names the root of exactly such a tree;
//! what is signed with P-384 is the checkpoint, not the tree. Leaf `i` of a log's tree is the raft entry of index `i`.

use sha2::{Digest, Sha256};

/// Bytes of a hash.
pub const TREE_HASH_BYTES: usize = 32;

pub type TreeHash = [u8; TREE_HASH_BYTES];

/// `MTH({}) = SHA-256()`.
#[must_use]
pub fn empty_root() -> TreeHash {
    Sha256::digest([]).into()
}

/// `MTH({d}) = SHA-256(0x00 ‖ d)`.
#[must_use]
pub fn leaf_hash(data: &[u8]) -> TreeHash {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}

/// `SHA-256(0x01 ‖ left ‖ right)`.
#[must_use]
pub fn node_hash(left: &TreeHash, right: &TreeHash) -> TreeHash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The growing right edge of a tree: all that is needed to append leaves and to know the root.
///
/// Invariant: one hash per set bit of `size`, of the perfect subtrees from the largest (left) to the smallest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<TreeHash>,
}

/// Bytes that are no frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed Merkle frontier")]
pub struct FrontierError;

impl Frontier {
    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn push(&mut self, leaf: TreeHash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.subtrees.push(hash);
        self.size += 1;
    }

    #[must_use]
    pub fn root(&self) -> TreeHash {
        let mut from_right = self.subtrees.iter().rev();
        let Some(smallest) = from_right.next() else { return empty_root() };
        from_right.fold(*smallest, |right, left| node_hash(left, &right))
    }

    /// `size u64 ‖ hashes`, from the largest subtree to the smallest.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.size.to_le_bytes().to_vec();
        bytes.extend(self.subtrees.iter().flatten());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Frontier, FrontierError> {
        let (size, hashes) = bytes.split_first_chunk::<8>().ok_or(FrontierError)?;
        let size = u64::from_le_bytes(*size);
        let (subtrees, rest) = hashes.as_chunks::<TREE_HASH_BYTES>();
        if !rest.is_empty() || subtrees.len() != size.count_ones() as usize {
            return Err(FrontierError);
        }
        Ok(Frontier { size, subtrees: subtrees.to_vec() })
    }
}

impl FromIterator<TreeHash> for Frontier {
    fn from_iter<I: IntoIterator<Item = TreeHash>>(leaves: I) -> Self {
        let mut frontier = Frontier::default();
        leaves.into_iter().for_each(|leaf| frontier.push(leaf));
        frontier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    /// The definition of RFC 6962, section 2.1, word for word: the reference that the frontier is held against.
    fn root_by_definition(leaves: &[TreeHash]) -> TreeHash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                let (left, right) = leaves.split_at(split);
                node_hash(&root_by_definition(left), &root_by_definition(right))
            }
        }
    }

    #[test]
    fn roots_are_those_of_the_published_test_vectors() {
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
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::default();
        assert_eq!(
            HEXLOWER.encode(&frontier.root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (leaf, root) in leaves.iter().zip(roots) {
            frontier.push(leaf_hash(&HEXLOWER.decode(leaf.as_bytes()).unwrap()));
            assert_eq!(HEXLOWER.encode(&frontier.root()), root, "at size {}", frontier.size());
        }
    }

    proptest! {
        #[test]
        fn the_frontier_agrees_with_the_definition(leaves: Vec<[u8; 32]>) {
            let frontier: Frontier = leaves.iter().copied().collect();
            prop_assert_eq!(frontier.size(), leaves.len() as u64);
            prop_assert_eq!(frontier.root(), root_by_definition(&leaves));
        }

        #[test]
        fn a_frontier_survives_its_bytes_and_grows_on(before: Vec<[u8; 32]>, leaf: [u8; 32]) {
            let mut frontier: Frontier = before.into_iter().collect();
            let mut read = Frontier::decode(&frontier.encode()).unwrap();
            frontier.push(leaf);
            read.push(leaf);
            prop_assert_eq!(read, frontier);
        }

        #[test]
        fn no_bytes_panic_the_reader(bytes: Vec<u8>) {
            let _ = Frontier::decode(&bytes).map(|frontier| frontier.root());
        }
    }

    #[test]
    fn a_frontier_with_a_hash_too_few_is_refused() {
        let frontier: Frontier = [[1; 32], [2; 32], [3; 32]].into_iter().collect();
        let bytes = frontier.encode();
        assert_eq!(Frontier::decode(&bytes[..bytes.len() - 32]), Err(FrontierError));
    }
}
