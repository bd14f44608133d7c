//! Checks a node's whole log in the background, after each start and then daily: an open reads only what raft needs.
//!
//! Damage of what raft may still read ends the node, whose next start repairs it. Damage of older history is noted and
//! said, at each start again; the node goes on, since neither its votes nor its acknowledgements stand on it, and mends
//! that segment with entries of its peers.
//! Damage of what was fetched to fill gaps is fetched again at once. A damaged snapshot is set aside, while another can be
//! made of what the log holds.

use super::mending::Mending;
use crate::raft::snapshot::SnapshotShelf;
use crate::storage::error::{Corruption, StorageError};
use crate::storage::gaps::{Gap, GapBook};
use crate::storage::log::DurableLog;
use crate::storage::scrub::{Checked, Scrub};
use crate::storage::suspect::Suspect;
use crate::telemetry::measures::Measures;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two checks.
const AGAIN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// How often in a row damage is mended and looked for again: a disk that decays must not have all else wait.
const MENDS_MAX: u32 = 3;
/// For each second of checking, so that ingest does not notice.
const REST_RATIO: u32 = 9;

pub(super) struct Scrubbing {
    /// What was fetched to fill gaps, then the node's own log.
    pub fetched: Arc<Scrub>,
    pub own: Arc<Scrub>,
    pub log: Arc<DurableLog>,
    pub gaps: Arc<GapBook>,
    pub measures: Arc<Measures>,
    pub mending: Mending,
    pub snapshots: Arc<dyn SnapshotShelf>,
}

/// Stops a check between two files once its task is gone.
struct StopWhenDropped(Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether a check goes on, asked after each piece of it: it rests before it says so, and ends when the other is dropped.
fn at_leisure() -> (impl FnMut() -> bool + Send + 'static, StopWhenDropped) {
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = StopWhenDropped(stopped.clone());
    let mut since = Instant::now();
    let goes_on = move || {
        std::thread::sleep(since.elapsed() * REST_RATIO);
        since = Instant::now();
        !stopped.load(Ordering::Relaxed)
    };
    (goes_on, stop)
}

impl Scrubbing {
    pub async fn run(mut self) {
        self.measures.damaged_segments.set(i64::from(self.is_suspected().await));
        let mut mended_in_a_row = 0;
        loop {
            let began = Instant::now();
            match self.check(&self.own).await {
                Ok(Some(checked)) => {
                    self.recall(checked.absent.clone()).await;
                    if checked.is_sound() {
                        let (seconds, Checked { segments, bytes, .. }) = (began.elapsed().as_secs(), checked);
                        self.measures.damaged_segments.set(0);
                        self.clear().await;
                        tracing::info!(segments, bytes, seconds, "the whole log was checked and is sound");
                    } else if self.mend(&checked.damaged).await && mended_in_a_row < MENDS_MAX {
                        mended_in_a_row += 1;
                        continue;
                    }
                }
                Ok(None) => return,
                Err(error) => tracing::warn!(%error, "the log could not be checked"),
            }
            mended_in_a_row = 0;
            self.check_fetched().await;
            self.check_snapshots().await;
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Notes all that is damaged, and mends what can be; whether anything was, so that a new check tells more.
    async fn mend(&mut self, damaged: &[Corruption]) -> bool {
        self.measures.damaged_segments.set(i64::try_from(damaged.len()).unwrap_or(i64::MAX));
        for damage in damaged {
            self.note(damage.clone()).await;
        }
        let mut any = false;
        for damage in damaged {
            if self.mending.mend(damage).await {
                tracing::warn!(%damage, "that segment is mended; the log is checked again");
                any = true;
            }
        }
        any
    }

    /// Holds what the log says that it lacks against the book of gaps.
    async fn recall(&self, absent: Vec<Gap>) {
        let gaps = self.gaps.clone();
        let recalled = tokio::task::spawn_blocking(move || gaps.recall(&absent)).await;
        match recalled {
            Ok(Ok(forgotten)) => forgotten.iter().for_each(|Gap { from, through, .. }| {
                tracing::error!(
                    from,
                    through,
                    "the book of this node's gaps had forgotten these entries: they are looked for again"
                );
            }),
            Ok(Err(error)) => tracing::warn!(%error, "gaps of this node's history cannot be noted"),
            Err(_) => {}
        }
    }

    /// Until it is sound: damage is looked for again once what was damaged has been fetched again.
    async fn check_fetched(&self) {
        let own_damage = self.measures.damaged_segments.get();
        let mut missing = self.gaps.missing();
        for _ in 0..MENDS_MAX {
            let checked = self.check(&self.fetched).await;
            let Some(damage) = checked.ok().flatten().and_then(|it| it.damaged.into_iter().next()) else {
                self.measures.damaged_segments.set(own_damage);
                return;
            };
            self.measures.damaged_segments.set(own_damage + 1);
            match self.note_fetched(damage.clone()).await {
                Ok(true) => tracing::error!(%damage, "fetched history is damaged: it is fetched again"),
                Ok(false) => {
                    return tracing::error!(%damage, "fetched history cannot be read; see OPERATING.md");
                }
                Err(why) => {
                    return tracing::error!(%damage, why, "fetched history is damaged, and that cannot be noted");
                }
            }
            // Its sender lives in `self`. While no peer has it, the node's own log is checked all the same.
            let whole = missing.wait_for(|missing| *missing == 0);
            if tokio::time::timeout(AGAIN_AFTER, whole).await.is_err() {
                return;
            }
        }
        tracing::error!("fetched history is damaged again and again: look at this node's disk");
    }

    /// Notes damage for whoever opens that log, and lets its gaps be filled again; false if nothing can mend it.
    async fn note_fetched(&self, damage: Corruption) -> Result<bool, String> {
        let (fetched, gaps) = (self.fetched.clone(), self.gaps.clone());
        let note = move || {
            // Noted first: whoever opens it for its open gaps reads that segment, and finds the damage.
            let is_noted = Suspect::note(&*fetched.disk, &fetched.dir, &damage)?.is_some();
            if is_noted { gaps.reopen().map(|()| true) } else { Ok(false) }
        };
        let noted = tokio::task::spawn_blocking(note).await.map_err(|e| e.to_string())?;
        noted.map_err(|e: StorageError| e.to_string())
    }

    async fn check(&self, scrub: &Arc<Scrub>) -> Result<Option<Checked>, StorageError> {
        let (mut goes_on, _stop) = at_leisure();
        let scrub = scrub.clone();
        let check = move || scrub.run(&mut goes_on);
        // A check that panicked says so by itself; what it would have found the next one finds.
        tokio::task::spawn_blocking(check).await.unwrap_or(Ok(None))
    }

    /// Before one is needed, by this node or by a member that lags.
    async fn check_snapshots(&self) {
        let (mut goes_on, _stop) = at_leisure();
        let snapshots = self.snapshots.clone();
        match tokio::task::spawn_blocking(move || snapshots.check(&mut goes_on)).await {
            // Each was said when it was set aside.
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the snapshots could not be checked"),
        }
    }

    /// Whether an earlier check, or the open of the log, found damage.
    async fn is_suspected(&self) -> bool {
        let own = self.own.clone();
        let read = tokio::task::spawn_blocking(move || Suspect::read(&*own.disk, &own.dir)).await;
        matches!(read, Ok(Ok(Some(_))))
    }

    /// What was suspected was mended.
    async fn clear(&self) {
        let own = self.own.clone();
        let clear = move || match Suspect::read(&*own.disk, &own.dir)? {
            Some(_) => Suspect::clear(&*own.disk, &own.dir),
            None => Ok(()),
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(clear).await {
            tracing::warn!(%error, "a suspicion of damage cannot be taken back");
        }
    }

    async fn note(&self, damage: Corruption) {
        let (own, found) = (self.own.clone(), damage.clone());
        let noted = tokio::task::spawn_blocking(move || Suspect::note(&*own.disk, &own.dir, &found)).await;
        match noted {
            Ok(Ok(Some(suspect))) if self.log.reads(suspect.segment) => {
                self.log.condemn(&format!("a check found damage: {damage}"));
            }
            Ok(Ok(_)) => tracing::error!(
                %damage,
                "older history of this node is damaged: noted; raft does not need it, and the node goes on"
            ),
            Ok(Err(error)) => {
                tracing::error!(%damage, %error, "the log is damaged, and that cannot be noted")
            }
            Err(_) => {}
        }
    }
}
