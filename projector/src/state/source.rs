//! Sources: what the NATS server confines connections to. Their names are issued by whoever configures NATS, so
//! their number is the operators' choice, not an attacker's.

use events::ids::SourceId;
use events::time::Timestamp;
use events::vocabulary::rejection::RejectionReason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    pub name: SourceId,
    pub first_heard: Timestamp,
    pub last_heard: Timestamp,
    pub heartbeats: u64,
    pub refused: BTreeMap<RejectionReason, u64>,
}

impl Source {
    #[must_use]
    pub(crate) fn new(name: SourceId, now: Timestamp) -> Self {
        Source { name, first_heard: now, last_heard: now, heartbeats: 0, refused: BTreeMap::new() }
    }
}
