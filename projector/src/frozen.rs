//! A copy of the state that can only be written down: what a snapshot is made of while apply goes on.
//!
//! Taking it is cheap: it shares every page of devices, codes and flags with the fold, which parts from a page only when
//! it changes it, and it leaves out the index, which is found anew when the snapshot is read.

use crate::projector::Projector;
use crate::state::State;
use crate::state::index::Index;
use std::collections::BTreeMap;

/// The state at one index, to be encoded elsewhere.
pub struct Frozen {
    state: State,
}

impl Projector {
    /// Takes a copy to make a snapshot of.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        Frozen { state: without_index(&self.state) }
    }
}

/// How many secrets the state keeps under each key-encryption key, by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrappedUnder {
    /// Devices' pre-shared keys and lots' tamper keys.
    pub device: BTreeMap<u32, u64>,
    /// Resumption secrets of all epochs that are kept.
    pub session: BTreeMap<u32, u64>,
}

impl Frozen {
    #[must_use]
    pub fn wrapped_under(&self) -> WrappedUnder {
        let mut under = WrappedUnder::default();
        for record in self.state.records.iter() {
            *under.device.entry(record.birth.pre_shared_key.key()).or_default() += 1;
            for standing in record.session.all() {
                *under.session.entry(standing.link().resumption.key()).or_default() += 1;
            }
        }
        for lot in self.state.lots.values() {
            *under.device.entry(lot.tamper_key.key).or_default() += 1;
        }
        under
    }

    /// The same bytes that [`Projector::to_snapshot`] would have given at that moment.
    #[must_use]
    pub fn to_snapshot(&self) -> Vec<u8> {
        crate::snapshot::encode(&self.state)
    }
}

fn without_index(state: &State) -> State {
    // Taken apart by name, so that a new field does not compile until somebody thought of what its copy costs.
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
        settings,
    } = state;
    State {
        applied: *applied,
        stamp: *stamp,
        cluster: *cluster,
        generation: *generation,
        quiet_until: *quiet_until,
        heartbeat_millis: *heartbeat_millis,
        heartbeats: *heartbeats,
        rows: rows.clone(),
        records: records.clone(),
        lots: lots.clone(),
        stations: stations.clone(),
        code_batches: code_batches.clone(),
        codes: codes.clone(),
        licenses: licenses.clone(),
        sources: sources.clone(),
        flags: flags.clone(),
        operations: operations.clone(),
        buckets: buckets.clone(),
        timers: timers.clone(),
        batches: batches.clone(),
        breaker: breaker.clone(),
        moves: moves.clone(),
        requests: requests.clone(),
        rollouts: rollouts.clone(),
        checkpoints: checkpoints.clone(),
        index: Index::default(),
        settings: settings.clone(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
