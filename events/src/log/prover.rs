//! Makes a proof while a log's entries go by, from the first on: a log of any length takes no memory.

use super::checkpoint::Checkpoint;
use super::leaf::{entry_leaf, item_with_path};
use super::merkle::{Frontier, TreeHash, leaf_hash};
use super::proof::{Path, consistency_ranges, inclusion_ranges};
use super::proof_file::{EntryProof, ProofFile};
use super::record::EntryBody;
use crate::batch::{BatchError, access, split_stamp};
use crate::ids::LogIndex;

/// What is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Entry(LogIndex),
    /// One item of the entry's batch.
    Item(LogIndex, u32),
    /// That the log only grew since it had so many entries.
    Growth(u64),
}

/// Why there is no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProverError {
    #[error("the checkpoint covers {size} entries, and entry {index} is not among them")]
    NotCovered { index: LogIndex, size: u64 },
    #[error("the older checkpoint is of {old} entries, the newer one of {size}")]
    NotOlder { old: u64, size: u64 },
    #[error("entry {got} came where entry {expected} belongs")]
    OutOfOrder { expected: LogIndex, got: LogIndex },
    #[error("entry {index}: {source}")]
    Entry { index: LogIndex, source: BatchError },
    #[error("entry {index} has no item {number}: it carries {count}")]
    NoItem { index: LogIndex, number: u32, count: usize },
    #[error("the log ends after {got} entries, the checkpoint is of {size}")]
    TooShort { got: u64, size: u64 },
    #[error("these entries are not those that the checkpoint covers: their root is another")]
    OtherRoot,
}

/// An item's bytes, and what shows it under its batch's root.
type ItemWithPath = (Vec<u8>, Vec<TreeHash>);

/// A proof that is being made.
pub struct Prover {
    ask: Ask,
    head: Checkpoint,
    path: Path,
    tree: Frontier,
    leaf: Vec<u8>,
    item: ItemWithPath,
}

impl Prover {
    /// Of a log whose head `head` is.
    pub fn new(ask: Ask, head: Checkpoint) -> Result<Prover, ProverError> {
        let size = head.size;
        let ranges = match ask {
            Ask::Entry(index) | Ask::Item(index, _) => {
                inclusion_ranges(index, size).ok_or(ProverError::NotCovered { index, size })?
            }
            Ask::Growth(old) => consistency_ranges(old, size).ok_or(ProverError::NotOlder { old, size })?,
        };
        let (path, tree) = (Path::over(ranges), Frontier::default());
        Ok(Prover { ask, head, path, tree, leaf: Vec::new(), item: Default::default() })
    }

    /// How many entries it saw.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.tree.size()
    }

    /// The next entry. True once it needs no more of them.
    pub fn push<B: AsRef<[u8]>>(
        &mut self,
        term: u64,
        index: LogIndex,
        body: &EntryBody<B>,
    ) -> Result<bool, ProverError> {
        let expected = self.tree.size();
        if expected == self.head.size {
            return Ok(true);
        }
        if index != expected {
            return Err(ProverError::OutOfOrder { expected, got: index });
        }
        let unreadable = |source| ProverError::Entry { index, source };
        let leaf = entry_leaf(term, body).map_err(unreadable)?;
        let hash = leaf_hash(&leaf);
        self.path.push(hash);
        self.tree.push(hash);
        match self.ask {
            Ask::Entry(asked) if asked == index => self.leaf = leaf,
            Ask::Item(asked, number) if asked == index => {
                self.leaf = leaf;
                self.item = item_of(body, number)
                    .map_err(unreadable)?
                    .map_err(|count| ProverError::NoItem { index, number, count })?;
            }
            Ask::Entry(_) | Ask::Item(..) | Ask::Growth(_) => {}
        }
        Ok(self.tree.size() == self.head.size)
    }

    /// The proof, with `note` as its checkpoint.
    pub fn finish(self, note: String) -> Result<ProofFile, ProverError> {
        let (got, size) = (self.tree.size(), self.head.size);
        let path = self.path.hashes().filter(|_| got == size).ok_or(ProverError::TooShort { got, size })?;
        if self.tree.root() != self.head.root {
            return Err(ProverError::OtherRoot);
        }
        let entry = |index| EntryProof { leaf: self.leaf, index, path: path.clone(), note: note.clone() };
        Ok(match self.ask {
            Ask::Entry(index) => ProofFile::Entry(entry(index)),
            Ask::Item(index, number) => {
                let (item, item_path) = self.item;
                ProofFile::Item { number, item, path: item_path, entry: entry(index) }
            }
            Ask::Growth(since) => ProofFile::Growth { since, path, note },
        })
    }
}

/// An item and its path; else how many items there are.
fn item_of<B: AsRef<[u8]>>(
    body: &EntryBody<B>,
    number: u32,
) -> Result<Result<ItemWithPath, usize>, BatchError> {
    let EntryBody::Batch(payload) = body else { return Ok(Err(0)) };
    let (_, bytes) = split_stamp(payload.as_ref())?;
    let batch = access(bytes)?;
    Ok(item_with_path(batch, number).ok_or(batch.events.len() + batch.heartbeats.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, BatchId, stamped};
    use crate::identity::key::SigningKey;
    use crate::ids::ClusterId;
    use crate::log::leaf::{Item, entry_leaf_hash};
    use crate::log::proof_file::{ProofError, Shown};
    use crate::time::Timestamp;
    use crate::vocabulary::{CheckpointSigned, Event, Tick};

    fn body(index: u64) -> EntryBody<Vec<u8>> {
        if index.is_multiple_of(3) {
            return EntryBody::Blank;
        }
        let mut batch = Batch::new(BatchId { node: 1, boot: 1, counter: index });
        batch.push(&Tick {}.into()).unwrap();
        batch.push(&event(index)).unwrap();
        EntryBody::Batch(stamped(Timestamp::from_millis(index), &batch.encode().unwrap()))
    }

    fn event(index: u64) -> Event {
        CheckpointSigned { generation: 1, size: index, root: [0; 32], signature: vec![] }.into()
    }

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[3; 48]).unwrap()
    }

    fn head(size: u64) -> Checkpoint {
        let leaves = (0..size).map(|index| entry_leaf_hash(1, &body(index)).unwrap());
        let root = leaves.collect::<Frontier>().root();
        Checkpoint { cluster: ClusterId::from_bytes([7; 16]), generation: Some(1), size, root }
    }

    fn prove(ask: Ask, head: Checkpoint, entries: u64) -> Result<ProofFile, ProverError> {
        let mut prover = Prover::new(ask, head)?;
        for index in 0..entries {
            if prover.push(1, index, &body(index))? {
                break;
            }
        }
        prover.finish(head.sign(&key()))
    }

    #[test]
    fn a_proof_survives_its_file_and_holds_with_the_public_key_alone() {
        let head = head(23);
        for ask in [Ask::Entry(0), Ask::Entry(22), Ask::Item(7, 0), Ask::Item(22, 1), Ask::Growth(11)] {
            let proof = prove(ask, head, 30).unwrap();
            let read = ProofFile::parse(&proof.write()).unwrap();
            assert_eq!(read, proof);
            let older = self::head(11);
            let shown = read.check(&key().public(), Some(&older)).unwrap();
            match (ask, shown) {
                (Ask::Entry(asked), Shown::Entry { index, head: of, .. }) => {
                    assert_eq!((index, of), (asked, head));
                }
                (Ask::Item(asked, number), Shown::Item { index, number: shown, item, .. }) => {
                    assert_eq!((index, shown), (asked, number));
                    let expected = if number == 0 { Tick {}.into() } else { event(asked) };
                    assert_eq!(item, Item::Event(Box::new(expected)));
                }
                (Ask::Growth(size), Shown::Growth { since, head: of }) => {
                    assert_eq!((since, of), (size, head));
                }
                (ask, shown) => panic!("{ask:?} shows {shown:?}"),
            }
            let stranger = SigningKey::from_bytes(&[4; 48]).unwrap();
            assert!(read.check(&stranger.public(), Some(&older)).is_err());
        }
    }

    #[test]
    fn every_changed_line_of_a_proof_breaks_it() {
        let older = head(11);
        for ask in [Ask::Entry(7), Ask::Item(7, 1), Ask::Growth(11)] {
            let text = prove(ask, head(23), 23).unwrap().write();
            for (at, byte) in text.bytes().enumerate() {
                let mut changed = text.clone().into_bytes();
                changed[at] = if byte == b'1' { b'2' } else { b'1' };
                let Ok(changed) = String::from_utf8(changed) else { continue };
                let shown =
                    ProofFile::parse(&changed).map(|proof| proof.check(&key().public(), Some(&older)));
                assert!(!matches!(shown, Some(Ok(_))), "byte {at} of\n{text}");
            }
        }
    }

    #[test]
    fn growth_is_shown_from_its_own_beginning_only() {
        let proof = prove(Ask::Growth(11), head(23), 23).unwrap();
        assert_eq!(proof.check(&key().public(), None), Err(ProofError::NoOlder));
        let other = Checkpoint { root: [9; 32], ..head(11) };
        assert_eq!(proof.check(&key().public(), Some(&other)), Err(ProofError::NotGrown));
        assert_eq!(proof.check(&key().public(), Some(&head(12))), Err(ProofError::NotGrown));
    }

    #[test]
    fn what_cannot_be_shown_is_refused_and_says_why() {
        let refused = |ask, head, entries| prove(ask, head, entries).unwrap_err();
        let not_covered = ProverError::NotCovered { index: 23, size: 23 };
        assert_eq!(refused(Ask::Entry(23), head(23), 30), not_covered);
        assert_eq!(refused(Ask::Growth(24), head(23), 30), ProverError::NotOlder { old: 24, size: 23 });
        assert_eq!(refused(Ask::Entry(2), head(23), 22), ProverError::TooShort { got: 22, size: 23 });
        let other = Checkpoint { root: [9; 32], ..head(23) };
        assert_eq!(refused(Ask::Entry(2), other, 23), ProverError::OtherRoot);
        let no_item = ProverError::NoItem { index: 7, number: 2, count: 2 };
        assert_eq!(refused(Ask::Item(7, 2), head(23), 23), no_item);
        let no_item = ProverError::NoItem { index: 6, number: 0, count: 0 };
        assert_eq!(refused(Ask::Item(6, 0), head(23), 23), no_item);
        let mut prover = Prover::new(Ask::Entry(2), head(23)).unwrap();
        let out_of_order = ProverError::OutOfOrder { expected: 0, got: 1 };
        assert_eq!(prover.push(1, 1, &body(1)), Err(out_of_order));
    }
}
