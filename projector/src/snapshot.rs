//! The state as bytes: versioned, deterministic, checked.
//!
//! ```text
//! snapshot = "MUSTSNAP" ‖ version u16 LE ‖ SHA-256 of the body ‖ body
//! body     = postcard(State)
//! ```

use crate::projector::Projector;
use crate::state::State;
use crate::state::index::Index;
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"MUSTSNAP";
/// The encoding of the state; another one needs a migration.
pub const VERSION: u16 = 4;
const HEADER: usize = 8 + 2 + 32;

/// Why bytes are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("not a snapshot of a projector")]
    NotASnapshot,
    #[error("snapshot version {0} is not known to this version, which writes {VERSION}")]
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
        let rest = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::NotASnapshot)?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or(SnapshotError::NotASnapshot)?;
        let version = u16::from_le_bytes(*version);
        if version != VERSION {
            return Err(SnapshotError::UnknownVersion(version));
        }
        let (checksum, body) = rest.split_first_chunk::<32>().ok_or(SnapshotError::Damaged)?;
        if Sha256::digest(body).as_slice() != checksum {
            return Err(SnapshotError::Damaged);
        }
        let (mut state, left) =
            postcard::take_from_bytes::<State>(body).map_err(|e| SnapshotError::Malformed(e.to_string()))?;
        if !left.is_empty() {
            return Err(SnapshotError::Malformed(format!("{} bytes follow the state", left.len())));
        }
        state.index = Index::of(&state);
        let projector = Projector { state };
        crate::invariants::check(&projector)?;
        Ok(projector)
    }
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
