//! What a watcher of `/v1/events` is told, one message for each entry of the log that changed something.

use events::ids::{LogIndex, NodeId};
use events::time::Timestamp;
use projector::Change;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Data of a message; its `event` is the name of the variant, its `id` the log index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LiveEvent {
    /// What one entry of the log changed.
    Changes { index: LogIndex, stamp: Timestamp, changes: Vec<Change> },
    /// Who leads, as far as this node knows.
    Leadership { leader: Option<NodeId>, term: u64 },
    /// Changes after `after` are not all told: they are not kept here any more, came in a snapshot, or `after` is an index of
    /// the log before a restore. Read the state anew; what follows is complete from `from` on.
    Reset { after: LogIndex, from: LogIndex },
    /// This watcher was too slow and is cut: come again with the last id that was seen.
    Cut { missed: u64, what_to_do: String },
}
