//! Committed entries from whoever holds them.

use crate::peers::{PeerAddress, PeerReply, PeerRequest, PeerTransport};
use crate::raft::log_store::decode_membership;
use crate::storage::view::LogEntry;
use events::batch::{access, split_stamp};
use events::ids::{LogIndex, NodeId};
use events::log::record::EntryBody;
use std::time::Duration;

/// A peer reads a range from its disk within this time.
const RANGE_WITHIN: Duration = Duration::from_secs(10);

/// Entries from `from` on and who gave them; the first of `peers` that has them is believed.
pub(super) async fn fetch<'a>(
    transport: &dyn PeerTransport,
    peers: impl IntoIterator<Item = &'a PeerAddress>,
    from: LogIndex,
) -> Option<(NodeId, Vec<LogEntry>)> {
    for peer in peers {
        match transport.call(peer, PeerRequest::LogRange { from }, RANGE_WITHIN).await {
            Ok(PeerReply::LogRange(entries)) if !entries.is_empty() => {
                let entries: Vec<_> = entries.into_iter().map(LogEntry::from).collect();
                if entries.iter().all(is_readable) {
                    return Some((peer.node, entries));
                }
                tracing::warn!(peer = peer.node, from, "a peer sent entries that this version cannot read");
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, from, "no range of the log"),
        }
    }
    None
}

/// Whether raft and the fold can take it.
fn is_readable(entry: &LogEntry) -> bool {
    match &entry.body {
        EntryBody::Blank => true,
        EntryBody::Membership(bytes) => decode_membership(bytes).is_ok(),
        EntryBody::Batch(payload) => split_stamp(payload).and_then(|(_, batch)| access(batch)).is_ok(),
    }
}
