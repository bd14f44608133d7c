//! Snapshots that travel long, or turn out damaged on their way.

use crate::snapshot::{heavy_lot, propose_lots, snapshot_and_purge};
use crate::support::members::Members;
use crate::support::{PATIENCE, in_time};
use events::ids::NodeId;
use futures::future::BoxFuture;
use nodes::peers::{PeerReply, PeerRequest, PeerService};
use nodes::storage::snapshot_spill::PIECE_BYTES;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A member that takes no piece of a snapshot while its gate is shut.
struct Slow {
    inner: Arc<dyn PeerService>,
    open: watch::Receiver<bool>,
    /// Where the snapshots stand that came.
    came: Arc<Mutex<BTreeSet<u64>>>,
    asked: Arc<watch::Sender<bool>>,
}

impl PeerService for Slow {
    fn answer(&self, from: NodeId, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        Box::pin(async move {
            if let PeerRequest::Snapshot(chunk) = &request {
                self.came.lock().extend(chunk.meta.last_log_id.map(|at| at.index));
                self.asked.send_replace(true);
                let _ = self.open.clone().wait_for(|open| *open).await;
            }
            self.inner.answer(from, request).await
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_a_snapshot_is_not_purged_before_the_member_that_it_is_sent_to_has_it() {
    let members = Members::start(3).await;
    let (leader, lagging) = (members.leader().await, members.a_follower().await);
    members.board.cut_off(lagging);
    propose_lots(&members, leader, 0..40).await;
    let sent = snapshot_and_purge(&members, leader).await;
    let (gate, open) = watch::channel(false);
    let (came, asked) = (Arc::<Mutex<BTreeSet<u64>>>::default(), Arc::new(watch::Sender::new(false)));
    let mut begun = asked.subscribe();
    let inner = members.core(lagging).receiver();
    members.board.plug_in(lagging, Arc::new(Slow { inner, open, came: came.clone(), asked }));
    members.board.heal();
    in_time("the transfer to begin", begun.wait_for(|begun| *begun)).await.unwrap();

    let last = propose_lots(&members, leader, 40..80).await;
    let raft = members.core(leader).raft();
    raft.trigger().snapshot().await.unwrap();
    let is_newer = |metrics: &openraft::RaftMetrics<_>| metrics.snapshot.is_some_and(|at| at.index >= last);
    raft.wait(Some(PATIENCE)).metrics(is_newer, "another snapshot").await.unwrap();
    // Where nothing is held it is purged within a fifth of a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let purged = raft.wait(Some(PATIENCE)).metrics(|_| true, "now").await.unwrap().purged;
    assert_eq!(purged.map(|at| at.index), Some(sent), "what the member needs next is there");

    gate.send_replace(true);
    members.all_applied(last).await;
    assert_eq!(came.lock().iter().copied().collect::<Vec<_>>(), [sent], "no second one had to be sent");
    let goes_on = |metrics: &openraft::RaftMetrics<_>| metrics.purged.is_some_and(|at| at.index >= last);
    raft.wait(Some(PATIENCE)).metrics(goes_on, "a purge once it is near").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_turns_out_damaged_while_it_is_sent_is_replaced_by_another_for_who_waits() {
    for damaged_at in [1000, 3 * PIECE_BYTES] {
        let members = Members::start(3).await;
        let (leader, lagging) = (members.leader().await, members.a_follower().await);
        members.board.cut_off(lagging);
        let mut last = 0;
        for number in 100..120 {
            let proposed = members.core(leader).proposer().propose_events(&[heavy_lot(number)]).await;
            last = proposed.unwrap().index;
        }
        let at = snapshot_and_purge(&members, leader).await;
        let path: PathBuf = members.data(leader).join(format!("snapshots/snapshot-{at:020}.snap"));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[damaged_at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        members.board.heal();
        members.all_applied(last).await;
        let wait = members.core(lagging).raft().wait(Some(PATIENCE));
        wait.metrics(|metrics| metrics.snapshot.is_some(), "it came as a snapshot").await.unwrap();
    }
}
