//! Checkpoints that the cluster makes itself: signed by whoever knows the log, compared by everybody.

use crate::support::members::{Members, lot_created, timers};
use crate::support::{PATIENCE, in_time};
use events::ids::NodeId;
use events::log::checkpoint::Checkpoint;
use events::vocabulary::CheckpointSigned;
use nodes::entropy::OsEntropy;
use nodes::leader::automation::Automation;
use nodes::leader::notary::NotaryError;
use nodes::node::core::{Core, SNAPSHOT_FOLDER};
use nodes::raft::tree::{Verdict, split_frontier};
use nodes::storage::disk::OsDisk;
use nodes::storage::snapshot_file::{SnapshotFiles, SnapshotOptions};
use projector::view::CheckpointView;
use std::sync::Arc;

/// Signs at `node`; the first one waits until the others were heard.
pub(crate) async fn sign(members: &Members, node: NodeId) -> CheckpointView {
    let core = members.core(node);
    let (mut reports, mut serving) = (core.reports(), core.serving());
    in_time("a checkpoint", async {
        loop {
            match core.notary().checkpoint().await {
                Ok(signed) => return signed,
                Err(NotaryError::OlderMember(_)) => reports.changed().await.unwrap(),
                Err(NotaryError::NotServing) => drop(serving.wait_for(|serving| *serving).await.unwrap()),
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
}

pub(crate) async fn all_compared(members: &Members, index: u64) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (node, core) in members.all() {
        let mut compared = core.projector().tree().compared();
        let of_this = |at: &nodes::raft::tree::Compared| at.last.as_ref().is_some_and(|at| at.index >= index);
        let seen = in_time(&format!("node {node} to compare"), compared.wait_for(of_this)).await.unwrap();
        verdicts.push(seen.verdict);
    }
    verdicts
}

async fn propose_lots(members: &Members, node: NodeId, numbers: std::ops::Range<u32>) -> u64 {
    let mut last = 0;
    for number in numbers {
        last = members.core(node).proposer().propose_events(&[lot_created(number)]).await.unwrap().index;
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_compares_its_own_root_with_a_checkpoint_that_any_of_them_signed() {
    let members = Members::start(3).await;
    let (leader, follower) = (members.leader().await, members.a_follower().await);
    for node in [leader, follower, leader] {
        let last = propose_lots(&members, node, 0..5).await;
        members.all_applied(last).await;
        let signed = sign(&members, node).await;
        assert!(signed.size > last && signed.size <= signed.index, "of what was committed before it");
        assert_eq!(all_compared(&members, signed.index).await, [Verdict::Equal; 3]);
        let checkpoint = signed.checkpoint(members.keyring().cluster);
        let note = checkpoint.note(&signed.signature);
        assert_eq!(Checkpoint::open(&note, &members.keyring().checkpoint_key.public()), Ok(checkpoint));
    }
    assert!(members.all().all(|(_, core)| core.automation().is_running()));
}

/// What it signed would be committed once it is back, and lie far behind by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_serve_signs_nothing() {
    let members = Members::start(3).await;
    let follower = members.a_follower().await;
    let last = propose_lots(&members, follower, 0..3).await;
    members.all_applied(last).await;
    sign(&members, follower).await;
    let mut serving = members.core(follower).serving();
    members.board.cut_off(follower);
    in_time("it to serve no more", serving.wait_for(|serving| !*serving)).await.unwrap();
    assert_eq!(members.core(follower).notary().checkpoint().await, Err(NotaryError::NotServing));
    members.board.heal();
    in_time("it to serve again", serving.wait_for(|serving| *serving)).await.unwrap();
    sign(&members, follower).await;
}

async fn automation_after(members: &Members, event: CheckpointSigned) -> Vec<Automation> {
    let leader = members.leader().await;
    members.core(leader).proposer().propose_events(&[event.into()]).await.unwrap();
    let mut seen = Vec::new();
    for (node, core) in members.all() {
        let mut automation = core.automation().watch();
        let stops = automation.wait_for(|now| *now != Automation::Running);
        seen.push(in_time(&format!("automation to stop at node {node}"), stops).await.unwrap().clone());
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_with_another_root_stops_automation_at_every_member_whose_log_is_another() {
    let members = Members::start(3).await;
    let mut altered = Checkpoint {
        cluster: members.keyring().cluster,
        generation: Some(1),
        size: members.core(1).projector().tree().head().unwrap().size,
        root: [9; 32],
    };
    altered.size -= 1;
    let signature = altered.signature(&members.keyring().checkpoint_key);
    let event = CheckpointSigned { generation: 1, size: altered.size, root: altered.root, signature };
    for automation in automation_after(&members, event).await {
        let Automation::LogDiffers(difference) = automation else { panic!("{automation:?}") };
        assert_eq!((difference.checkpoint.size, difference.checkpoint.root), (altered.size, altered.root));
    }
    let refused = members.core(1).notary().checkpoint().await;
    assert!(
        matches!(refused, Err(NotaryError::LogDiffers)),
        "a log that is disputed is not signed again: {refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_the_clusters_key_did_not_sign_stops_automation() {
    let members = Members::start(3).await;
    let head = members.core(1).projector().tree().head().unwrap();
    let event = CheckpointSigned { generation: 1, size: head.size, root: head.root, signature: vec![1; 100] };
    for automation in automation_after(&members, event).await {
        assert!(matches!(automation, Automation::CheckpointForged { .. }), "{automation:?}");
    }
}

async fn snapshot(core: &Core) -> u64 {
    core.raft().trigger().snapshot().await.unwrap();
    let wait = core.raft().wait(Some(PATIENCE));
    let made = wait.metrics(|metrics| metrics.snapshot.is_some(), "a snapshot").await;
    made.unwrap().snapshot.unwrap().index
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_begins_with_a_snapshot_goes_on_with_its_tree() {
    let mut members = Members::start(3).await;
    let (leader, follower) = (members.leader().await, members.a_follower().await);
    propose_lots(&members, leader, 0..30).await;
    snapshot(members.core(follower)).await;
    members.kill(follower).await;
    members.open(follower).await;
    let last = propose_lots(&members, members.leader().await, 30..33).await;
    members.all_applied(last).await;
    let signed = sign(&members, follower).await;
    assert_eq!(all_compared(&members, signed.index).await, [Verdict::Equal; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_a_snapshot_was_sent_to_goes_on_with_its_tree() {
    let members = Members::start_with(3, timers()).await;
    let (leader, lagging) = (members.leader().await, members.a_follower().await);
    propose_lots(&members, leader, 0..3).await;
    members.board.cut_off(lagging);
    let last = propose_lots(&members, leader, 3..80).await;
    let raft = members.core(leader).raft();
    raft.trigger().snapshot().await.unwrap();
    let purged = raft.wait(Some(PATIENCE));
    purged.metrics(|metrics| metrics.purged.is_some_and(|at| at.index >= last), "purged").await.unwrap();
    members.board.heal();
    members.all_applied(last).await;
    let came = members.core(lagging).raft().wait(Some(PATIENCE));
    came.metrics(|metrics| metrics.snapshot.is_some(), "it came as a snapshot").await.unwrap();
    let signed = sign(&members, members.leader().await).await;
    assert_eq!(all_compared(&members, signed.index).await, [Verdict::Equal; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_without_a_frontier_is_made_up_for_from_the_files() {
    let mut members = Members::start(3).await;
    let (leader, follower) = (members.leader().await, members.a_follower().await);
    propose_lots(&members, leader, 0..30).await;
    let index = snapshot(members.core(follower)).await;
    members.kill(follower).await;
    // As an older version wrote it.
    let options = SnapshotOptions {
        dir: members.data(follower).join(SNAPSHOT_FOLDER),
        cluster: members.keyring().cluster,
        node: follower,
        keys: members.keyring().segment_keys().unwrap(),
        reserve_bytes: 0,
    };
    let files = SnapshotFiles::open(Arc::new(OsDisk), Arc::new(OsEntropy), options).unwrap();
    let stored = files.load_newest().unwrap().snapshot.unwrap();
    let (state, frontier) = split_frontier(&stored.state);
    assert_eq!(frontier.map(|frontier| frontier.size()), Some(index + 1));
    files.save(index, &stored.meta, state).unwrap();
    members.open(follower).await;
    let last = propose_lots(&members, members.leader().await, 30..33).await;
    members.all_applied(last).await;
    let signed = sign(&members, follower).await;
    assert_eq!(all_compared(&members, signed.index).await, [Verdict::Equal; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_signs_at_an_interval() {
    let mut members = Members::start(1).await;
    members.kill(1).await;
    let mut deps = members.core_deps(1);
    let mut config = (*deps.config).clone();
    config.limits.checkpoint_ms = 50;
    deps.config = Arc::new(config);
    let core = Core::open(deps).await.unwrap();
    core.run();
    let mut compared = core.projector().tree().compared();
    for _ in 0..2 {
        let at = compared.borrow_and_update().last.as_ref().map_or(0, |last| last.index);
        let newer = |now: &nodes::raft::tree::Compared| now.last.as_ref().is_some_and(|last| last.index > at);
        let seen = in_time("a checkpoint", compared.wait_for(newer)).await.unwrap().clone();
        assert_eq!(seen.verdict, Verdict::Equal);
    }
    core.close().await.unwrap();
}
