//! Stories of a cluster that commits.

use crate::support::in_time;
use crate::support::members::{Members, lot, lot_created};
use events::limits::DIGEST_INDEX_INTERVAL;
use projector::Outcome;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_follower_proposes_is_committed_and_applied_alike_on_every_node() {
    let members = Members::start(3).await;
    let follower = members.a_follower().await;
    let mut last = 0;
    for number in 0..u32::try_from(DIGEST_INDEX_INTERVAL).unwrap() {
        let outcomes =
            in_time("a commit", members.core(follower).proposer().propose_events(&[lot_created(number)]))
                .await;
        let outcomes = outcomes.unwrap();
        assert_eq!(outcomes.events, [Outcome::Accepted], "lot {number}");
        last = outcomes.index;
    }
    members.all_applied(last).await;
    for (node, core) in members.all() {
        assert_eq!(core.projector().read(|fold| fold.lots().count()), 64, "lots at node {node}");
    }
    let digests = members.digests_at(DIGEST_INDEX_INTERVAL);
    assert!(digests[0].is_some());
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_event_of_a_log_names_the_cluster() {
    let members = Members::start(3).await;
    for (node, core) in members.all() {
        let (cluster, generation) = core.projector().read(|fold| (fold.cluster(), fold.generation()));
        assert_eq!((cluster, generation), (Some(crate::support::CLUSTER), 1), "at node {node}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_cluster_ticks() {
    let members = Members::start(1).await;
    members.leader().await;
    let mut applied = members.core(1).projector().applied();
    let stamp = || members.core(1).projector().read(|fold| fold.stamp());
    let (before, at) = (stamp(), *applied.borrow());
    in_time("two ticks", applied.wait_for(|index| *index >= at + 2)).await.unwrap();
    assert!(stamp() > before, "log time goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_survives_the_death_of_the_leader() {
    let mut members = Members::start(3).await;
    let follower = members.a_follower().await;
    let leader = members.leader().await;
    members.core(follower).proposer().propose_events(&[lot_created(1)]).await.unwrap();
    members.kill(leader).await;
    let outcomes =
        in_time("a new leader's commit", members.core(follower).proposer().propose_events(&[lot_created(2)]))
            .await;
    assert_eq!(outcomes.unwrap().events, [Outcome::Accepted]);
    assert_ne!(members.leader().await, leader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_restarts_has_lost_nothing_and_catches_up() {
    let mut members = Members::start(3).await;
    let follower = members.a_follower().await;
    let leader = members.leader().await;
    for number in 0..10 {
        members.core(leader).proposer().propose_events(&[lot_created(number)]).await.unwrap();
    }
    let known = *members.core(follower).projector().applied().borrow();
    members.kill(follower).await;
    let leader = members.leader().await;
    let missed = members.core(leader).proposer().propose_events(&[lot_created(10)]).await.unwrap().index;
    members.open(follower).await;
    let at_once = members.core(follower).projector().read(|fold| fold.applied());
    assert!(at_once + 1 >= known, "recovered {at_once} from its own disk, knew {known}");
    members.all_applied(missed).await;
    assert!(members.core(follower).projector().read(|fold| fold.lot(&lot(10)).is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_that_restarts_has_lost_nothing() {
    let mut members = Members::start(3).await;
    let leader = members.leader().await;
    let last = members.core(leader).proposer().propose_events(&[lot_created(1)]).await.unwrap().index;
    members.all_applied(last).await;
    for node in 1..=3 {
        members.kill(node).await;
    }
    for node in 1..=3 {
        members.open(node).await;
    }
    members.leader().await;
    members.all_applied(last).await;
    for (node, core) in members.all() {
        assert!(core.projector().read(|fold| fold.lot(&lot(1)).is_some()), "lot at node {node}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leadership_moves_to_the_member_that_is_asked() {
    let members = Members::start(3).await;
    let leader = members.leader().await;
    let heir = members.a_follower().await;
    let core = members.core(leader);
    let reports = core.reports().borrow().clone();
    let asked = nodes::leader::transfer::hand_over_to(core.raft(), &reports, Some(heir)).await;
    assert_eq!(asked, Some(heir));
    let wait = members.core(leader).raft().wait(Some(crate::support::PATIENCE));
    wait.current_leader(heir, "the heir leads").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_promised() {
    let mut timers = crate::support::members::timers();
    timers.proposal_ms_max = 600;
    let mut members = Members::start_with(3, timers).await;
    let leader = members.leader().await;
    let others: Vec<_> = members.all().map(|(node, _)| node).filter(|node| *node != leader).collect();
    for node in others {
        members.kill(node).await;
    }
    let answer = members.core(leader).proposer().propose_events(&[lot_created(1)]).await;
    let error = answer.unwrap_err();
    assert!(matches!(error, nodes::proposer::ProposeError::Unknown { .. }), "{error:?}");
}
