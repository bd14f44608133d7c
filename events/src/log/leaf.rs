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
use super::record::EntryBody;
use crate::batch::{ArchivedBatch, BatchError, HeartbeatRow, access, split_stamp};
use sha2::{Digest, Sha256};

const ITEM_EVENT: u8 = 0;
const ITEM_HEARTBEAT: u8 = 1;

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
    let mut item = Vec::new();
    let mut items = Frontier::default();
    for event in batch.events.iter() {
        item.clear();
        item.push(ITEM_EVENT);
        item.extend_from_slice(&event.kind.to_native().to_le_bytes());
        item.extend_from_slice(&event.bytes);
        items.push(leaf_hash(&item));
    }
    for row in batch.heartbeats.rows() {
        items.push(leaf_hash(&heartbeat_item(row)));
    }
    items.root()
}

fn heartbeat_item(row: HeartbeatRow) -> [u8; 21] {
    let mut item = [ITEM_HEARTBEAT; 21];
    item[1..5].copy_from_slice(&row.slot.to_le_bytes());
    item[5..7].copy_from_slice(&row.epoch_low.to_le_bytes());
    item[7..11].copy_from_slice(&row.sequence.to_le_bytes());
    item[11..15].copy_from_slice(&row.digest.to_le_bytes());
    item[15..19].copy_from_slice(&row.seen_low.to_le_bytes());
    item[19] = row.unacked;
    item[20] = row.condition;
    item
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, BatchId, EncodedEvent, stamped};
    use crate::log::merkle::node_hash;
    use crate::time::Timestamp;
    use data_encoding::HEXLOWER;

    fn a_batch() -> Batch {
        let mut batch = Batch::new(BatchId { node: 1, boot: 2, counter: 3 });
        batch.events.push(EncodedEvent { kind: 0x0102, bytes: vec![0xaa, 0xbb] });
        batch.heartbeats.push(HeartbeatRow {
            slot: 4,
            epoch_low: 5,
            sequence: 6,
            digest: 7,
            seen_low: 8,
            unacked: 9,
            condition: 10,
        });
        batch
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
    fn bytes_that_are_no_batch_have_no_leaf() {
        assert!(entry_leaf_hash(1, &EntryBody::Batch(vec![0; 30])).is_err());
    }
}
