//! Peers that give other entries than were committed, of the same index and term.

use crate::checkpoints::sign;
use crate::snapshot::{propose_lots, snapshot_and_purge};
use crate::support::in_time;
use crate::support::members::{Members, timers};
use events::ids::{LogIndex, NodeId};
use futures::future::BoxFuture;
use nodes::node::core::Core;
use nodes::peers::message::{CommittedBody, CommittedEntry};
use nodes::peers::{PeerReply, PeerRequest, PeerService};
use nodes::storage::view::LogEntry;
use std::sync::Arc;
use std::time::Duration;

/// A member that alters what it gives of history, and is honest else.
pub(crate) struct Liar(pub(crate) Arc<dyn PeerService>);

impl PeerService for Liar {
    fn answer(&self, from: NodeId, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        Box::pin(async move {
            match self.0.answer(from, request).await {
                PeerReply::LogRange(entries) => {
                    PeerReply::LogRange(entries.into_iter().map(altered).collect())
                }
                other => other,
            }
        })
    }
}

/// The same entry, but that it is of lots of another name.
pub(crate) fn altered(entry: CommittedEntry) -> CommittedEntry {
    let CommittedBody::Batch(bytes) = &entry.body else { return entry };
    let mut bytes = bytes.to_vec();
    if let Some(at) = bytes.windows(4).position(|name| name == b"box ") {
        bytes[at..at + 3].copy_from_slice(b"fox");
    }
    CommittedEntry { body: CommittedBody::Batch(bytes.into()), ..entry }
}

/// Three members, one of which missed what only a snapshot brought it; its history is fetched from others, of whom some lie.
struct Fetched {
    members: Members,
    node: NodeId,
    last: LogIndex,
}

impl Fetched {
    async fn with_liars(liars: usize) -> Self {
        let members = Members::start_with(3, timers()).await;
        let leader = members.leader().await;
        let node = members.a_follower().await;
        // It asks them in this order.
        for (other, core) in members.all().filter(|(other, _)| *other != node).take(liars) {
            members.board.plug_in(other, Arc::new(Liar(core.receiver())));
        }
        propose_lots(&members, leader, 0..3).await;
        members.board.cut_off(node);
        let last = propose_lots(&members, leader, 3..80).await;
        snapshot_and_purge(&members, leader).await;
        members.board.heal();
        members.all_applied(last).await;
        let fetched = Fetched { members, node, last };
        let mut unproven = fetched.core().gaps().unproven();
        in_time("a gap", unproven.wait_for(|unproven| *unproven > 0)).await.unwrap();
        let mut missing = fetched.core().gaps().missing();
        in_time("a filled gap", missing.wait_for(|missing| *missing == 0)).await.unwrap();
        fetched
    }

    fn core(&self) -> &Core {
        self.members.core(self.node)
    }

    fn disbelieved(&self) -> u64 {
        self.members.measures(self.node).histories_disbelieved.get()
    }

    async fn checkpoint(&self) {
        sign(&self.members, self.members.leader().await).await;
    }

    async fn proven(&self) {
        let mut unproven = self.core().gaps().unproven();
        in_time("a proven history", unproven.wait_for(|unproven| *unproven == 0)).await.unwrap();
    }

    /// All that a member holds up to what was committed in the beginning.
    fn history(&self, node: NodeId) -> Vec<LogEntry> {
        let (archive, mut held) = (self.members.core(node).history().again(), Vec::new());
        while (held.len() as u64) <= self.last {
            let entries = archive.range(held.len() as u64, usize::MAX).unwrap();
            assert!(!entries.is_empty(), "node {node} holds {} entries", held.len());
            held.extend(entries);
        }
        held.truncate(self.last as usize + 1);
        held
    }

    fn files(&self, end: &str) -> usize {
        let folder = std::fs::read_dir(self.members.data(self.node).join("backfill")).unwrap();
        folder.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(end)).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_one_peer_altered_is_set_aside_at_the_next_checkpoint_and_fetched_from_another() {
    let mut fetched = Fetched::with_liars(1).await;
    let honest =
        fetched.members.all().map(|(node, _)| node).filter(|node| *node != fetched.node).last().unwrap();
    assert_ne!(fetched.history(fetched.node), fetched.history(honest), "nothing but a checkpoint tells");
    fetched.checkpoint().await;
    fetched.proven().await;
    assert_eq!(fetched.history(fetched.node), fetched.history(honest));
    assert_eq!(fetched.disbelieved(), 1, "it is told once");
    assert!(fetched.files(".disbelieved") > 0 && fetched.files(".damaged") == 0);
    assert!(fetched.core().automation().is_running(), "the state never stood on it");

    fetched.members.kill(fetched.node).await;
    fetched.members.open(fetched.node).await;
    assert_eq!(*fetched.core().gaps().unproven().borrow(), 0, "what is proven stays so");
}

#[tokio::test(flavor = "multi_thread")]
async fn true_history_is_proven_by_the_first_checkpoint_that_covers_it() {
    let fetched = Fetched::with_liars(0).await;
    assert!(*fetched.core().gaps().unproven().borrow() > 0);
    fetched.checkpoint().await;
    fetched.proven().await;
    assert_eq!((fetched.disbelieved(), fetched.files(".disbelieved")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn fetched_history_that_is_gone_together_with_the_book_of_gaps_is_missed_by_the_next_check_and_fetched_again()
 {
    let mut fetched = Fetched::with_liars(0).await;
    fetched.checkpoint().await;
    fetched.proven().await;
    let before = fetched.history(fetched.node);
    fetched.members.kill(fetched.node).await;
    std::fs::remove_dir_all(fetched.members.data(fetched.node).join("backfill")).unwrap();
    fetched.members.open(fetched.node).await;
    let mut unproven = fetched.core().gaps().unproven();
    in_time("a check that misses it", unproven.wait_for(|unproven| *unproven > 0)).await.unwrap();
    fetched.proven().await;
    assert_eq!(fetched.history(fetched.node), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_to_which_all_others_lie_goes_on_and_believes_none_of_them() {
    let fetched = Fetched::with_liars(2).await;
    fetched.checkpoint().await;
    in_time("both to be found out", async {
        while fetched.disbelieved() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let leader = fetched.members.leader().await;
    let after = propose_lots(&fetched.members, leader, 100..103).await;
    fetched.members.all_applied(after).await;
    assert!(*fetched.core().gaps().unproven().borrow() > 0);
    assert!(fetched.core().automation().is_running());
}
