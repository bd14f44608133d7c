//! The state's digest: equal on every node that applied the same log.

use crate::projector::Projector;
use crate::snapshot::VERSION;
use crate::state::State;
use crate::works::DoAll;
use events::limits::DIGEST_INDEX_INTERVAL;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// So many devices are hashed within a few milliseconds.
const DEVICES_AT_ONCE: usize = 16_384;

/// SHA-256 over the state, page by page; prints as hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StateDigest(pub [u8; 32]);

impl std::fmt::Display for StateDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(feature = "schema")]
impl utoipa::PartialSchema for StateDigest {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        events::schema::text("^[0-9a-f]{64}$".to_owned())
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for StateDigest {}

impl std::fmt::Debug for StateDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Projector {
    /// Whether members compare their digests at this entry: at every [`DIGEST_INDEX_INTERVAL`]th, and in a large fleet as
    /// much more seldom as there are more devices, since each entry may change a page of its own and all of them are hashed
    /// again. Follows from the state alone, so that all members choose the same entries.
    #[must_use]
    pub fn digest_is_due(&self) -> bool {
        self.applied().is_multiple_of(interval(self.state.records.len()))
    }

    /// The level of the state: what events mean and how the state is encoded. Only digests of one level can be
    /// compared: during a rolling upgrade members of two levels differ without being wrong.
    #[must_use]
    pub fn level(&self) -> u16 {
        VERSION
    }

    /// Pages that did not change since the last call are not hashed again.
    #[must_use]
    pub fn digest(&mut self) -> StateDigest {
        #[allow(
            clippy::expect_used,
            reason = "postcard fails on maps of unknown length only; the state has none"
        )]
        StateDigest(digest(&mut self.state).expect("a state has an encoding"))
    }
}

/// Entries between two digests of a fleet.
fn interval(devices: usize) -> u64 {
    let larger = (devices / DEVICES_AT_ONCE).max(1).next_power_of_two();
    DIGEST_INDEX_INTERVAL * larger as u64
}

/// Hashes what most of a state is, so that its next digest costs little: on all cores here, on one there.
pub(crate) fn hash(state: &mut State, do_all: DoAll<'_>) -> Result<(), postcard::Error> {
    state.rows.hash_all(do_all)?;
    state.records.hash_all(do_all)?;
    state.codes.hash_all(do_all)?;
    state.licenses.hash_all(do_all)
}

fn digest(state: &mut State) -> Result<[u8; 32], postcard::Error> {
    // Taken apart by name, so that a new field does not compile until it is in the digest.
    let State {
        applied,
        stamp,
        cluster,
        generation,
        quiet_until,
        heartbeat_millis,
        heartbeats,
        rows,
        records,
        lots,
        stations,
        code_batches,
        codes,
        licenses,
        sources,
        flags,
        operations,
        buckets,
        timers,
        batches,
        breaker,
        moves,
        requests,
        rollouts,
        checkpoints,
        index: _,
        settings: _,
    } = state;
    let mut all = Sha256::new();
    let scalars = (*applied, *stamp, *cluster, *generation, *quiet_until, *heartbeat_millis, *heartbeats);
    all.update(postcard::to_stdvec(&scalars)?);
    let pages = [
        rows.digest()?,
        records.digest()?,
        code_batches.digest()?,
        codes.digest()?,
        licenses.digest()?,
        sources.digest()?,
        flags.digest()?,
        operations.digest()?,
        moves.digest()?,
        rollouts.digest()?,
    ];
    pages.iter().for_each(|page| all.update(page));
    let rest =
        postcard::to_stdvec(&(lots, stations, buckets, timers, batches, breaker, requests, checkpoints))?;
    all.update(rest);
    Ok(all.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fleet_is_hashed_as_much_more_seldom_as_it_is_larger() {
        let intervals = [0, 1, 32_767, 32_768, 100_000, 1_000_000].map(interval);
        assert_eq!(intervals, [64, 64, 64, 128, 512, 4096]);
        assert!(intervals.iter().all(|interval| interval.is_multiple_of(DIGEST_INDEX_INTERVAL)));
    }
}
