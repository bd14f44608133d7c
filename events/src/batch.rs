//! What one raft entry carries: events, and routine heartbeats in columns.
//!
//! ```text
//! payload = stamp u64 LE ‖ batch            the leader stamps; the batch's bytes stay as the ingress node made them
//! batch   = rkyv(Batch)                     little endian, unaligned: validated once at entry, read in place after
//! ```
//!
//! A batch names its maker by (node, boot, counter); the fold drops one that comes twice.

use crate::ids::{NodeId, Sequence, Slot};
use crate::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, BATCH_HEARTBEATS_MAX};
use crate::time::Timestamp;
use crate::vocabulary::{Event, EventError};
use rkyv::{Archive, Archived, Deserialize, Serialize};

/// Who made a batch, and which of its batches it is.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    serde::Serialize,
    serde::Deserialize,
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
pub struct BatchId {
    pub node: NodeId,
    /// Random at each start of the node's process.
    pub boot: u64,
    /// Counts up from 1 within a boot.
    pub counter: u64,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub id: BatchId,
    pub events: Vec<EncodedEvent>,
    pub heartbeats: HeartbeatColumns,
}

/// An event as stored: kind and rkyv bytes.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct EncodedEvent {
    pub kind: u16,
    pub bytes: Vec<u8>,
}

impl EncodedEvent {
    pub fn of(event: &Event) -> Result<Self, EventError> {
        Ok(EncodedEvent { kind: event.kind(), bytes: event.encode()? })
    }
}

/// Routine heartbeats, one column per field, all of one length: 20 bytes each.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct HeartbeatColumns {
    pub slot: Vec<u32>,
    /// Low 16 bits of the epoch. Routine means current epoch; the fold refuses a row whose low bits differ.
    pub epoch_low: Vec<u16>,
    pub sequence: Vec<u32>,
    /// First 4 bytes of SHA-384 of the sealed message.
    pub digest: Vec<u32>,
    /// Low 32 bits of `seen`.
    pub seen_low: Vec<u32>,
    /// `sequence - acked`, at most 255.
    pub unacked: Vec<u8>,
    pub condition: Vec<u8>,
}

/// One row of [`HeartbeatColumns`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatRow {
    pub slot: Slot,
    pub epoch_low: u16,
    pub sequence: Sequence,
    pub digest: u32,
    pub seen_low: u32,
    pub unacked: u8,
    pub condition: u8,
}

/// Why bytes are no batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("a batch of {got} bytes is larger than the {max} allowed")]
    TooLarge { got: usize, max: usize },
    #[error("{got} {what} in one batch are more than the {max} allowed")]
    TooMany { what: &'static str, got: usize, max: usize },
    #[error("heartbeat columns differ in length")]
    Ragged,
    #[error("the payload is shorter than its stamp")]
    NoStamp,
    #[error("malformed batch: {0}")]
    Malformed(String),
    #[error(transparent)]
    Event(#[from] EventError),
}

impl HeartbeatColumns {
    #[must_use]
    pub fn len(&self) -> usize {
        self.slot.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slot.is_empty()
    }

    pub fn push(&mut self, row: HeartbeatRow) {
        self.slot.push(row.slot);
        self.epoch_low.push(row.epoch_low);
        self.sequence.push(row.sequence);
        self.digest.push(row.digest);
        self.seen_low.push(row.seen_low);
        self.unacked.push(row.unacked);
        self.condition.push(row.condition);
    }
}

impl ArchivedHeartbeatColumns {
    #[must_use]
    pub fn len(&self) -> usize {
        self.slot.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slot.is_empty()
    }

    fn is_ragged(&self) -> bool {
        let n = self.len();
        let same = [self.epoch_low.len(), self.sequence.len(), self.digest.len(), self.seen_low.len()];
        same.iter().any(|&len| len != n) || self.unacked.len() != n || self.condition.len() != n
    }

    /// All rows in order, read in place.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = HeartbeatRow> + '_ {
        self.part(0, self.len()).rows()
    }

    /// The rows in parts of `length`, in order; the last may be shorter.
    pub fn parts(&self, length: usize) -> impl ExactSizeIterator<Item = Rows<'_>> + '_ {
        (0..self.len()).step_by(length.max(1)).map(move |first| self.part(first, length))
    }

    fn part(&self, first: usize, length: usize) -> Rows<'_> {
        let end = self.len().min(first + length);
        Rows {
            slot: &self.slot[first..end],
            epoch_low: &self.epoch_low[first..end],
            sequence: &self.sequence[first..end],
            digest: &self.digest[first..end],
            seen_low: &self.seen_low[first..end],
            unacked: &self.unacked[first..end],
            condition: &self.condition[first..end],
        }
    }
}

/// Some rows of a batch, read in place. Invariant: all columns are of one length.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    slot: &'a [Archived<u32>],
    epoch_low: &'a [Archived<u16>],
    sequence: &'a [Archived<u32>],
    digest: &'a [Archived<u32>],
    seen_low: &'a [Archived<u32>],
    unacked: &'a [u8],
    condition: &'a [u8],
}

impl<'a> Rows<'a> {
    pub fn slots(&self) -> impl ExactSizeIterator<Item = Slot> + use<'a> {
        self.slot.iter().map(|slot| slot.to_native())
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = HeartbeatRow> + use<'a> {
        let Rows { slot, epoch_low, sequence, digest, seen_low, unacked, condition } = *self;
        // So that one check at the end of each column is enough for all of its rows.
        let n = slot.len();
        let (epoch_low, sequence, digest) = (&epoch_low[..n], &sequence[..n], &digest[..n]);
        let (seen_low, unacked, condition) = (&seen_low[..n], &unacked[..n], &condition[..n]);
        (0..n).map(move |i| HeartbeatRow {
            slot: slot[i].to_native(),
            epoch_low: epoch_low[i].to_native(),
            sequence: sequence[i].to_native(),
            digest: digest[i].to_native(),
            seen_low: seen_low[i].to_native(),
            unacked: unacked[i],
            condition: condition[i],
        })
    }
}

impl ArchivedBatch {
    #[must_use]
    pub fn batch_id(&self) -> BatchId {
        BatchId {
            node: self.id.node.to_native(),
            boot: self.id.boot.to_native(),
            counter: self.id.counter.to_native(),
        }
    }

    /// All events in order, decoded one by one.
    pub fn decode_events(&self) -> impl ExactSizeIterator<Item = Result<Event, EventError>> + '_ {
        self.events.iter().map(|event| Event::decode(event.kind.to_native(), &event.bytes))
    }
}

impl Batch {
    #[must_use]
    pub fn new(id: BatchId) -> Self {
        Batch { id, events: Vec::new(), heartbeats: HeartbeatColumns::default() }
    }

    pub fn push(&mut self, event: &Event) -> Result<(), EventError> {
        self.events.push(EncodedEvent::of(event)?);
        Ok(())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.heartbeats.is_empty()
    }

    /// The batch's bytes; refuses what [`access`] would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, BatchError> {
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(self)
            .map_err(|e| BatchError::Malformed(e.to_string()))?
            .to_vec();
        access(&bytes)?;
        Ok(bytes)
    }
}

/// Reads a batch in place, after checking every offset, length and limit.
pub fn access(bytes: &[u8]) -> Result<&ArchivedBatch, BatchError> {
    if bytes.len() > BATCH_BYTES_MAX {
        return Err(BatchError::TooLarge { got: bytes.len(), max: BATCH_BYTES_MAX });
    }
    let batch = rkyv::access::<ArchivedBatch, rkyv::rancor::Error>(bytes)
        .map_err(|e| BatchError::Malformed(e.to_string()))?;
    let too_many = |what, got, max| Err(BatchError::TooMany { what, got, max });
    if batch.events.len() > BATCH_EVENTS_MAX {
        return too_many("events", batch.events.len(), BATCH_EVENTS_MAX);
    }
    if batch.heartbeats.len() > BATCH_HEARTBEATS_MAX {
        return too_many("heartbeats", batch.heartbeats.len(), BATCH_HEARTBEATS_MAX);
    }
    if batch.heartbeats.is_ragged() {
        return Err(BatchError::Ragged);
    }
    Ok(batch)
}

/// Reads a batch and decodes each of its events: what a leader checks before it proposes, so that nothing can be
/// committed that the fold would refuse.
pub fn validate(bytes: &[u8]) -> Result<&ArchivedBatch, BatchError> {
    let batch = access(bytes)?;
    for event in batch.decode_events() {
        event?;
    }
    Ok(batch)
}

/// The payload of a raft entry: the leader's stamp before the batch's bytes.
#[must_use]
pub fn stamped(stamp: Timestamp, batch: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(8 + batch.len());
    payload.extend_from_slice(&stamp.as_millis().to_le_bytes());
    payload.extend_from_slice(batch);
    payload
}

/// Takes a raft entry's payload apart; the batch is not validated yet (see [`access`]).
pub fn split_stamp(payload: &[u8]) -> Result<(Timestamp, &[u8]), BatchError> {
    let (stamp, batch) = payload.split_first_chunk::<8>().ok_or(BatchError::NoStamp)?;
    Ok((Timestamp::from_millis(u64::from_le_bytes(*stamp)), batch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Tick;
    use proptest::prelude::*;

    fn a_batch() -> Batch {
        let mut batch = Batch::new(BatchId { node: 3, boot: 7, counter: 1 });
        batch.push(&Tick {}.into()).unwrap();
        batch.heartbeats.push(HeartbeatRow {
            slot: 9,
            epoch_low: 2,
            sequence: 5,
            digest: 0xdead_beef,
            seen_low: 77,
            unacked: 1,
            condition: 0,
        });
        batch
    }

    #[test]
    fn a_batch_is_read_in_place_as_it_was_written() {
        let batch = a_batch();
        let bytes = batch.encode().unwrap();
        let read = access(&bytes).unwrap();
        assert_eq!(read.batch_id(), batch.id);
        assert_eq!(read.heartbeats.rows().next().unwrap().digest, 0xdead_beef);
        let events: Vec<_> = read.decode_events().map(Result::unwrap).collect();
        assert_eq!(events, vec![Event::from(Tick {})]);
    }

    #[test]
    fn an_event_of_an_unknown_kind_is_found_before_it_is_proposed() {
        let mut batch = a_batch();
        batch.events.push(EncodedEvent { kind: u16::MAX, bytes: Vec::new() });
        let bytes = batch.encode().unwrap();
        assert!(access(&bytes).is_ok(), "its form is sound");
        assert_eq!(validate(&bytes).err(), Some(BatchError::Event(EventError::UnknownKind(u16::MAX))));
        assert!(validate(&a_batch().encode().unwrap()).is_ok());
    }

    #[test]
    fn ragged_columns_are_refused() {
        let mut batch = a_batch();
        batch.heartbeats.condition.push(1);
        assert_eq!(batch.encode(), Err(BatchError::Ragged));
    }

    #[test]
    fn a_routine_heartbeat_takes_twenty_bytes() {
        let mut batch = a_batch();
        let one = batch.encode().unwrap().len();
        for slot in 0..1000 {
            batch.heartbeats.push(HeartbeatRow {
                slot,
                epoch_low: 0,
                sequence: 1,
                digest: 1,
                seen_low: 1,
                unacked: 1,
                condition: 0,
            });
        }
        assert_eq!(batch.encode().unwrap().len() - one, 20_000);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_reader(bytes: Vec<u8>) {
            if let Ok(batch) = access(&bytes) {
                let _ = batch.decode_events().count();
            }
        }

        #[test]
        fn no_flipped_bit_panics_the_reader(position: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = a_batch().encode().unwrap();
            let at = position.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(batch) = access(&bytes) {
                let _ = batch.decode_events().count();
                let _ = batch.heartbeats.rows().count();
            }
        }
    }
}
