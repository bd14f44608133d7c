//! Fills the gaps that snapshots left in this node's history from its peers, so that every node ends with the whole log.
//!
//! ```text
//!   a gap ─▶ ranges from peers ─▶ closed ─▶ a checkpoint covers it ─┬─▶ its root is that of the history here: proven
//!     ▲                                        (vouching.rs)        └─▶ it is not: set aside
//!     └────────────── from another peer ◀───────────────────────────────────┘
//! ```
//!
//! It is nobody's hurry: a range at a time, with a rest after each, and a peer that has none is asked again later.

use super::doubts::Doubts;
use super::ranges::fetch;
use super::room::Room;
use super::vouching::{Verdict, Vouching};
use crate::peers::{PeerAddress, PeerTransport};
use crate::storage::backfill::BackfillPlace;
use crate::storage::error::StorageError;
use crate::storage::gaps::GapBook;
use crate::storage::view::LogEntry;
use crate::telemetry::measures::Measures;
use events::ids::LogIndex;
use projector::view::CheckpointView;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// After each range, so that ingest does not notice.
const REST: Duration = Duration::from_millis(20);
/// After a range that no peer has, or a disk that refuses.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(30);

pub(super) struct Backfilling {
    pub transport: Arc<dyn PeerTransport>,
    pub peers: Vec<PeerAddress>,
    /// What is fetched.
    pub place: BackfillPlace,
    pub gaps: Arc<GapBook>,
    /// History waits for what the log needs.
    pub room: watch::Receiver<Room>,
    /// Who says whether it is true.
    pub vouching: Vouching,
    pub measures: Arc<Measures>,
    pub doubts: Doubts,
}

impl Backfilling {
    pub async fn run(mut self) {
        let mut missing = self.gaps.missing();
        loop {
            while *missing.borrow_and_update() > 0 {
                tokio::time::sleep(self.doubts.rest()).await;
                if let Err(why) = self.fill_first().await {
                    tracing::warn!(why, "a gap of this node's history waits");
                    tokio::time::sleep(ASK_AGAIN_AFTER).await;
                }
            }
            let verdict = tokio::select! {
                opened = missing.wait_for(|missing| *missing > 0) => match opened {
                    Ok(_) => None,
                    // Its sender lives in `self`.
                    Err(_) => return,
                },
                verdict = self.vouching.verdict() => Some(verdict),
            };
            match verdict {
                Some(Verdict::True { size }) => {
                    self.doubts.settle();
                    tracing::info!(size, "a signed checkpoint vouches for this node's whole history");
                }
                Some(Verdict::False { signed }) => self.disbelieve(&signed).await,
                None => {}
            }
        }
    }

    /// Fills the lowest gap: what was fetched lies in a log, which goes one way only.
    async fn fill_first(&mut self) -> Result<(), String> {
        let (place, gaps) = (self.place.clone(), self.gaps.clone());
        let mut backfill = blocking(move || place.open(&gaps)).await?;
        // Only now: it may have been found damaged, and gaps may be open again.
        let Some(gap) = self.gaps.first() else { return Ok(()) };
        while let Some(from) = backfill.missing_from(gap) {
            // Its sender lives in the core, which ends this task.
            let _ = self.room.clone().wait_for(Room::is_enough).await;
            let Some((whence, entries)) = self.find(from).await else {
                return Err(format!(
                    "entries {from} to {}: no peer in reach gives entry {from} as committed",
                    gap.through
                ));
            };
            let taken = blocking(move || backfill.take(gap, entries).map(|()| backfill)).await;
            backfill = taken.map_err(|why| format!("{whence}: {why}"))?;
            tokio::time::sleep(REST).await;
        }
        let gaps = self.gaps.clone();
        // It is closed before the gap is, so that whoever reads finds it whole.
        blocking(move || {
            drop(backfill);
            gaps.close(gap)
        })
        .await?;
        tracing::info!(gap.from, gap.through, "a gap of this node's history is filled");
        Ok(())
    }

    /// Entries from `from` on, and where they come from: what this node set aside may be all that is left of them. Not if
    /// something here was false: it may be that.
    async fn find(&mut self, from: LogIndex) -> Option<(String, Vec<LogEntry>)> {
        if let Some((peer, entries)) = fetch(&*self.transport, self.doubts.order(&self.peers), from).await {
            self.doubts.gave(peer);
            return Some((format!("node {peer}"), entries));
        }
        if self.doubts.are_open() {
            return None;
        }
        let place = self.place.clone();
        let salvaged = blocking(move || place.salvage(from)).await.unwrap_or_default();
        (!salvaged.is_empty()).then(|| ("what was set aside".to_owned(), salvaged))
    }

    /// What peers gave is not what was signed. Which entry is false nobody can say, so all of it goes.
    async fn disbelieve(&mut self, signed: &CheckpointView) {
        self.measures.histories_disbelieved.inc();
        let from = self.doubts.doubt();
        let (size, checkpoint) = (signed.size, signed.index);
        tracing::error!(
            size,
            checkpoint,
            ?from,
            "history that was fetched from these nodes is not what a signed checkpoint vouches for: it is set aside, and \
             fetched again from others"
        );
        let (place, gaps) = (self.place.clone(), self.gaps.clone());
        if let Err(why) = blocking(move || place.disbelieve(&gaps)).await {
            tracing::warn!(why, "false history cannot be set aside yet");
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}
