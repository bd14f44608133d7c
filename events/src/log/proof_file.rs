//! Proofs as text, for somebody who trusts the checkpoint key alone.
//!
//! A proof of an entry is a C2SP tlog-proof; its `extra` is the entry's leaf ([`super::leaf`]). Before it may stand what
//! shows one item of that entry's batch, and nothing of the others but hashes. A proof of growth is written alike.
//!
//! ```text
//! muster/log-item@v1                     c2sp.org/tlog-proof@v1              muster/log-growth@v1
//! item <number> <the item, base64>       extra <the leaf, base64>            since <size of the older checkpoint>
//! <hashes, base64, one a line>           index <index>                       <hashes, base64, one a line>
//!                                        <hashes, base64, one a line>
//! <proof of the entry>                                                       <the newer checkpoint>
//!                                        <checkpoint>
//! ```

use super::checkpoint::{Checkpoint, CheckpointError};
use super::leaf::{BatchLeaf, Item, ItemError};
use super::merkle::{TreeHash, leaf_hash};
use super::proof::{is_consistent, root_by_inclusion};
use crate::identity::key::PublicKey;
use crate::ids::LogIndex;
use data_encoding::BASE64;

const ENTRY: &str = "c2sp.org/tlog-proof@v1";
const ITEM: &str = "muster/log-item@v1";
const GROWTH: &str = "muster/log-growth@v1";

/// A proof, as its file holds it; nothing of it is believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofFile {
    Entry(EntryProof),
    Item { number: u32, item: Vec<u8>, path: Vec<TreeHash>, entry: EntryProof },
    Growth { since: u64, path: Vec<TreeHash>, note: String },
}

/// That a leaf stands at an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryProof {
    pub leaf: Vec<u8>,
    pub index: LogIndex,
    pub path: Vec<TreeHash>,
    pub note: String,
}

/// What a proof shows. `head` is the checkpoint that it was held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    Entry { index: LogIndex, batch: Option<BatchLeaf>, head: Checkpoint },
    Item { index: LogIndex, number: u32, item: Item, batch: BatchLeaf, head: Checkpoint },
    Growth { since: u64, head: Checkpoint },
}

/// Why a proof shows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("it is malformed")]
    Malformed,
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("this leaf does not stand at this index")]
    NotInTheLog,
    #[error("this item is not in the batch of that entry")]
    NotInTheBatch,
    #[error("the item is in the log, and cannot be read: {0}")]
    Item(#[from] ItemError),
    #[error("it is a proof of growth: give the older checkpoint")]
    NoOlder,
    #[error("the log is not the one of the older checkpoint, grown")]
    NotGrown,
}

impl ProofFile {
    /// The file's text.
    #[must_use]
    pub fn write(&self) -> String {
        match self {
            ProofFile::Entry(entry) => entry.write(),
            ProofFile::Item { number, item, path, entry } => {
                let item = BASE64.encode(item);
                format!("{ITEM}\nitem {number} {item}\n{}\n{}", lines(path), entry.write())
            }
            ProofFile::Growth { since, path, note } => {
                format!("{GROWTH}\nsince {since}\n{}\n{note}", lines(path))
            }
        }
    }

    /// `None` if the text is no proof, which a checkpoint alone is not either.
    #[must_use]
    pub fn parse(text: &str) -> Option<ProofFile> {
        let (head, rest) = text.split_once("\n\n")?;
        let mut head = head.lines();
        match head.next()? {
            ENTRY => EntryProof::parse(text).map(ProofFile::Entry),
            ITEM => {
                let (number, item) = head.next()?.strip_prefix("item ")?.split_once(' ')?;
                Some(ProofFile::Item {
                    number: number.parse().ok()?,
                    item: BASE64.decode(item.as_bytes()).ok()?,
                    path: hashes(head)?,
                    entry: EntryProof::parse(rest)?,
                })
            }
            GROWTH => {
                let since = head.next()?.strip_prefix("since ")?.parse().ok()?;
                Some(ProofFile::Growth { since, path: hashes(head)?, note: rest.to_owned() })
            }
            _ => None,
        }
    }

    /// Believes the proof, or says why not. `older` is what growth is held against.
    pub fn check(&self, key: &PublicKey, older: Option<&Checkpoint>) -> Result<Shown, ProofError> {
        match self {
            ProofFile::Entry(entry) => {
                let (batch, head) = entry.check(key)?;
                Ok(Shown::Entry { index: entry.index, batch, head })
            }
            ProofFile::Item { number, item, path, entry } => {
                let (batch, head) = entry.check(key)?;
                let batch = batch.filter(|batch| batch.holds(item, *number, path));
                let batch = batch.ok_or(ProofError::NotInTheBatch)?;
                let item = Item::parse(item)?;
                Ok(Shown::Item { index: entry.index, number: *number, item, batch, head })
            }
            ProofFile::Growth { since, path, note } => {
                let head = Checkpoint::open(note, key)?;
                let old = older.ok_or(ProofError::NoOlder)?;
                let of_one = old.cluster == head.cluster && old.size == *since;
                if !of_one || !is_consistent((old.size, old.root), (head.size, head.root), path) {
                    return Err(ProofError::NotGrown);
                }
                Ok(Shown::Growth { since: *since, head })
            }
        }
    }
}

impl EntryProof {
    fn write(&self) -> String {
        let leaf = BASE64.encode(&self.leaf);
        format!("{ENTRY}\nextra {leaf}\nindex {}\n{}\n{}", self.index, lines(&self.path), self.note)
    }

    fn parse(text: &str) -> Option<EntryProof> {
        let (head, note) = text.split_once("\n\n")?;
        let mut head = head.strip_prefix(ENTRY)?.strip_prefix('\n')?.lines();
        Some(EntryProof {
            leaf: BASE64.decode(head.next()?.strip_prefix("extra ")?.as_bytes()).ok()?,
            index: head.next()?.strip_prefix("index ")?.parse().ok()?,
            path: hashes(head)?,
            note: note.to_owned(),
        })
    }

    fn check(&self, key: &PublicKey) -> Result<(Option<BatchLeaf>, Checkpoint), ProofError> {
        let head = Checkpoint::open(&self.note, key)?;
        let root = root_by_inclusion(leaf_hash(&self.leaf), self.index, head.size, &self.path);
        if root != Some(head.root) {
            return Err(ProofError::NotInTheLog);
        }
        Ok((BatchLeaf::parse(&self.leaf), head))
    }
}

fn lines(path: &[TreeHash]) -> String {
    path.iter().map(|hash| BASE64.encode(hash) + "\n").collect()
}

fn hashes(lines: std::str::Lines<'_>) -> Option<Vec<TreeHash>> {
    lines.map(|line| BASE64.decode(line.as_bytes()).ok()?.try_into().ok()).collect()
}
