//! A node whose log lost what was known durable repairs it from its peers before raft starts.
//!
//! ```text
//!   damage ─▶ noted for good ─▶ every second: ask all members where they stand ─▶ a vote that takes nothing back
//!                                  └─▶ ranges of committed entries, from whoever holds them ─▶ new segments
//!                                        └─▶ once they reach all that may have been acknowledged: put into place
//! ```
//!
//! What was taken is kept while the repair waits for more: the vote that it began with stays good, since this node gave none
//! meanwhile. A peer whose entries are not what is intact here is asked last from then on (doubts.rs); if it gave any
//! before, they may be false where nothing tells, and all is fetched anew.
//!
//! Meanwhile it answers peers through [`Convalescent`]: it serves what is intact, and refuses everything else. So it gives
//! no vote and no acknowledgement. Where its own log stands it tells another one that repairs, if it knows for sure: else
//! two of them would wait for each other for ever.

use super::core::{CoreDeps, peers_of};
use super::doubts::Doubts;
use super::opening::{archive, log_options, segment_keys};
use super::{NodeError, ranges};
use crate::peers::message::LogStanding;
use crate::peers::watch::ASK_EVERY;
use crate::peers::{PeerAddress, PeerReply, PeerRequest, PeerService};
use crate::raft::receive::log_range;
use crate::storage::archive::Archive;
use crate::storage::error::StorageError;
use crate::storage::log::LogOptions;
use crate::storage::repair::{Need, Rebuild, note_damage, noted};
use crate::storage::view::LogEntry;
use events::ids::{LogIndex, NodeId};
use events::log::record::VoteRecord;
use futures::future::{BoxFuture, join_all};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A log that must be repaired before the node's core can be opened.
pub struct Repair {
    deps: CoreDeps,
    options: LogOptions,
    need: Need,
    peers: Vec<PeerAddress>,
    doubts: Doubts,
    /// What was taken until the repair had to wait.
    begun: Option<Rebuild>,
}

/// What answers peers while the log is repaired.
pub struct Convalescent {
    archive: Arc<Archive>,
    /// None if this node does not know it itself.
    standing: Option<LogStanding>,
}

impl Repair {
    /// Why the core did not open, or the repair that will let it. Noted damage is durable when this returns; a node
    /// without peers has nobody to repair from.
    pub async fn after(failed: NodeError, deps: &CoreDeps) -> Result<Option<Repair>, NodeError> {
        let peers = peers_of(&deps.config);
        let damage = match &failed {
            NodeError::Storage(StorageError::Corrupt(damage)) if damage.is_repairable() => {
                Some(damage.clone())
            }
            NodeError::Storage(StorageError::NeedsRepair { .. }) => None,
            _ => return Err(failed),
        };
        if peers.is_empty() {
            return Err(failed);
        }
        let keys = segment_keys(&deps.config, &deps.keyring)?;
        let (options, disk) = (log_options(&deps.config, keys), deps.disk.clone());
        let found = blocking({
            let options = options.clone();
            move || match damage {
                Some(damage) => note_damage(&*disk, &options, &damage).map(Some),
                None => noted(&*disk, &options),
            }
        });
        Ok(found.await?.map(|need| Repair {
            deps: deps.clone(),
            options,
            need,
            peers,
            doubts: Doubts::default(),
            begun: None,
        }))
    }

    /// What must be made good.
    #[must_use]
    pub fn need(&self) -> &Need {
        &self.need
    }

    /// What answers peers meanwhile.
    pub fn service(&self) -> Result<Arc<dyn PeerService>, NodeError> {
        let CoreDeps { config, keyring, disk, .. } = &self.deps;
        let archive = Arc::new(archive(config, keyring, disk.clone())?);
        Ok(Arc::new(Convalescent { archive, standing: known_standing(&self.need) }))
    }

    /// Repairs the log; returns once it can be opened. What a peer cannot give now is asked for again, for as long as it
    /// takes: without it this node must not come back.
    pub async fn run(mut self) -> Result<(), NodeError> {
        let Need { file, offset, acknowledged, vote_is_known, .. } = &self.need;
        tracing::error!(
            file,
            offset,
            acknowledged,
            vote_is_known,
            "the log is damaged where it was known durable: this node repairs it from its peers, and neither votes nor \
             acknowledges before that is done"
        );
        loop {
            match self.attempt().await {
                Ok(()) => {
                    tracing::warn!(file = self.need.file, "the log is repaired");
                    return Ok(());
                }
                Err(Setback::Wait(why)) => tracing::warn!(why, "the repair waits"),
                Err(Setback::Failed(error)) => return Err(error),
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn attempt(&mut self) -> Result<(), Setback> {
        let standings = self.ask_all().await;
        let mut rebuild = match self.begun.take() {
            Some(begun) => begun,
            None => self.begin(&standings).await?,
        };
        // Who offered what cannot come next.
        let mut refused = BTreeSet::new();
        loop {
            let from = rebuild.next_index();
            match self.fetch(from, &standings, &refused).await {
                Some((peer, entries)) => {
                    let (taken, back) = blocking(move || Ok((rebuild.take(entries), rebuild))).await?;
                    rebuild = back;
                    match taken {
                        Ok(()) => {
                            self.doubts.gave(peer);
                            refused.clear();
                        }
                        Err(why @ StorageError::PeersEntry { .. }) => {
                            tracing::warn!(peer, %why, "a peer's entries are refused, and others are asked");
                            if self.doubts.refuse(peer) {
                                return Err(Setback::Wait(format!(
                                    "node {peer}: {why}; all is fetched anew"
                                )));
                            }
                            refused.insert(peer);
                        }
                        Err(other) => return Err(NodeError::from(other).into()),
                    }
                }
                None if rebuild.reaches() => return Ok(blocking(move || rebuild.finish()).await?),
                None => {
                    // Whoever was refused may be right, and what came before it wrong.
                    if refused.is_empty() {
                        self.begun = Some(rebuild);
                    }
                    let acknowledged = self.need.acknowledged.unwrap_or(0);
                    return Err(Setback::Wait(format!(
                        "no peer in reach gives entry {from} as committed and as this node knows it, and this node may have \
                         acknowledged entries up to {acknowledged}"
                    )));
                }
            }
        }
    }

    async fn begin(&mut self, standings: &BTreeMap<NodeId, LogStanding>) -> Result<Rebuild, Setback> {
        self.doubts.settle();
        let vote = self.vote(standings)?;
        let last_of_others = standings.values().filter_map(|standing| standing.last).max();
        let (deps, options, need) =
            (self.deps.clone(), self.options.clone(), self.need.clone().reaching(last_of_others));
        Ok(blocking(move || Rebuild::begin(deps.disk, deps.entropy, options, need, vote)).await?)
    }

    async fn ask_all(&self) -> BTreeMap<NodeId, LogStanding> {
        let asked = self.peers.iter().map(|peer| async move {
            match self.deps.transport.call(peer, PeerRequest::LogStanding, ASK_EVERY).await {
                Ok(PeerReply::LogStanding(standing)) => Some((peer.node, standing)),
                Ok(_) | Err(_) => None,
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// The vote to come back with. If one may be lost (as it always may with the tail), all others must say their term: a
    /// candidate saves its term before it asks for votes, so no lost vote was in a later one.
    fn vote(&self, standings: &BTreeMap<NodeId, LogStanding>) -> Result<Option<VoteRecord>, Setback> {
        let left = self.need.vote.map(|(term, node, committed)| VoteRecord { term, node, committed });
        if self.need.vote_is_known {
            return Ok(left);
        }
        let silent: Vec<_> =
            self.peers.iter().map(|peer| peer.node).filter(|node| !standings.contains_key(node)).collect();
        if !silent.is_empty() {
            return Err(Setback::Wait(format!(
                "a vote of this node may be lost, so every member must say its term; these did not: {silent:?}"
            )));
        }
        let own = left.map_or(0, |vote| vote.term);
        let term = standings.values().map(|standing| standing.term).fold(own, u64::max);
        let leader = standings.iter().find(|(_, standing)| standing.leads && standing.term == term);
        Ok(Some(match leader {
            Some((leader, _)) => VoteRecord { term, node: *leader, committed: true },
            None => VoteRecord { term: term + 1, node: self.deps.config.node, committed: false },
        }))
    }

    /// Committed entries from `from` on, and who gave them: of those that are doubted least, whoever knows most committed is
    /// asked first.
    async fn fetch(
        &self,
        from: LogIndex,
        standings: &BTreeMap<NodeId, LogStanding>,
        refused: &BTreeSet<NodeId>,
    ) -> Option<(NodeId, Vec<LogEntry>)> {
        let mut peers: Vec<_> = self.peers.iter().filter(|peer| !refused.contains(&peer.node)).collect();
        peers.sort_by_key(|peer| {
            std::cmp::Reverse(standings.get(&peer.node).and_then(|standing| standing.committed))
        });
        ranges::fetch(&*self.deps.transport, self.doubts.order(peers), from).await
    }
}

/// Why an attempt did not get to its end.
enum Setback {
    /// It may succeed later.
    Wait(String),
    Failed(NodeError),
}

impl From<NodeError> for Setback {
    fn from(error: NodeError) -> Self {
        Setback::Failed(error)
    }
}

impl PeerService for Convalescent {
    fn answer(&self, _from: NodeId, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        Box::pin(async move {
            match request {
                PeerRequest::LogRange { from } => log_range(self.archive.clone(), from).await,
                PeerRequest::Append(_)
                | PeerRequest::Vote(_)
                | PeerRequest::PreVote(_)
                | PeerRequest::TransferLeader(_)
                | PeerRequest::Snapshot(_)
                | PeerRequest::Forward(_)
                | PeerRequest::HandOver { .. }
                | PeerRequest::Status
                | PeerRequest::WebhookCursors(_) => takes_no_part(),
                PeerRequest::LogStanding => self.standing.map_or_else(takes_no_part, PeerReply::LogStanding),
            }
        })
    }
}

fn takes_no_part() -> PeerReply {
    PeerReply::Refused("this node repairs its log and takes no part before that is done".to_owned())
}

/// Where a log stands that needs repair, as far as another member's repair asks: no later vote of it is lost, and it
/// acknowledged nothing after the last entry that this tells.
fn known_standing(need: &Need) -> Option<LogStanding> {
    let is_sure = need.vote_is_known && !need.tail_is_lost;
    let term = need.vote.map_or(0, |(term, ..)| term);
    is_sure.then_some(LogStanding { term, leads: false, committed: None, last: need.acknowledged })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, NodeError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|e| NodeError::Failed(e.to_string()))??)
}
