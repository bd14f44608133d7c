//! The state as bytes: versioned, deterministic, checked.
//!
//! ```text
//! snapshot = "MUSTSNAP" ‖ level u16 LE ‖ SHA-256 of the body ‖ body
//! body     = postcard(State)
//! ```
//!
//! A snapshot of another level is read by nobody: its state was folded by other rules, and whoever went on from it would
//! part for good from whoever folded the whole log by these. It is folded again instead.

use crate::digest::hash;
use crate::projector::Projector;
use crate::state::State;
use crate::state::index::Index;
use crate::works::{DoAll, one_by_one};
use postcard::ser_flavors::Size;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, Ordering};

const MAGIC: &[u8; 8] = b"MUSTSNAP";
/// The level of the state: its encoding, and the rules by which it is folded, numbers included. What changes one of them
/// for a log that somebody has raises it.
pub const VERSION: u16 = 7;
/// So many bytes of a snapshot tell its level.
pub const LEVEL_BYTES: usize = 8 + 2;
const HEADER: usize = LEVEL_BYTES + 32;
/// Whoever keeps a snapshot may put so much behind it without moving it, in bytes.
const ROOM_BEHIND: usize = 4096;

/// Why bytes are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("not a snapshot of a projector")]
    NotASnapshot,
    #[error(
        "a snapshot of level {0}, whose rules are not those of level {VERSION}: the state must be folded again from the \
         log"
    )]
    OtherLevel(u16),
    #[error("the snapshot's body does not match its checksum")]
    Damaged,
    #[error("malformed snapshot: {0}")]
    Malformed(String),
    #[error("the snapshot contradicts itself: {0}")]
    Inconsistent(#[from] crate::invariants::Violation),
}

impl Projector {
    /// The whole state; equal states give equal bytes.
    #[must_use]
    pub fn to_snapshot(&self) -> Vec<u8> {
        encode(&self.state)
    }

    /// Reads a snapshot back; refuses what [`Projector::to_snapshot`] could not have written.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Projector, SnapshotError> {
        Projector::from_snapshot_with(bytes, &one_by_one)
    }

    /// As [`Projector::from_snapshot`], on all cores that `do_all` has.
    pub fn from_snapshot_with(bytes: &[u8], do_all: DoAll<'_>) -> Result<Projector, SnapshotError> {
        let (level, rest) = split_level(bytes).ok_or(SnapshotError::NotASnapshot)?;
        if level != VERSION {
            return Err(SnapshotError::OtherLevel(level));
        }
        let (checksum, body) = rest.split_first_chunk::<32>().ok_or(SnapshotError::Damaged)?;
        let (damaged, mut state) = (AtomicBool::new(false), Err(SnapshotError::Damaged));
        do_all(vec![
            Box::new(|| damaged.store(Sha256::digest(body).as_slice() != checksum, Ordering::Relaxed)),
            Box::new(|| {
                // What is known to be damaged by then, as it is on one core, need not be read.
                if !damaged.load(Ordering::Relaxed) {
                    state = decode(body);
                }
            }),
        ]);
        if damaged.into_inner() {
            return Err(SnapshotError::Damaged);
        }
        let mut state = state?;
        state.index = Index::of(&state, do_all);
        crate::invariants::check_indexed(&state, do_all)?;
        hash(&mut state, do_all).map_err(|e| SnapshotError::Malformed(e.to_string()))?;
        Ok(Projector { state })
    }
}

fn decode(body: &[u8]) -> Result<State, SnapshotError> {
    let (state, left) =
        postcard::take_from_bytes(body).map_err(|e| SnapshotError::Malformed(e.to_string()))?;
    if left.is_empty() {
        return Ok(state);
    }
    Err(SnapshotError::Malformed(format!("{} bytes follow the state", left.len())))
}

/// The level of the state that a snapshot holds, from its first [`LEVEL_BYTES`] bytes; none if they begin no snapshot.
#[must_use]
pub fn snapshot_level(first_bytes: &[u8]) -> Option<u16> {
    split_level(first_bytes).map(|(level, _)| level)
}

fn split_level(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (level, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<2>()?;
    Some((u16::from_le_bytes(*level), rest))
}

/// Measured first and then written once, in place: with a million devices a state has hundreds of megabytes, and a buffer that
/// grows, or is copied, holds it twice.
#[allow(
    clippy::expect_used,
    reason = "postcard fails on maps of unknown length only; the state has none, and a buffer of bytes takes all"
)]
pub(crate) fn encode(state: &State) -> Vec<u8> {
    let length: usize =
        postcard::serialize_with_flavor(state, Size::default()).expect("a state has a length");
    let mut snapshot = Vec::with_capacity(HEADER + length + ROOM_BEHIND);
    snapshot.extend_from_slice(MAGIC);
    snapshot.extend_from_slice(&VERSION.to_le_bytes());
    snapshot.resize(HEADER, 0);
    let mut snapshot = postcard::to_extend(state, snapshot).expect("a state has an encoding");
    let digest = Sha256::digest(&snapshot[HEADER..]);
    snapshot[LEVEL_BYTES..HEADER].copy_from_slice(&digest);
    snapshot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_written_into_one_buffer_with_room_behind_it() {
        let snapshot = Projector::new().to_snapshot();
        assert_eq!(snapshot.capacity() - snapshot.len(), ROOM_BEHIND);
    }

    #[test]
    fn only_a_snapshot_of_this_level_is_gone_on_from_for_the_rules_of_others_are_other_rules() {
        let fold = Projector::new();
        let mut snapshot = fold.to_snapshot();
        assert_eq!(Projector::from_snapshot(&snapshot), Ok(fold));
        assert_eq!(snapshot_level(&snapshot[..LEVEL_BYTES]), Some(VERSION));
        for other in [VERSION - 1, VERSION + 1] {
            snapshot[8..LEVEL_BYTES].copy_from_slice(&other.to_le_bytes());
            assert_eq!(Projector::from_snapshot(&snapshot), Err(SnapshotError::OtherLevel(other)));
            assert_eq!(snapshot_level(&snapshot), Some(other), "whoever holds it can tell why");
        }
        assert_eq!(snapshot_level(b"MUSTSNAP"), None);
    }
}
