//! protocol.md rule 10: whose clock is off neither leads nor stamps.

use crate::support::members::{Members, lot_created};
use crate::support::{PATIENCE, in_time};
use events::ids::NodeId;
use nodes::leader::clock_guard::ClockVerdict;

#[tokio::test(flavor = "multi_thread")]
async fn rule_10_a_leader_whose_clock_jumps_hands_over_and_stamps_nothing_of_it() {
    let members = Members::start(3).await;
    let leader: NodeId = members.leader().await;
    members.core(leader).proposer().propose_events(&[lot_created(1)]).await.unwrap();
    let before = members.core(leader).projector().read(|fold| fold.stamp());
    members.clocks[&leader].set_ahead(365 * 86_400_000);

    let wait = members.core(leader).raft().wait(Some(PATIENCE));
    let moved =
        wait.metrics(|metrics| metrics.current_leader.is_some_and(|now| now != leader), "another leads");
    moved.await.unwrap();
    assert!(matches!(members.core(leader).clock_guard().verdict(), ClockVerdict::Off { .. }));
    let proposed =
        in_time("a commit", members.core(leader).proposer().propose_events(&[lot_created(2)])).await;
    let stamp = proposed.unwrap().stamp;
    assert!(stamp.millis_since(before) < 60_000, "no stamp of the year after got in: {stamp}");
}
