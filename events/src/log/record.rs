//! What a frame says.
//!
//! ```text
//! record        raft (term, index) in the frame    body, sealed
//! vote          term voted in, 0                   node voted for u64 ‖ committed u8
//! entry         the entry's                        its payload; `form` in the frame says which kind
//! truncation    last entry kept, or 0, 0           kept u8: 0 = every entry is removed
//! committed     last entry known committed         (empty)
//! purge floor   last entry hidden                  history u8 ‖ through u64: see PurgeFloor
//! closed        0, 0                               (empty)
//! ```

use crate::ids::{LogIndex, NodeId};

/// Place of an entry in raft's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    pub term: u64,
    pub index: LogIndex,
}

/// Whom this node votes for, and in which term; `committed` once a majority granted the vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteRecord {
    pub term: u64,
    pub node: NodeId,
    pub committed: bool,
}

/// What an entry carries. `B` is whatever holds bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryBody<B = Vec<u8>> {
    /// The first entry of a leader.
    Blank,
    /// Stamp and batch ([`crate::batch::stamped`]).
    Batch(B),
    /// Raft's membership, in the encoding of `nodes`.
    Membership(B),
}

/// The floor below which readers of raft's log see nothing. Entries below it stay as history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeFloor {
    pub floor: LogPosition,
    /// The last index of this log's own entries that is history. What lies after it up to the floor came in a
    /// snapshot: local entries there, if any, were never known committed; it is a gap until it is backfilled.
    pub history_through: Option<LogIndex>,
}

/// One record of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<B = Vec<u8>> {
    Vote(VoteRecord),
    Entry {
        at: LogPosition,
        body: EntryBody<B>,
    },
    /// Every entry after this one is removed; `None` removes all.
    Truncation {
        keep: Option<LogPosition>,
    },
    Committed(LogPosition),
    PurgeFloor(PurgeFloor),
    /// The writer closed the segment in order: all before it is durable.
    Closed,
}

/// Why an intact frame is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record kind {0} is unknown; a newer muster wrote it: use that version")]
    UnknownKind(u8),
    #[error("schema {schema} of record kind {kind} is unknown; a newer muster wrote it: use that version")]
    UnknownSchema { kind: u8, schema: u8 },
    #[error("the body of a record of kind {0} is malformed")]
    Malformed(u8),
}

const KIND_VOTE: u8 = 1;
const KIND_ENTRY: u8 = 2;
const KIND_TRUNCATION: u8 = 3;
const KIND_COMMITTED: u8 = 4;
const KIND_PURGE_FLOOR: u8 = 5;
const KIND_CLOSED: u8 = 6;

const FORM_BLANK: u8 = 0;
const FORM_BATCH: u8 = 1;
const FORM_MEMBERSHIP: u8 = 2;

/// Version of every body's layout.
const SCHEMA: u8 = 1;

/// A record taken apart for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) kind: u8,
    pub(super) schema: u8,
    pub(super) form: u8,
    pub(super) term: u64,
    pub(super) index: u64,
}

/// What a frame tells of its record without any key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Entry(LogPosition),
    Committed(LogPosition),
    PurgeFloor(LogPosition),
    /// For whom is sealed.
    Vote {
        term: u64,
    },
    /// Nothing that says how far the log had got.
    Other,
}

impl Parts {
    pub(super) fn told(&self) -> Told {
        let at = LogPosition { term: self.term, index: self.index };
        match self.kind {
            KIND_ENTRY => Told::Entry(at),
            KIND_COMMITTED => Told::Committed(at),
            KIND_PURGE_FLOOR => Told::PurgeFloor(at),
            KIND_VOTE => Told::Vote { term: self.term },
            _ => Told::Other,
        }
    }
}

impl<B: AsRef<[u8]>> EntryBody<B> {
    /// The bytes of the body; empty for a blank one.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            EntryBody::Blank => &[],
            EntryBody::Batch(bytes) | EntryBody::Membership(bytes) => bytes.as_ref(),
        }
    }

    /// The byte that names what the body is.
    #[must_use]
    pub fn form(&self) -> u8 {
        match self {
            EntryBody::Blank => FORM_BLANK,
            EntryBody::Batch(_) => FORM_BATCH,
            EntryBody::Membership(_) => FORM_MEMBERSHIP,
        }
    }
}

impl<B: AsRef<[u8]>> Record<B> {
    pub(super) fn parts(&self) -> Parts {
        let at = |kind, form, position: LogPosition| Parts {
            kind,
            schema: SCHEMA,
            form,
            term: position.term,
            index: position.index,
        };
        let nowhere = LogPosition { term: 0, index: 0 };
        match self {
            Record::Vote(vote) => at(KIND_VOTE, 0, LogPosition { term: vote.term, index: 0 }),
            Record::Entry { at: position, body } => at(KIND_ENTRY, body.form(), *position),
            Record::Truncation { keep } => at(KIND_TRUNCATION, 0, keep.unwrap_or(nowhere)),
            Record::Committed(position) => at(KIND_COMMITTED, 0, *position),
            Record::PurgeFloor(purge) => at(KIND_PURGE_FLOOR, 0, purge.floor),
            Record::Closed => at(KIND_CLOSED, 0, nowhere),
        }
    }

    /// Bytes of the body before sealing.
    #[must_use]
    pub fn body_length(&self) -> usize {
        match self {
            Record::Vote(_) | Record::PurgeFloor(_) => 9,
            Record::Entry { body, .. } => body.bytes().len(),
            Record::Truncation { .. } => 1,
            Record::Committed(_) | Record::Closed => 0,
        }
    }

    pub(super) fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Record::Vote(vote) => {
                out.extend_from_slice(&vote.node.to_le_bytes());
                out.push(u8::from(vote.committed));
            }
            Record::Entry { body, .. } => out.extend_from_slice(body.bytes()),
            Record::Truncation { keep } => out.push(u8::from(keep.is_some())),
            Record::Committed(_) | Record::Closed => {}
            Record::PurgeFloor(purge) => {
                out.push(u8::from(purge.history_through.is_some()));
                out.extend_from_slice(&purge.history_through.unwrap_or(0).to_le_bytes());
            }
        }
    }
}

impl<B> Record<B> {
    /// The same record with its bytes held otherwise.
    pub fn map_body<C>(self, hold: impl FnOnce(B) -> C) -> Record<C> {
        match self {
            Record::Entry { at, body: EntryBody::Blank } => Record::Entry { at, body: EntryBody::Blank },
            Record::Entry { at, body: EntryBody::Batch(bytes) } => {
                Record::Entry { at, body: EntryBody::Batch(hold(bytes)) }
            }
            Record::Entry { at, body: EntryBody::Membership(bytes) } => {
                Record::Entry { at, body: EntryBody::Membership(hold(bytes)) }
            }
            Record::Vote(vote) => Record::Vote(vote),
            Record::Truncation { keep } => Record::Truncation { keep },
            Record::Committed(position) => Record::Committed(position),
            Record::PurgeFloor(purge) => Record::PurgeFloor(purge),
            Record::Closed => Record::Closed,
        }
    }
}

impl<B: AsRef<[u8]>> Record<B> {
    /// Puts a record together from what a frame held.
    pub(super) fn assemble(parts: Parts, body: B) -> Result<Self, RecordError> {
        let Parts { kind, schema, form, term, index } = parts;
        if !(KIND_VOTE..=KIND_CLOSED).contains(&kind) {
            return Err(RecordError::UnknownKind(kind));
        }
        if schema != SCHEMA {
            return Err(RecordError::UnknownSchema { kind, schema });
        }
        let (position, bytes) = (LogPosition { term, index }, body.as_ref());
        let record = match (kind, form) {
            (KIND_VOTE, 0) => vote(term, index, bytes).map(Record::Vote),
            (KIND_ENTRY, FORM_BLANK) if bytes.is_empty() => {
                Some(Record::Entry { at: position, body: EntryBody::Blank })
            }
            (KIND_ENTRY, FORM_BATCH) => Some(Record::Entry { at: position, body: EntryBody::Batch(body) }),
            (KIND_ENTRY, FORM_MEMBERSHIP) => {
                Some(Record::Entry { at: position, body: EntryBody::Membership(body) })
            }
            (KIND_TRUNCATION, 0) => truncation(position, bytes).map(|keep| Record::Truncation { keep }),
            (KIND_COMMITTED, 0) if bytes.is_empty() => Some(Record::Committed(position)),
            (KIND_PURGE_FLOOR, 0) => purge_floor(position, bytes).map(Record::PurgeFloor),
            (KIND_CLOSED, 0) if bytes.is_empty() && (term, index) == (0, 0) => Some(Record::Closed),
            _ => None,
        };
        record.ok_or(RecordError::Malformed(kind))
    }
}

fn flag(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn vote(term: u64, index: u64, body: &[u8]) -> Option<VoteRecord> {
    let (node, rest) = body.split_first_chunk::<8>()?;
    let [committed] = *rest else { return None };
    let vote = VoteRecord { term, node: u64::from_le_bytes(*node), committed: flag(committed)? };
    (index == 0).then_some(vote)
}

fn truncation(position: LogPosition, body: &[u8]) -> Option<Option<LogPosition>> {
    let [kept] = *body else { return None };
    match flag(kept)? {
        true => Some(Some(position)),
        false if (position.term, position.index) == (0, 0) => Some(None),
        false => None,
    }
}

fn purge_floor(floor: LogPosition, body: &[u8]) -> Option<PurgeFloor> {
    let (&[there], through) = body.split_first_chunk::<1>()?;
    let through = u64::from_le_bytes(through.try_into().ok()?);
    let history_through = match flag(there)? {
        true if through <= floor.index => Some(through),
        false if through == 0 => None,
        _ => return None,
    };
    Some(PurgeFloor { floor, history_through })
}

#[cfg(test)]
pub(super) mod strategies {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn position() -> impl Strategy<Value = LogPosition> {
        (any::<u64>(), any::<u64>()).prop_map(|(term, index)| LogPosition { term, index })
    }

    fn body() -> impl Strategy<Value = EntryBody> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            Just(EntryBody::Blank),
            bytes().prop_map(EntryBody::Batch),
            bytes().prop_map(EntryBody::Membership)
        ]
    }

    fn floor() -> impl Strategy<Value = PurgeFloor> {
        (position(), any::<Option<u64>>()).prop_map(|(floor, through)| PurgeFloor {
            floor,
            history_through: through.map(|index| index.min(floor.index)),
        })
    }

    pub(crate) fn record() -> impl Strategy<Value = Record> {
        prop_oneof![
            (any::<u64>(), any::<u64>(), any::<bool>())
                .prop_map(|(term, node, committed)| Record::Vote(VoteRecord { term, node, committed })),
            (position(), body()).prop_map(|(at, body)| Record::Entry { at, body }),
            prop::option::of(position()).prop_map(|keep| Record::Truncation { keep }),
            position().prop_map(Record::Committed),
            floor().prop_map(Record::PurgeFloor),
            Just(Record::Closed),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_record_survives_its_parts(record in strategies::record()) {
            let mut body = Vec::new();
            record.write_body(&mut body);
            prop_assert_eq!(body.len(), record.body_length());
            prop_assert_eq!(Record::assemble(record.parts(), body), Ok(record));
        }

        #[test]
        fn no_parts_panic_the_reader(
            kind: u8, schema in 0u8..3, form in 0u8..4, term in 0u64..2, index in 0u64..2, body: Vec<u8>,
        ) {
            let _ = Record::assemble(Parts { kind, schema, form, term, index }, body);
        }
    }

    #[test]
    fn what_a_newer_version_wrote_is_named_as_such() {
        let parts = Parts { kind: 99, schema: 1, form: 0, term: 0, index: 0 };
        assert_eq!(Record::assemble(parts, vec![]), Err(RecordError::UnknownKind(99)));
        let parts = Parts { kind: 1, schema: 2, ..parts };
        assert_eq!(Record::assemble(parts, vec![]), Err(RecordError::UnknownSchema { kind: 1, schema: 2 }));
    }

    #[test]
    fn a_history_beyond_its_floor_is_refused() {
        let floor = LogPosition { term: 1, index: 4 };
        let mut body = vec![1];
        body.extend_from_slice(&5u64.to_le_bytes());
        let parts = Record::<Vec<u8>>::PurgeFloor(PurgeFloor { floor, history_through: None }).parts();
        assert_eq!(Record::assemble(parts, body), Err(RecordError::Malformed(5)));
    }
}
