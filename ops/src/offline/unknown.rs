//! Events of a later version, passed over.

use bytes::Bytes;
use events::batch::{Batch, BatchError, EncodedEvent, HeartbeatColumns, access, split_stamp, stamped};
use events::vocabulary::{Event, Tick};
use std::collections::BTreeMap;

/// The payload with a tick in the place of each event of an unknown kind, so that the others keep their place, by which
/// orders are named. Counts them by kind.
pub(super) fn without_unknown(payload: &[u8], skipped: &mut BTreeMap<u16, u64>) -> Result<Bytes, BatchError> {
    let (stamp, bytes) = split_stamp(payload)?;
    let archived = access(bytes)?;
    let tick = Event::from(Tick {});
    let mut batch = Batch::new(archived.batch_id());
    for event in archived.events.iter() {
        let kind = event.kind.to_native();
        if Event::name_of(kind).is_some() {
            batch.events.push(EncodedEvent { kind, bytes: event.bytes.to_vec() });
        } else {
            *skipped.entry(kind).or_default() += 1;
            batch.push(&tick)?;
        }
    }
    let mut heartbeats = HeartbeatColumns::default();
    archived.heartbeats.rows().for_each(|row| heartbeats.push(row));
    batch.heartbeats = heartbeats;
    Ok(Bytes::from(stamped(stamp, &batch.encode()?)))
}
