//! The state as bytes: versioned, deterministic, checked.
//!
//! ```text
//! snapshot = "MUSTSNAP" ‖ version u16 LE ‖ SHA-256 of the body ‖ body
//! body     = postcard(State)
//! ```

use crate::digest::hash;
use crate::projector::Projector;
use crate::state::State;
use crate::state::checkpoints::Checkpoints;
use crate::state::index::Index;
use crate::works::{DoAll, one_by_one};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, Ordering};

const MAGIC: &[u8; 8] = b"MUSTSNAP";
/// The encoding of the state; another one needs a migration.
pub const VERSION: u16 = 6;
/// The version before it, whose encoding is the same: it knew no [`events::vocabulary::BreakerReset`], and set a timer for
/// each fork of a device.
const VERSION_WITHOUT_RESETS: u16 = 5;
/// The one before that. It lacks the checkpoints, which stand last.
const VERSION_WITHOUT_CHECKPOINTS: u16 = 4;
const HEADER: usize = 8 + 2 + 32;

/// Why bytes are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("not a snapshot of a projector")]
    NotASnapshot,
    #[error(
        "snapshot version {0} is not known to this version, which writes {VERSION} and reads those from \
         {VERSION_WITHOUT_CHECKPOINTS} on"
    )]
    UnknownVersion(u16),
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
        let rest = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::NotASnapshot)?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or(SnapshotError::NotASnapshot)?;
        let version = u16::from_le_bytes(*version);
        let (checksum, body) = rest.split_first_chunk::<32>().ok_or(SnapshotError::Damaged)?;
        let (damaged, mut state) = (AtomicBool::new(false), Err(SnapshotError::Damaged));
        do_all(vec![
            Box::new(|| damaged.store(Sha256::digest(body).as_slice() != checksum, Ordering::Relaxed)),
            Box::new(|| {
                // What is known to be damaged by then, as it is on one core, need not be read.
                if !damaged.load(Ordering::Relaxed) {
                    state = decode_version(version, body);
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

fn decode_version(version: u16, body: &[u8]) -> Result<State, SnapshotError> {
    match version {
        VERSION | VERSION_WITHOUT_RESETS => decode(body),
        VERSION_WITHOUT_CHECKPOINTS => decode(&with_checkpoints(body)?),
        unknown => Err(SnapshotError::UnknownVersion(unknown)),
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

/// A body of the version before, as this version would have written it.
fn with_checkpoints(body: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let none = postcard::to_stdvec(&Checkpoints::default());
    let none = none.map_err(|e| SnapshotError::Malformed(e.to_string()))?;
    Ok([body, &none].concat())
}

pub(crate) fn encode(state: &State) -> Vec<u8> {
    #[allow(
        clippy::expect_used,
        reason = "postcard fails on maps of unknown length only; the state has none"
    )]
    let body = postcard::to_stdvec(state).expect("a state has an encoding");
    let mut snapshot = Vec::with_capacity(HEADER + body.len());
    snapshot.extend_from_slice(MAGIC);
    snapshot.extend_from_slice(&VERSION.to_le_bytes());
    snapshot.extend_from_slice(&Sha256::digest(&body));
    snapshot.extend_from_slice(&body);
    snapshot
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::batch::{Batch, BatchId, stamped};
    use events::ids::ClusterId;
    use events::time::Timestamp;
    use events::vocabulary::ClusterCreated;

    #[test]
    fn a_snapshot_of_the_version_before_is_read_as_a_state_without_checkpoints() {
        let mut batch = Batch::new(BatchId { node: 1, boot: 2, counter: 1 });
        let cluster = ClusterId::from_bytes([7; 16]);
        let created = ClusterCreated { cluster, generation: 1, heartbeat_millis: 60_000 };
        batch.push(&created.into()).unwrap();
        let mut fold = Projector::new();
        let _ = fold.apply(1, &stamped(Timestamp::from_millis(9), &batch.encode().unwrap())).unwrap();
        let now = fold.to_snapshot();
        let body = &now[HEADER..now.len() - 1];
        let mut before = [MAGIC.as_slice(), &4u16.to_le_bytes(), &Sha256::digest(body)].concat();
        before.extend_from_slice(body);
        assert_eq!(Projector::from_snapshot(&before), Ok(fold), "the last byte says: no checkpoints");
        before[8] = 3;
        assert_eq!(Projector::from_snapshot(&before), Err(SnapshotError::UnknownVersion(3)));
    }
}
