//! The log as evidence: its signed heads, and proofs that are made from this node's files.

use super::ApiState;
use super::extract::{Asked, Write};
use super::limits::LargePlace;
use super::refusal::Refused;
use super::shapes::{
    AskProof, CheckpointShown, CheckpointVerdict, CheckpointsShown, ProofShown, Refusal, RefusalCode,
    SignCheckpoint, TreeShown,
};
use crate::leader::notary::NotaryError;
use crate::raft::tree::{Head, Verdict};
use crate::storage::archive::Archive;
use crate::storage::error::StorageError;
use axum::Json;
use axum::extract::{Extension, State};
use data_encoding::BASE64;
use events::ids::ClusterId;
use events::log::checkpoint::Checkpoint;
use events::log::prover::{Ask, Prover, ProverError};
use projector::view::CheckpointView;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// So much of the log is read at once, in bytes.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// The last signed heads of the log, and whether this node's own log has the same root.
#[utoipa::path(get, path = "/v1/checkpoints", tag = "evidence",
    responses((status = 200, body = CheckpointsShown), (status = "default", body = Refusal)))]
pub(super) async fn checkpoints(State(state): State<ApiState>) -> Json<CheckpointsShown> {
    let (cluster, projector) = (state.deps.config.cluster, &state.deps.projector);
    let verdict = match projector.tree().compared().borrow().verdict {
        Verdict::Equal => CheckpointVerdict::Equal,
        Verdict::Differs => CheckpointVerdict::Differs,
        Verdict::Unknown => CheckpointVerdict::Unknown,
    };
    let shown = |head: Head| TreeShown { size: head.size, root: BASE64.encode(&head.root) };
    let kept = projector.read(|fold| fold.checkpoints().rev().cloned().collect::<Vec<_>>());
    Json(CheckpointsShown {
        tree: projector.tree().head().map(shown),
        verdict,
        checkpoints: kept.iter().map(|checkpoint| show(checkpoint, cluster)).collect(),
    })
}

/// Signs the head of the log as this node applied it, and commits it.
#[utoipa::path(post, path = "/v1/checkpoints", tag = "evidence", request_body = SignCheckpoint,
    responses((status = 200, body = CheckpointShown), (status = "default", body = Refusal)))]
pub(super) async fn sign(
    State(state): State<ApiState>,
    Write { body: SignCheckpoint {}, .. }: Write<SignCheckpoint>,
) -> Result<Json<CheckpointShown>, Refused> {
    let signed = state.deps.notary.checkpoint().await.map_err(refused)?;
    Ok(Json(show(&signed, state.deps.config.cluster)))
}

/// Proves against the last checkpoint that an entry stands in the log, one item of an entry's batch (nothing else of the
/// batch is shown), or that the log only grew.
#[utoipa::path(get, path = "/v1/proofs", tag = "evidence",
    params(("index" = Option<u64>, Query), ("item" = Option<u32>, Query), ("since" = Option<u64>, Query)),
    responses((status = 200, body = ProofShown), (status = "default", body = Refusal)))]
pub(super) async fn prove(
    State(state): State<ApiState>,
    Asked(ask): Asked<AskProof>,
    Extension(place): Extension<LargePlace>,
) -> Result<Json<ProofShown>, Refused> {
    let ask = match ask {
        AskProof { index: Some(index), item: None, since: None } => Ask::Entry(index),
        AskProof { index: Some(index), item: Some(item), since: None } => Ask::Item(index, item),
        AskProof { index: None, item: None, since: Some(size) } => Ask::Growth(size),
        AskProof { .. } => {
            let why = "query: expected `index`, `index` and `item`, or `since`";
            return Err(Refused::malformed(why));
        }
    };
    let last = state.deps.projector.read(|fold| fold.checkpoints().next_back().cloned());
    let last = last.ok_or_else(|| {
        let why = "the log has no checkpoint yet";
        Refused::new(RefusalCode::NotFound, why, "have one signed: `muster log checkpoint`")
    })?;
    let head = last.checkpoint(state.deps.config.cluster);
    let note = head.note(&last.signature);
    // Of its own: two who ask would move each other's place, and each would begin anew at every read.
    let archive = state.deps.history.again();
    let (asked, waits) = Waits::new();
    let proof = place.work(move || make(&archive, ask, head, note, &waits)).await??;
    drop(asked);
    Ok(Json(ProofShown { size: last.size, proof }))
}

/// Whether somebody still waits for what is made: whoever asks and goes would else keep the node at work.
struct Waits(Weak<()>);

impl Waits {
    /// Dropping the first says that nobody waits.
    fn new() -> (Arc<()>, Waits) {
        let asked = Arc::new(());
        let waits = Waits(Arc::downgrade(&asked));
        (asked, waits)
    }

    fn nobody(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// Reads the log from its first entry on, and rests as long as it works: anybody who may look at the cluster may ask, and
/// a core of each node is all that ingress has. Blocks.
fn make(
    archive: &Archive,
    ask: Ask,
    head: Checkpoint,
    note: String,
    waits: &Waits,
) -> Result<String, Refused> {
    let mut prover = Prover::new(ask, head).map_err(not_proven)?;
    loop {
        if waits.nobody() {
            let why = "whoever asked has gone";
            return Err(Refused::new(RefusalCode::Unavailable, why, "ask again"));
        }
        let began = Instant::now();
        let entries = archive.range(prover.seen(), READ_BYTES).map_err(unreadable)?;
        let mut done = entries.is_empty();
        for entry in entries {
            done |= prover.push(entry.at.term, entry.at.index, &entry.body).map_err(not_proven)?;
        }
        if done {
            return prover.finish(note).map(|proof| proof.write()).map_err(not_proven);
        }
        std::thread::sleep(began.elapsed());
    }
}

fn show(checkpoint: &CheckpointView, cluster: ClusterId) -> CheckpointShown {
    let signed = checkpoint.checkpoint(cluster);
    CheckpointShown {
        index: checkpoint.index,
        at: checkpoint.at,
        generation: checkpoint.generation,
        size: checkpoint.size,
        root: BASE64.encode(&checkpoint.root),
        note: signed.note(&checkpoint.signature),
    }
}

fn refused(error: NotaryError) -> Refused {
    let unavailable =
        |what_to_do: &str| Refused::new(RefusalCode::Unavailable, error.to_string(), what_to_do);
    match error {
        NotaryError::Propose(error) => error.into(),
        NotaryError::Declined(decline) => Refused::declined(decline),
        NotaryError::NotServing => unavailable("ask again in a moment, or another node"),
        NotaryError::TreeUnknown => unavailable("ask another node"),
        NotaryError::OlderMember(_) => unavailable("upgrade all members, or wait until they are heard"),
        NotaryError::LogDiffers => unavailable("look at the status of every node"),
    }
}

fn not_proven(error: ProverError) -> Refused {
    let why = error.to_string();
    match error {
        ProverError::NotCovered { .. } | ProverError::NotOlder { .. } => Refused::new(
            RefusalCode::NotFound,
            why,
            "have a newer checkpoint signed: `muster log checkpoint`",
        ),
        ProverError::NoItem { .. } => Refused::new(RefusalCode::NotFound, why, "look at the entry's items"),
        ProverError::TooShort { .. } => {
            Refused::new(RefusalCode::Unavailable, why, "its history is being fetched; ask another node")
        }
        ProverError::OtherRoot | ProverError::OutOfOrder { .. } | ProverError::Entry { .. } => {
            Refused::new(RefusalCode::Unavailable, why, "run `muster log verify` on this node's log")
        }
    }
}

fn unreadable(error: StorageError) -> Refused {
    Refused::new(RefusalCode::Unavailable, error.to_string(), "run `muster log verify` on this node's log")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::OsDisk;
    use events::log::keys::{KeyEncryptionKey, SegmentKeys};

    #[test]
    fn a_proof_that_nobody_waits_for_is_given_up_before_the_next_read() {
        let keys = SegmentKeys::new(vec![KeyEncryptionKey::new(1, [1; 32])]).unwrap();
        let history = Archive::new(Arc::new(OsDisk), Vec::new(), keys);
        let cluster = ClusterId::from_bytes([1; 16]);
        let head = Checkpoint { cluster, generation: Some(1), size: 10, root: [0; 32] };
        let made = |waits: &Waits| make(&history, Ask::Entry(3), head, String::new(), waits).unwrap_err().0;
        let (asked, waits) = Waits::new();
        assert!(!made(&waits).message.contains("gone"));
        drop(asked);
        assert!(made(&waits).message.contains("gone"));
    }
}
