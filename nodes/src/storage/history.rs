//! What a reader of a log gives: stretches of history, and what it saw on the way.

use super::view::LogEntry;
use events::ids::{ClusterId, LogIndex, NodeId};
use events::log::standing::Standing;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A stretch of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum History {
    Entry(HistoryEntry),
    /// These entries are not in this log: they came to the node in a snapshot, or retention removed them (then
    /// [`LogReport::retired_through`] says so). Both ends are included.
    Gap {
        from: LogIndex,
        through: LogIndex,
    },
}

/// A committed entry and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    pub entry: LogEntry,
    pub file: Arc<Path>,
    /// Of its frame, in bytes.
    pub offset: u64,
}

/// What was read so far; complete once the iterator ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    pub cluster: Option<ClusterId>,
    pub node: Option<NodeId>,
    pub segments: u64,
    pub frames: u64,
    pub bytes: u64,
    /// Committed entries given.
    pub entries: u64,
    /// Entries at the end that are not known committed.
    pub uncommitted: u64,
    pub standing: Standing,
    pub torn_tail: Option<TornTail>,
    /// What lies up to this entry was removed by retention: an archive holds it.
    pub retired_through: Option<LogIndex>,
}

/// Bytes at the end that are no whole frame: a node is writing just now, or crashed. The node cuts them when it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub file: PathBuf,
    pub offset: u64,
    pub bytes: u64,
}
