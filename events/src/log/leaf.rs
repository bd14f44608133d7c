//! What a committed raft entry looks like as a leaf of the log's Merkle tree ([`super::merkle`]).
//!
//! ```text
//! blank        0x00 ‖ term
//! batch        0x01 ‖ term ‖ stamp ‖ node ‖ boot ‖ counter ‖ events u32 ‖ heartbeats u32 ‖ root of the items
//! membership   0x02 ‖ term ‖ SHA-256 of its bytes
//!
//! items of a batch, in order, each a leaf of the batch's own tree:
//! event        0x00 ‖ kind u16 ‖ its bytes
//! heartbeat    0x01 ‖ slot u32 ‖ epoch_low u16 ‖ sequence u32 ‖ digest u32 ‖ seen_low u32 ‖ unacked ‖ condition
//! ```
//!
//! Term, stamp, node, boot and counter are u64. The index is not in the leaf: it is the leaf's place in the tree. The
//! leaf of a batch holds the root over its items, so a proof about one item shows that item and hashes of the others.

use super::merkle::{Frontier, TreeHash, leaf_hash};
use super::proof::{Path, inclusion_ranges, root_by_inclusion};
use super::record::EntryBody;
use crate::batch::{ArchivedBatch, BatchError, BatchId, HeartbeatRow, access, split_stamp};
use crate::time::Timestamp;
use crate::vocabulary::{Event, EventError};
use sha2::{Digest, Sha256};

const ITEM_EVENT: u8 = 0;
const ITEM_HEARTBEAT: u8 = 1;
const HEARTBEAT_ITEM_BYTES: usize = 21;
const BATCH_FORM: u8 = 1;

/// The leaf hash of a committed entry.
pub fn entry_leaf_hash<B: AsRef<[u8]>>(term: u64, body: &EntryBody<B>) -> Result<TreeHash, BatchError> {
    Ok(leaf_hash(&entry_leaf(term, body)?))
}

/// The leaf bytes of a committed entry.
pub fn entry_leaf<B: AsRef<[u8]>>(term: u64, body: &EntryBody<B>) -> Result<Vec<u8>, BatchError> {
    let mut leaf = vec![body.form()];
    leaf.extend_from_slice(&term.to_le_bytes());
    match body {
        EntryBody::Blank => {}
        EntryBody::Membership(bytes) => leaf.extend_from_slice(&Sha256::digest(bytes.as_ref())),
        EntryBody::Batch(payload) => {
            let (stamp, batch) = split_stamp(payload.as_ref())?;
            let batch = access(batch)?;
            let id = batch.batch_id();
            for number in [stamp.as_millis(), id.node, id.boot, id.counter] {
                leaf.extend_from_slice(&number.to_le_bytes());
            }
            for count in [batch.events.len() as u32, batch.heartbeats.len() as u32] {
                leaf.extend_from_slice(&count.to_le_bytes());
            }
            leaf.extend_from_slice(&batch_root(batch));
        }
    }
    Ok(leaf)
}

/// The root over a batch's items.
#[must_use]
pub fn batch_root(batch: &ArchivedBatch) -> TreeHash {
    let mut items = Frontier::default();
    item_hashes(batch, |hash| items.push(hash));
    items.root()
}

/// One item of a batch as bytes, and the path that shows it under the batch's root; none if there is no such item.
#[must_use]
pub fn item_with_path(batch: &ArchivedBatch, number: u32) -> Option<(Vec<u8>, Vec<TreeHash>)> {
    let at = number as usize;
    let item = match batch.events.get(at) {
        Some(event) => event_item(event.kind.to_native(), &event.bytes),
        None => heartbeat_item(batch.heartbeats.rows().nth(at - batch.events.len())?).to_vec(),
    };
    let count = batch.events.len() + batch.heartbeats.len();
    let mut path = Path::over(inclusion_ranges(u64::from(number), count as u64)?);
    item_hashes(batch, |hash| path.push(hash));
    Some((item, path.hashes()?))
}

fn item_hashes(batch: &ArchivedBatch, mut take: impl FnMut(TreeHash)) {
    for event in batch.events.iter() {
        take(leaf_hash(&event_item(event.kind.to_native(), &event.bytes)));
    }
    for row in batch.heartbeats.rows() {
        take(leaf_hash(&heartbeat_item(row)));
    }
}

fn event_item(kind: u16, bytes: &[u8]) -> Vec<u8> {
    let mut item = Vec::with_capacity(3 + bytes.len());
    item.push(ITEM_EVENT);
    item.extend_from_slice(&kind.to_le_bytes());
    item.extend_from_slice(bytes);
    item
}

fn heartbeat_item(row: HeartbeatRow) -> [u8; HEARTBEAT_ITEM_BYTES] {
    let mut item = [ITEM_HEARTBEAT; HEARTBEAT_ITEM_BYTES];
    item[1..5].copy_from_slice(&row.slot.to_le_bytes());
    item[5..7].copy_from_slice(&row.epoch_low.to_le_bytes());
    item[7..11].copy_from_slice(&row.sequence.to_le_bytes());
    item[11..15].copy_from_slice(&row.digest.to_le_bytes());
    item[15..19].copy_from_slice(&row.seen_low.to_le_bytes());
    item[19] = row.unacked;
    item[20] = row.condition;
    item
}

/// What the leaf of a batch says, read back from a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLeaf {
    pub term: u64,
    pub stamp: Timestamp,
    pub id: BatchId,
    pub events: u32,
    pub heartbeats: u32,
    pub root: TreeHash,
}

/// An item of a batch, read back from a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Event(Box<Event>),
    Heartbeat(HeartbeatRow),
}

/// Why bytes are no item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    #[error("these bytes are neither an event nor a heartbeat")]
    Malformed,
    #[error(transparent)]
    Event(#[from] EventError),
}

impl BatchLeaf {
    /// `None` if these bytes are no batch's leaf.
    #[must_use]
    pub fn parse(leaf: &[u8]) -> Option<BatchLeaf> {
        let (form, rest) = leaf.split_first()?;
        let (numbers, root) = rest.split_last_chunk::<32>()?;
        if *form != BATCH_FORM || numbers.len() != 48 {
            return None;
        }
        let wide = |at: usize| numbers[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let narrow = |at: usize| numbers[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        Some(BatchLeaf {
            term: wide(0)?,
            stamp: Timestamp::from_millis(wide(8)?),
            id: BatchId { node: wide(16)?, boot: wide(24)?, counter: wide(32)? },
            events: narrow(40)?,
            heartbeats: narrow(44)?,
            root: *root,
        })
    }

    /// Whether `path` shows that `item` is this batch's item of that number.
    #[must_use]
    pub fn holds(&self, item: &[u8], number: u32, path: &[TreeHash]) -> bool {
        let count = u64::from(self.events) + u64::from(self.heartbeats);
        root_by_inclusion(leaf_hash(item), u64::from(number), count, path) == Some(self.root)
    }
}

impl Item {
    pub fn parse(bytes: &[u8]) -> Result<Item, ItemError> {
        match bytes {
            [ITEM_EVENT, low, high, event @ ..] => {
                Ok(Item::Event(Box::new(Event::decode(u16::from_le_bytes([*low, *high]), event)?)))
            }
            [ITEM_HEARTBEAT, row @ ..] if bytes.len() == HEARTBEAT_ITEM_BYTES => {
                let number = |at: usize| row[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
                let row = || {
                    Some(HeartbeatRow {
                        slot: number(0)?,
                        epoch_low: u16::from_le_bytes([row[4], row[5]]),
                        sequence: number(6)?,
                        digest: number(10)?,
                        seen_low: number(14)?,
                        unacked: row[18],
                        condition: row[19],
                    })
                };
                row().map(Item::Heartbeat).ok_or(ItemError::Malformed)
            }
            _ => Err(ItemError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, EncodedEvent, stamped};
    use crate::log::merkle::node_hash;
    use crate::vocabulary::CheckpointSigned;
    use data_encoding::HEXLOWER;

    fn a_batch() -> Batch {
        let mut batch = Batch::new(BatchId { node: 1, boot: 2, counter: 3 });
        batch.events.push(EncodedEvent { kind: 0x0102, bytes: vec![0xaa, 0xbb] });
        batch.heartbeats.push(row());
        batch
    }

    fn row() -> HeartbeatRow {
        HeartbeatRow { slot: 4, epoch_low: 5, sequence: 6, digest: 7, seen_low: 8, unacked: 9, condition: 10 }
    }

    fn payload(batch: &Batch) -> Vec<u8> {
        stamped(Timestamp::from_millis(99), &batch.encode().unwrap())
    }

    #[test]
    fn the_leaf_of_a_batch_is_made_as_the_format_says() {
        let event = leaf_hash(&HEXLOWER.decode(b"000201aabb").unwrap());
        let row = leaf_hash(&HEXLOWER.decode(b"01040000000500060000000700000008000000090a").unwrap());
        let mut expected = vec![1];
        for number in [77u64, 99, 1, 2, 3] {
            expected.extend_from_slice(&number.to_le_bytes());
        }
        expected.extend_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0]);
        expected.extend_from_slice(&node_hash(&event, &row));
        assert_eq!(entry_leaf(77, &EntryBody::Batch(payload(&a_batch()))), Ok(expected));
    }

    #[test]
    fn blank_and_membership_entries_have_leaves_of_their_own() {
        assert_eq!(entry_leaf::<Vec<u8>>(1, &EntryBody::Blank).unwrap(), [0, 1, 0, 0, 0, 0, 0, 0, 0]);
        let membership = entry_leaf(1, &EntryBody::Membership(b"abc".to_vec())).unwrap();
        assert_eq!(
            HEXLOWER.encode(&membership),
            "020100000000000000ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn whatever_changes_in_an_entry_changes_its_leaf() {
        let leaf = |term, batch: &Batch| entry_leaf_hash(term, &EntryBody::Batch(payload(batch))).unwrap();
        let original = leaf(1, &a_batch());
        assert_ne!(original, leaf(2, &a_batch()));
        let mut other = a_batch();
        other.events[0].bytes[1] ^= 1;
        assert_ne!(original, leaf(1, &other));
        let mut other = a_batch();
        other.heartbeats.condition[0] ^= 1;
        assert_ne!(original, leaf(1, &other));
    }

    #[test]
    fn a_proof_of_one_item_shows_that_item_and_hashes_of_the_others() {
        let mut batch = a_batch();
        let event: Event =
            CheckpointSigned { generation: 1, size: 2, root: [3; 32], signature: vec![] }.into();
        batch.push(&event).unwrap();
        (11..20).for_each(|slot| batch.heartbeats.push(HeartbeatRow { slot, ..row() }));
        let payload = payload(&batch);
        let leaf = BatchLeaf::parse(&entry_leaf(77, &EntryBody::Batch(payload.clone())).unwrap()).unwrap();
        assert_eq!((leaf.term, leaf.stamp.as_millis(), leaf.id), (77, 99, batch.id));
        assert_eq!((leaf.events, leaf.heartbeats), (2, 10));
        let archived = access(split_stamp(&payload).unwrap().1).unwrap();
        for number in 0..12 {
            let (item, path) = item_with_path(archived, number).unwrap();
            assert!(leaf.holds(&item, number, &path), "item {number}");
            assert!(!leaf.holds(&item, (number + 1) % 12, &path), "item {number} elsewhere");
            let mut other = item.clone();
            *other.last_mut().unwrap() ^= 1;
            assert!(!leaf.holds(&other, number, &path), "item {number}, changed");
        }
        assert_eq!(item_with_path(archived, 12), None);
        assert_eq!(Item::parse(&item_with_path(archived, 1).unwrap().0), Ok(Item::Event(Box::new(event))));
        let row = Item::Heartbeat(HeartbeatRow { slot: 19, ..row() });
        assert_eq!(Item::parse(&item_with_path(archived, 11).unwrap().0), Ok(row));
        assert!(Item::parse(&item_with_path(archived, 0).unwrap().0).is_err(), "its kind is unknown");
        assert_eq!(Item::parse(&[1, 2, 3]), Err(ItemError::Malformed));
        assert_eq!(BatchLeaf::parse(&[1; 60]), None);
    }

    #[test]
    fn bytes_that_are_no_batch_have_no_leaf() {
        assert!(entry_leaf_hash(1, &EntryBody::Batch(vec![0; 30])).is_err());
    }
}
