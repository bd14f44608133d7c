//! protocol.md rule 10: whose clock is off neither leads nor stamps.

use crate::support::members::{Members, lot_created};
use crate::support::{PATIENCE, in_time};
use events::ids::NodeId;
use nodes::leader::clock_guard::ClockVerdict;
use nodes::leader::transfer::hand_over_to;
use nodes::peers::{PeerAddress, PeerReply, PeerRequest};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::TransferLeaderRequest;

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

/// Sets a member's clock a year ahead and waits until the leader heard the member say so.
async fn set_off(members: &Members, leader: NodeId, node: NodeId) {
    members.clocks[&node].set_ahead(365 * 86_400_000);
    let mut reports = members.core(leader).reports();
    let said = reports.wait_for(|reports| {
        let status = reports.get(&node).and_then(|report| report.status.as_ref());
        status.is_some_and(|status| status.clock_verdict.is_off())
    });
    in_time("the member's own verdict on its clock", said).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_10_a_member_whose_clock_is_off_is_never_asked_to_lead() {
    let members = Members::start(3).await;
    let leader = members.leader().await;
    let off = members.a_follower().await;
    let good = members.all().map(|(node, _)| node).find(|node| *node != leader && *node != off).unwrap();
    set_off(&members, leader, off).await;
    let core = members.core(leader);
    let reports = core.reports().borrow().clone();
    assert_eq!(hand_over_to(core.raft(), &reports, Some(off)).await, None, "not even if it is named");
    assert_eq!(hand_over_to(core.raft(), &reports, None).await, Some(good));
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_10_a_member_whose_clock_is_off_refuses_the_leadership_that_it_is_handed() {
    let members = Members::start(3).await;
    let leader = members.leader().await;
    let off = members.a_follower().await;
    set_off(&members, leader, off).await;
    let vote = members.core(leader).raft().metrics().borrow_watched().vote;
    let request = PeerRequest::TransferLeader(TransferLeaderRequest::new(vote, off, None));
    let to = PeerAddress { node: off, address: String::new() };
    let reply = members.transport(leader).call(&to, request, PATIENCE).await.unwrap();
    let PeerReply::Refused(why) = reply else { panic!("it took the leadership: {reply:?}") };
    assert!(why.contains("clock"), "{why}");
    assert_eq!(members.leader().await, leader);
}
