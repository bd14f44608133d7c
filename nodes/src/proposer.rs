//! The one way into the log.
//!
//! ```text
//!   batch ─▶ propose ─┬─ this node leads ───▶ stamp ─▶ raft ─▶ committed and applied ─▶ outcomes
//!                     └─ another node leads ─▶ peers' wire ─▶ its propose_here ───────────▲
//! ```
//!
//! A batch that was perhaps proposed may be proposed again: its [`BatchId`] makes the fold drop the second one and
//! answer from what it kept. So a change of leader is ridden out here, until the time for a proposal is over.
//!
//! Invariants:
//! - Only a leader that applied the first entry of its term stamps, and its entry is dropped if it leads no more.
//! - Only a node whose clock a majority agrees with stamps (protocol.md rule 10).
//! - `Unavailable` means surely not proposed; `Unknown` means perhaps.
//! - Whoever numbers batches proposes them one after the other: the fold takes a lower number for one that came.

use crate::entropy::Entropy;
use crate::leader::clock_guard::ClockGuard;
use crate::peers::message::ForwardedBatch;
use crate::peers::{PeerAddress, PeerError, PeerReply, PeerRequest, PeerTransport};
use crate::raft::MusterRaft;
use crate::raft::leadership::Leadership;
use crate::raft::types::{Payload, TypeConfig};
use crate::shared_projector::SharedProjector;
use crate::telemetry::trace::traceparent_of;
use bytes::Bytes;
use events::batch::{self, Batch, BatchId};
use events::ids::NodeId;
use events::vocabulary::Event;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use projector::outcome::Outcomes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{Instrument, Span};

/// Why a batch has no outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProposeError {
    /// The node asked does not lead; surely not proposed.
    #[error("this node does not lead")]
    NotLeader,
    /// Surely not proposed.
    #[error("not proposed: {why}")]
    Unavailable { why: String },
    /// Perhaps proposed, perhaps committed: propose the same batch again to learn what became of it.
    #[error("unknown whether it was committed: {why}")]
    Unknown { why: String },
    /// Never proposed, whoever leads.
    #[error("refused: {why}")]
    Malformed { why: String },
}

/// What a proposer stands on.
pub struct ProposerDeps {
    pub node: NodeId,
    pub raft: MusterRaft,
    pub projector: SharedProjector,
    pub transport: Arc<dyn PeerTransport>,
    pub clock_guard: Arc<ClockGuard>,
    /// A proposal is given up after this time.
    pub within: Duration,
    /// One attempt at a leader that does not answer is given up after this time.
    pub attempt_within: Duration,
}

/// A handle for proposing; clones share it.
#[derive(Clone)]
pub struct Proposer(Arc<Inner>);

struct Inner {
    deps: ProposerDeps,
    boot: u64,
    /// Batches of [`Proposer::propose_events`] so far. Held while one is under way.
    own_batches: tokio::sync::Mutex<u64>,
}

impl Proposer {
    pub fn new(deps: ProposerDeps, entropy: &dyn Entropy) -> Self {
        Proposer(Arc::new(Inner { deps, boot: entropy.number(), own_batches: tokio::sync::Mutex::default() }))
    }

    /// Gets events of this node itself committed, in one batch: what operators post and what a leader owes. They
    /// go one batch after the other.
    pub async fn propose_events(&self, events: &[Event]) -> Result<Outcomes, ProposeError> {
        self.propose_in_turn(|| Ok(events.to_vec())).await
    }

    /// As [`Proposer::propose_events`], of events that are made when it is their turn, after those before them: what they
    /// say of this node's state may be as old as its own proposal, and no older.
    pub async fn propose_in_turn<E: From<ProposeError>>(
        &self,
        make: impl FnOnce() -> Result<Vec<Event>, E>,
    ) -> Result<Outcomes, E> {
        let waited = tokio::time::timeout(self.0.deps.within, self.0.own_batches.lock()).await;
        let mut counter = waited.map_err(|_| ProposeError::Unavailable {
            why: "earlier proposals of this node still wait for a majority".to_owned(),
        })?;
        let events = make()?;
        *counter += 1;
        let id = BatchId { node: self.0.deps.node, boot: self.0.boot, counter: *counter };
        let malformed = |why: String| ProposeError::Malformed { why };
        let mut batch = Batch::new(id);
        events.iter().try_for_each(|event| batch.push(event)).map_err(|e| malformed(e.to_string()))?;
        let bytes = batch.encode().map_err(|e| malformed(e.to_string()))?;
        let outcomes = self.propose(bytes).await?;
        // A batch that came twice was applied once, but what its first apply answered is gone: to call a refusal
        // a success would be a lie, so the asker looks at the state or asks again.
        if outcomes.duplicate {
            let why = "it was committed, but its first answer was lost".to_owned();
            return Err(ProposeError::Unknown { why }.into());
        }
        Ok(outcomes)
    }

    /// Gets a batch (the bytes of `Batch::encode`) committed, wherever the leader is. Every outcome is as this
    /// batch's own apply, or its first apply, gave it.
    pub async fn propose(&self, batch: Vec<u8>) -> Result<Outcomes, ProposeError> {
        let batch = Bytes::from(batch);
        let deadline = Instant::now() + self.0.deps.within;
        let mut perhaps_proposed = None;
        loop {
            let error = match self.attempt(batch.clone(), deadline).await {
                Ok(outcomes) => return decode(&outcomes),
                Err(error) => error,
            };
            match &error {
                ProposeError::Malformed { .. } => return Err(error),
                ProposeError::Unknown { .. } => perhaps_proposed = Some(error.clone()),
                ProposeError::NotLeader | ProposeError::Unavailable { .. } => {}
            }
            if Instant::now() >= deadline || self.has_stopped() {
                return Err(perhaps_proposed.unwrap_or(match error {
                    ProposeError::NotLeader => ProposeError::Unavailable { why: "no leader".to_owned() },
                    other => other,
                }));
            }
            self.await_change(deadline).await;
        }
    }

    /// Stamps and proposes as leader; for batches of this node and those that peers forward. Returns the encoded
    /// outcomes.
    pub async fn propose_here(&self, batch: Bytes) -> Result<Bytes, ProposeError> {
        let deps = &self.0.deps;
        let within = deps.within;
        match tokio::time::timeout(within, self.stamp_and_write(&batch)).await {
            Ok(result) => result,
            Err(_) => Err(ProposeError::Unknown { why: format!("no answer in {} ms", within.as_millis()) }),
        }
    }

    async fn attempt(&self, batch: Bytes, deadline: Instant) -> Result<Bytes, ProposeError> {
        match Leadership::now(&self.0.deps.raft) {
            Leadership::Here { .. } | Leadership::HereSoon => {
                match tokio::time::timeout_at(deadline, self.propose_here(batch)).await {
                    Ok(result) => result,
                    Err(_) => Err(ProposeError::Unknown { why: "no majority answered in time".to_owned() }),
                }
            }
            Leadership::Elsewhere(leader) => self.forward(&leader, batch, deadline).await,
            Leadership::Nobody => Err(ProposeError::Unavailable { why: "no leader".to_owned() }),
        }
    }

    async fn forward(
        &self,
        leader: &PeerAddress,
        batch: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, ProposeError> {
        let deps = &self.0.deps;
        let within = deadline.saturating_duration_since(Instant::now()).min(deps.attempt_within);
        let request = ForwardedBatch { batch, trace: traceparent_of(&tracing::Span::current()) };
        match deps.transport.call(leader, PeerRequest::Forward(request), within).await {
            Ok(PeerReply::Forward(result)) => result,
            Ok(PeerReply::Stopped(why) | PeerReply::Refused(why)) => Err(ProposeError::Unknown { why }),
            Ok(_) => Err(ProposeError::Unknown { why: "the leader's reply is of another kind".to_owned() }),
            Err(error @ PeerError::Refused { .. }) => {
                Err(ProposeError::Unavailable { why: error.to_string() })
            }
            Err(error) => Err(ProposeError::Unknown { why: error.to_string() }),
        }
    }

    /// What came with a trace goes on with it: `commit` from the stamp until the entry is applied, `apply` in the fold.
    async fn stamp_and_write(&self, batch: &[u8]) -> Result<Bytes, ProposeError> {
        if traceparent_of(&Span::current()).is_none() {
            return self.stamp_and_write_plain(batch).await;
        }
        let span = tracing::info_span!("commit", bytes = batch.len());
        let _traced = batch::access(batch)
            .ok()
            .map(|found| self.0.deps.projector.traced().follow(found.batch_id(), span.clone()));
        self.stamp_and_write_plain(batch).instrument(span).await
    }

    async fn stamp_and_write_plain(&self, batch: &[u8]) -> Result<Bytes, ProposeError> {
        let deps = &self.0.deps;
        // An event that the fold cannot read must not be committed: it would halt every node, again at each start.
        batch::validate(batch).map_err(|e| ProposeError::Malformed { why: e.to_string() })?;
        let Leadership::Here { leader } = Leadership::now(&deps.raft) else {
            return Err(ProposeError::NotLeader);
        };
        deps.clock_guard.judged().await;
        let stamp = deps.clock_guard.stamp().map_err(|e| ProposeError::Unavailable { why: e.to_string() })?;
        let stamp = stamp.max(deps.projector.read(|fold| fold.stamp()));
        let payload = Payload(Bytes::from(batch::stamped(stamp, batch)));
        let (responder, answer) = ProgressResponder::<TypeConfig, _>::complete_only();
        let stopped = |why: String| ProposeError::Unknown { why };
        let write = deps.raft.write(payload).responder(responder).with_leader(leader);
        write.await.map_err(|e| stopped(e.to_string()))?;
        match answer.await {
            Ok(Ok(written)) => Ok(written.data.0),
            Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(ProposeError::NotLeader),
            Ok(Err(ClientWriteError::LogEntryDiscarded(_))) => {
                Err(stopped("the leader changed while it was under way".to_owned()))
            }
            Ok(Err(error)) => Err(ProposeError::Unavailable { why: error.to_string() }),
            Err(_) => Err(stopped("this node's raft stopped".to_owned())),
        }
    }

    fn has_stopped(&self) -> bool {
        self.0.deps.raft.metrics().borrow_watched().running_state.is_err()
    }

    /// Waits a little, or less if the leadership becomes clear meanwhile.
    async fn await_change(&self, deadline: Instant) {
        let pause = self.0.deps.attempt_within / 20;
        let pause = deadline.saturating_duration_since(Instant::now()).min(pause);
        let mut metrics = self.0.deps.raft.server_metrics();
        let _ = tokio::time::timeout(pause, metrics.changed()).await;
    }
}

fn decode(outcomes: &[u8]) -> Result<Outcomes, ProposeError> {
    postcard::from_bytes(outcomes).map_err(|e| ProposeError::Unknown {
        why: format!("committed, but its outcomes are unreadable: {e}"),
    })
}
