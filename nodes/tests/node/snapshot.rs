//! Stories of snapshots.

use crate::support::in_time;
use crate::support::members::{Members, lot, lot_created, timers};

async fn propose_lots(members: &Members, through: u64, numbers: std::ops::Range<u32>) -> u64 {
    let mut last = 0;
    for number in numbers {
        let proposed = members.core(through).proposer().propose_events(&[lot_created(number)]).await;
        last = proposed.unwrap().index;
    }
    last
}

async fn snapshot_and_purge(members: &Members, node: u64) -> u64 {
    let raft = members.core(node).raft();
    raft.trigger().snapshot().await.unwrap();
    let wait = raft.wait(Some(crate::support::PATIENCE));
    let made =
        wait.metrics(|metrics| metrics.snapshot.is_some() && metrics.purged == metrics.snapshot, "purged");
    made.await.unwrap().snapshot.unwrap().index
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lags_behind_the_purged_log_gets_a_snapshot() {
    let members = Members::start_with(3, timers()).await;
    let leader = members.leader().await;
    let lagging = members.a_follower().await;
    propose_lots(&members, leader, 0..3).await;
    members.board.cut_off(lagging);
    let last = propose_lots(&members, leader, 3..80).await;
    let floor = snapshot_and_purge(&members, leader).await;
    assert!(floor >= last, "the leader has only its snapshot of what the other missed");

    members.board.heal();
    members.all_applied(last).await;
    let wait = members.core(lagging).raft().wait(Some(crate::support::PATIENCE));
    wait.metrics(|metrics| metrics.snapshot.is_some(), "it came as a snapshot").await.unwrap();
    let leader = members.leader().await;
    let after = propose_lots(&members, leader, 80..200).await;
    members.all_applied(after).await;
    let fixed = after / 64 * 64;
    let digests = members.digests_at(fixed);
    assert!(digests.iter().all(|digest| digest.is_some() && *digest == digests[0]), "{digests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_stands_at_its_snapshot_again_after_a_restart() {
    let mut members = Members::start(1).await;
    members.leader().await;
    let before = propose_lots(&members, 1, 0..5).await;
    snapshot_and_purge(&members, 1).await;
    let after = propose_lots(&members, 1, 5..8).await;
    let whole = members.core(1).projector().read(|fold| (fold.lots().count(), fold.applied()));
    members.kill(1).await;
    members.open(1).await;
    in_time("its own leadership", members.leader()).await;
    let (lots, applied) = members.core(1).projector().read(|fold| (fold.lots().count(), fold.applied()));
    assert_eq!(lots, 8);
    assert!(before < after && applied >= whole.1);
    assert!(members.core(1).projector().read(|fold| fold.lot(&lot(7)).is_some()));
}
