//! openraft's state machine: the fold, the tree of its entries, their snapshots, and where they stand.
//!
//! - The fold lives in memory; what survives a restart is the last snapshot and the log after it. A snapshot of another
//!   level was folded by other rules: the state is folded again from the first entry.
//! - Applied index, membership and state are one unit: they change together under one lock holder (openraft's own
//!   worker) and lie together in one snapshot.
//! - A snapshot is built from a frozen copy that shares the fold's pages, so that apply goes on meanwhile.

use super::log_store::{encode_membership, entry_from_log};
use super::refused_snapshot::{RefusedSnapshots, is_full};
use super::snapshot::{self, Snapshot, SnapshotShelf};
use super::snapshot_bytes::SnapshotBytes;
use super::snapshotting::Grown;
use super::tree::with_frontier;
use super::types::{EncodedOutcomes, LogId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::shared_projector::SharedProjector;
use crate::storage::archive::Archive;
use crate::storage::error::StorageError;
use crate::storage::view::LogEntry;
use bytes::Bytes;
use events::ids::LogIndex;
use events::log::merkle::Frontier;
use events::log::record::EntryBody;
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::alias::SnapshotOf;
use openraft::{EntryPayload, OptionalSend};
use projector::{Frozen, Projector, SNAPSHOT_VERSION};
use std::io;
use std::sync::Arc;

/// The fold as openraft drives it.
pub struct Machine {
    projector: SharedProjector,
    shelf: Arc<dyn SnapshotShelf>,
    /// How far raft's log is purged: a snapshot below that helps nobody.
    floor: Floor,
    refused: RefusedSnapshots,
    grown: Grown,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// There was no snapshot to go on from when it was opened.
    folds_anew: bool,
}

/// Tells how far raft's log is purged; 0 for not at all.
pub type Floor = Arc<dyn Fn() -> LogIndex + Send + Sync>;

/// So much of history is read at once, in bytes.
const READ_BYTES: usize = 4 * 1024 * 1024;

impl Machine {
    /// A machine that stands at the shelf's last snapshot; openraft applies the log after it.
    pub fn open(
        projector: SharedProjector,
        shelf: Arc<dyn SnapshotShelf>,
        floor: Floor,
        refused: RefusedSnapshots,
    ) -> Result<Self, io::Error> {
        let (applied, membership, grown) = (None, StoredMembership::default(), Grown::default());
        let mut machine =
            Machine { projector, shelf, floor, refused, grown, applied, membership, folds_anew: true };
        if let Some(kept) = machine.last_of_this_level()? {
            let (fold, frontier) = snapshot::read(&kept)?;
            machine.stand_at(&kept, fold, frontier);
            machine.folds_anew = false;
        }
        Ok(machine)
    }

    /// What other rules made is set aside: its state is folded again.
    fn last_of_this_level(&self) -> Result<Option<Snapshot>, io::Error> {
        while let Some(kept) = self.shelf.last()? {
            let Some(level) = kept.other_level()? else { return Ok(Some(kept)) };
            let at = kept.meta.last_log_id.map_or(0, |log_id| log_id.index);
            tracing::warn!(at, level, own = SNAPSHOT_VERSION, "a snapshot is of another level and set aside");
            self.shelf.set_aside(&kept)?;
        }
        Ok(None)
    }

    /// How much the log grew since the last snapshot.
    #[must_use]
    pub fn grown(&self) -> Grown {
        self.grown.clone()
    }

    /// The last log index that the state contains; 0 for none.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.applied.map_or(0, |log_id| log_id.index)
    }

    /// Reaches the purge floor from a snapshot below it, or from none, should the newest have been damaged or of another
    /// level: raft sees none of the entries between, but they are still history. Where that is not whole, the machine stays
    /// below.
    pub fn reach_floor(&mut self, history: &Archive) -> Result<(), io::Error> {
        while let Some(next) = self.below_floor() {
            let entries = history.range(next, READ_BYTES)?;
            if entries.is_empty() {
                break;
            }
            tracing::info!(from = next, floor = (self.floor)(), "the state is read again from history");
            self.take_history(entries)?;
        }
        self.projector.publish_applied();
        Ok(())
    }

    /// The next entry on the way to the purge floor; none if the machine stands there or above it.
    #[must_use]
    pub fn below_floor(&self) -> Option<LogIndex> {
        let next = self.applied.map_or(0, |log_id| log_id.index + 1);
        (self.applied_index() < (self.floor)()).then_some(next)
    }

    /// Whether there was no snapshot to go on from.
    #[must_use]
    pub fn folds_anew(&self) -> bool {
        self.folds_anew
    }

    /// Applies what is history on the way to the purge floor; whatever lies above it raft hands over.
    pub fn take_history(&mut self, entries: Vec<LogEntry>) -> Result<(), io::Error> {
        let floor = (self.floor)();
        for entry in entries.into_iter().take_while(|entry| entry.at.index <= floor) {
            let entry = entry_from_log(entry)?;
            self.apply_one(entry.log_id, entry.payload, false)?;
        }
        Ok(())
    }

    /// A snapshot that was made while the tree was unknown says nothing of it: it is found in the files, once; `history` is none
    /// while nobody vouched for all of it.
    pub fn know_tree(&self, history: Option<&Archive>) -> Result<(), StorageError> {
        let tree = self.projector.tree();
        if tree.head().is_some() {
            return Ok(());
        }
        let through = self.applied_index();
        match history.map(|history| history.frontier(through)).transpose()?.flatten() {
            Some(frontier) => tree.stand_at(Some(frontier)),
            None => tracing::warn!(
                through,
                "the log's tree is unknown: its history is not whole and proven here; this node signs and judges no checkpoints"
            ),
        }
        Ok(())
    }

    fn stand_at(&mut self, Snapshot { meta, data }: &Snapshot, fold: Projector, frontier: Option<Frontier>) {
        self.grown.kept(self.grown.mark(), data.total());
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.projector.tree().stand_at(frontier);
        self.projector.replace(fold);
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }

    /// Applies one entry; the outcomes are encoded only if somebody waits for them.
    fn apply_one(
        &mut self,
        log_id: LogId,
        payload: EntryPayload<super::types::Payload, events::ids::NodeId, super::types::PeerNode>,
        wanted: bool,
    ) -> Result<EncodedOutcomes, io::Error> {
        let mut encoded = EncodedOutcomes::default();
        let body = match &payload {
            EntryPayload::Blank => EntryBody::Blank,
            EntryPayload::Membership(membership) => EntryBody::Membership(encode_membership(membership)?),
            EntryPayload::Normal(payload) => EntryBody::Batch(payload.0.clone()),
        };
        match payload {
            EntryPayload::Blank => self.projector.skip(log_id.index).map_err(io::Error::other)?,
            EntryPayload::Membership(membership) => {
                self.projector.skip(log_id.index).map_err(io::Error::other)?;
                self.membership = StoredMembership::new(Some(log_id), membership);
            }
            EntryPayload::Normal(payload) => {
                // An entry that this version cannot read, or one that does not follow the last, must stop it: to
                // pass over anything would fork the state.
                let outcomes = self.projector.apply(log_id.index, &payload.0).map_err(io::Error::other)?;
                self.grown.apply(payload.0.len());
                if wanted {
                    encoded.0 = Bytes::from(postcard::to_stdvec(&outcomes).map_err(io::Error::other)?);
                }
            }
        }
        let term = log_id.leader_id.term;
        self.projector.tree().push(term, log_id.index, &body).map_err(io::Error::other)?;
        self.applied = Some(log_id);
        Ok(encoded)
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotBytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Entries>(&mut self, mut entries: Entries) -> Result<(), io::Error>
    where
        Entries: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let outcomes = self.apply_one(entry.log_id, entry.payload, responder.is_some())?;
            // Published before the answer: who got an outcome may read it from the fold.
            self.projector.publish_applied();
            if let Some(responder) = responder {
                responder.send(outcomes);
            }
        }
        Ok(())
    }

    /// Not now, if the log would lose the room that is kept for it: raft asks again later, and purges nothing meanwhile.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        if !force {
            if self.refused.is_resting() {
                return None;
            }
            let shelf = self.shelf.clone();
            if let Err(why) = off_the_runtime(move || shelf.check_room()).await {
                self.refused.skip(&why);
                return None;
            }
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let fold = self.projector.read(Projector::freeze);
        let frontier = self.projector.tree().frontier();
        let (shelf, refused) = (self.shelf.clone(), self.refused.clone());
        let (grown, mark) = (self.grown.clone(), self.grown.mark());
        Builder { meta: self.meta(), fold: Some(fold), frontier, shelf, refused, grown, mark }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotBytes) -> Result<(), io::Error> {
        let (shelf, snapshot) = (self.shelf.clone(), Snapshot { meta: meta.clone(), data });
        let (snapshot, (fold, frontier)) = off_the_runtime(move || {
            // Read before it is kept: a snapshot that cannot be read must not replace one that can.
            let fold = snapshot::read(&snapshot)?;
            shelf.keep(&snapshot)?;
            Ok((snapshot, fold))
        })
        .await
        .map_err(|error| self.refused.end_log(error))?;
        self.stand_at(&snapshot, fold, frontier);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, SnapshotBytes>>, io::Error> {
        let (shelf, floor) = (self.shelf.clone(), (self.floor)());
        let kept = off_the_runtime(move || shelf.newest()).await.map_err(|e| self.refused.end_log(e))?;
        let index = kept.as_ref().map_or(0, |kept| kept.meta.last_log_id.map_or(0, |log_id| log_id.index));
        if index < floor && self.applied_index() >= floor {
            // The one that stood there was damaged. Who gets an older one would ask for entries that are purged.
            let made = self.get_snapshot_builder().await.make_or_show().await;
            return made.map(Some).map_err(|error| self.refused.end_log(error));
        }
        Ok(kept.map(|kept| SnapshotOf::<TypeConfig, _> { meta: kept.meta, snapshot: kept.data }))
    }
}

/// Encodes and keeps a copy of the fold.
pub struct Builder {
    meta: SnapshotMeta,
    /// Taken by the first build.
    fold: Option<Frozen>,
    frontier: Option<Frontier>,
    shelf: Arc<dyn SnapshotShelf>,
    refused: RefusedSnapshots,
    grown: Grown,
    /// How much of the log it holds.
    mark: u64,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotBytes;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotBytes>, io::Error> {
        match self.make().await {
            Ok(made) => {
                self.refused.made();
                self.grown.kept(self.mark, made.snapshot.total());
                Ok(made)
            }
            Err(full) if is_full(&full) => {
                self.refused.skip(&full);
                // Raft would end for an error. One that stands no higher than the last it takes for none.
                let (meta, snapshot) = (SnapshotMeta::default(), SnapshotBytes::Here(Bytes::new()));
                Ok(SnapshotOf::<TypeConfig, _> { meta, snapshot })
            }
            Err(error) => Err(self.refused.end_log(error)),
        }
    }
}

impl Builder {
    async fn make(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotBytes>, io::Error> {
        let snapshot = self.encode().await?;
        self.keep(&snapshot).await?;
        Ok(SnapshotOf::<TypeConfig, _> { meta: snapshot.meta, snapshot: snapshot.data })
    }

    /// As [`Builder::make`], for a member that waits for it: where there is no room to keep it, it is sent all the same.
    async fn make_or_show(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotBytes>, io::Error> {
        let snapshot = self.encode().await?;
        match self.keep(&snapshot).await {
            Err(full) if is_full(&full) => self.refused.skip(&full),
            kept => kept?,
        }
        Ok(SnapshotOf::<TypeConfig, _> { meta: snapshot.meta, snapshot: snapshot.data })
    }

    async fn encode(&mut self) -> Result<Snapshot, io::Error> {
        let fold = self.fold.take().ok_or_else(|| io::Error::other("a builder builds once"))?;
        let (meta, frontier) = (self.meta.clone(), self.frontier.take());
        off_the_runtime(move || {
            let bytes = with_frontier(fold.to_snapshot(), frontier.as_ref());
            Ok(Snapshot { meta, data: SnapshotBytes::Here(Bytes::from(bytes)) })
        })
        .await
    }

    async fn keep(&self, snapshot: &Snapshot) -> Result<(), io::Error> {
        let (shelf, kept) = (self.shelf.clone(), snapshot.clone());
        off_the_runtime(move || shelf.keep(&kept)).await?;
        tracing::info!(bytes = snapshot.data.total(), last = ?snapshot.meta.last_log_id, "kept a snapshot");
        Ok(())
    }
}

/// Runs what takes long or waits for the disk where it blocks no other task.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, io::Error> + Send + 'static,
) -> Result<T, io::Error> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
