//! Fills the gaps that snapshots left in this node's history from its peers, so that every node ends with the whole log.
//!
//! It is nobody's hurry: a range at a time, with a rest after each, and a peer that has none is asked again later.

use super::ranges::fetch;
use crate::entropy::Entropy;
use crate::peers::{PeerAddress, PeerTransport};
use crate::storage::backfill::Backfill;
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::gaps::{Gap, GapBook};
use crate::storage::log::LogOptions;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// After each range, so that ingest does not notice.
const REST: Duration = Duration::from_millis(20);
/// After a range that no peer has, or a disk that refuses.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(30);

pub(super) struct Backfilling {
    pub disk: Arc<dyn Disk>,
    pub entropy: Arc<dyn Entropy>,
    pub transport: Arc<dyn PeerTransport>,
    pub peers: Vec<PeerAddress>,
    /// The node's own log.
    pub own: LogOptions,
    /// The folder of what is fetched.
    pub dir: PathBuf,
    pub gaps: Arc<GapBook>,
}

impl Backfilling {
    pub async fn run(self) {
        let mut missing = self.gaps.missing();
        loop {
            // Its sender lives in `self`.
            if missing.wait_for(|missing| *missing > 0).await.is_err() {
                return;
            }
            while let Some(gap) = self.gaps.first() {
                match self.fill(gap).await {
                    Ok(()) => tracing::info!(gap.from, gap.through, "a gap of this node's history is filled"),
                    Err(why) => {
                        tracing::warn!(gap.from, gap.through, why, "a gap of this node's history waits");
                        tokio::time::sleep(ASK_AGAIN_AFTER).await;
                    }
                }
            }
        }
    }

    async fn fill(&self, gap: Gap) -> Result<(), String> {
        let (disk, entropy) = (self.disk.clone(), self.entropy.clone());
        let (own, dir) = (self.own.clone(), self.dir.clone());
        let mut backfill = blocking(move || Backfill::open(disk, entropy, &own, dir)).await?;
        while let Some(from) = backfill.missing_from(gap) {
            let Some((peer, entries)) = fetch(&*self.transport, &self.peers, from).await else {
                return Err(format!("no peer in reach gives entry {from} as committed"));
            };
            let taken = blocking(move || backfill.take(gap, entries).map(|()| backfill)).await;
            backfill = taken.map_err(|why| format!("node {peer}: {why}"))?;
            tokio::time::sleep(REST).await;
        }
        let gaps = self.gaps.clone();
        // It is closed before the gap is, so that whoever reads finds it whole.
        blocking(move || {
            drop(backfill);
            gaps.close(gap)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}
