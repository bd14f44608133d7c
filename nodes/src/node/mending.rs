//! Mends damaged history in its place (storage/mend.rs) with what peers have, beside the running node.
//!
//! Index and term alone say nothing of what an entry holds. So what was given is held against a signed checkpoint before it is
//! put into place (vouching.rs): false history in the log would make all that is true beside it look false for ever. Where
//! none covers it yet, or history lacks more than this segment, that cannot be told, and it is put into place all the same:
//! raft does not stand on it, and with a hole nothing could ever be told.

use super::doubts::Doubts;
use super::ranges;
use super::room::Room;
use super::vouching::Vouching;
use crate::entropy::Entropy;
use crate::peers::{PeerAddress, PeerTransport};
use crate::storage::error::{Corruption, StorageError};
use crate::storage::log::DurableLog;
use crate::storage::mend::Mend;
use crate::storage::scrub::Scrub;
use crate::storage::segment_number_of;
use crate::storage::view::LogEntry;
use events::ids::LogIndex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// After each attempt that peers did not help with. After a power cut of all of them they may not be back yet, and the next
/// check is a day away.
const AGAIN_AFTER_SECONDS: [u64; 8] = [1, 2, 4, 8, 15, 30, 60, 120];

pub(super) struct Mending {
    pub own: Arc<Scrub>,
    pub log: Arc<DurableLog>,
    /// Who has the entries that are damaged here.
    pub transport: Arc<dyn PeerTransport>,
    pub peers: Vec<PeerAddress>,
    pub entropy: Arc<dyn Entropy>,
    /// A mend needs as much as its segment, twice: it waits for what the log needs.
    pub room: watch::Receiver<Room>,
    /// Who says whether what they gave is true.
    pub vouching: Vouching,
    pub doubts: Doubts,
}

impl Mending {
    /// Whether that segment was mended.
    pub async fn mend(&mut self, damage: &Corruption) -> bool {
        let segment = segment_number_of(&damage.path).filter(|segment| !self.log.reads(*segment));
        let Some(segment) = segment.filter(|_| damage.is_repairable()) else { return false };
        let mut begun = None;
        for pause in AGAIN_AFTER_SECONDS {
            match self.attempt(segment, &mut begun).await {
                Ok(true) => return true,
                Ok(false) => {
                    tracing::warn!(
                        %damage,
                        "older history of this node cannot be mended here: restore that file from a copy"
                    );
                    return false;
                }
                Err(why) => tracing::warn!(%damage, why, "older history of this node is not mended yet"),
            }
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
        false
    }

    /// False if nothing that peers have can mend it. What was given stays in `begun` while more is missing.
    async fn attempt(&mut self, segment: u64, begun: &mut Option<Mend>) -> Result<bool, String> {
        let mut mend = match begun.take() {
            Some(begun) => begun,
            None => {
                let own = self.own.clone();
                let begin = move || Mend::begin(own.disk.clone(), own.dir.clone(), own.keys.clone(), segment);
                let Some(mend) = blocking(begin).await? else { return Ok(false) };
                mend
            }
        };
        while let Some(from) = mend.missing_from() {
            let Some(entries) = self.find(from).await else {
                *begun = Some(mend);
                return Err(format!("no peer in reach gives entry {from} as committed"));
            };
            mend.take(entries);
            if mend.missing_from() == Some(from) {
                self.doubts.doubt();
                return Err(format!("no peer gave entry {from}"));
            }
        }
        // Its sender lives in the core, which ends this task.
        let _ = self.room.wait_for(Room::is_enough).await;
        let (given, entropy) = (mend.given(), self.entropy.clone());
        let Some(mended) = blocking(move || mend.write(&*entropy)).await? else {
            self.doubts.doubt();
            return Err(
                "peers' entries do not fill the damage: if this stays, restore that file from a copy".into(),
            );
        };
        let is_true = match given {
            Some(given) => self.vouching.judge(mended.history(&self.vouching.history), given).await,
            None => Some(true),
        };
        if is_true == Some(false) {
            let from = self.doubts.doubt();
            mended.discard();
            return Err(format!(
                "entries from nodes {from:?} are not what a signed checkpoint vouches for, and others are asked"
            ));
        }
        blocking(move || mended.install()).await?;
        match is_true {
            // Whoever gave it may still turn out to have lied.
            None => tracing::warn!(segment, "that the mended entries are true no signed checkpoint says yet"),
            Some(_) => self.doubts.settle(),
        }
        Ok(true)
    }

    /// Entries from `from` on: this node's archive may hold a copy.
    async fn find(&mut self, from: LogIndex) -> Option<Vec<LogEntry>> {
        let held = self.vouching.held(from).await;
        if !held.is_empty() {
            return Some(held);
        }
        let (peer, entries) = ranges::fetch(&*self.transport, self.doubts.order(&self.peers), from).await?;
        self.doubts.gave(peer);
        Some(entries)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}
