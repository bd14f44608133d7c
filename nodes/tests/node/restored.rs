//! A cluster that lost a majority of its disks goes on from older copies of them, in the order that the operator's guide gives.

use crate::support::PATIENCE;
use crate::support::members::{Members, lot, lot_created};
use events::ids::NodeId;
use nodes::raft::leadership::Leadership;
use std::path::Path;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copy(&from, &to),
            false => drop(std::fs::copy(&from, &to).unwrap()),
        }
    }
}

async fn kill_all(members: &mut Members) {
    for node in 1..=3 {
        members.kill(node).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_older_copies_of_a_lost_majority_whoever_has_the_longest_log_leads_and_nothing_that_it_has_is_forgotten()
 {
    let mut members = Members::start(3).await;
    members.core(1).proposer().propose_events(&[lot_created(1)]).await.unwrap();
    kill_all(&mut members).await;
    let lost: [NodeId; 2] = [2, 3];
    let backup = members.dir.path().join("backup");
    for node in lost {
        copy(&members.data(node), &backup.join(node.to_string()));
    }
    for node in 1..=3 {
        members.open(node).await;
    }
    members.leader().await;
    let later = members.core(1).proposer().propose_events(&[lot_created(2)]).await.unwrap();
    members.all_applied(later.index).await;
    kill_all(&mut members).await;
    for node in lost {
        std::fs::remove_dir_all(members.data(node)).unwrap();
        copy(&backup.join(node.to_string()), &members.data(node));
    }

    // The one with the longest log, and as many as make a majority: only it can win.
    members.open(1).await;
    members.open(2).await;
    // Asked of itself: what the other one says of the leader may be what its old vote says.
    let wait = members.core(1).raft().wait(Some(PATIENCE));
    wait.metrics(|metrics| matches!(Leadership::of(metrics), Leadership::Here { .. }), "node 1 to lead")
        .await
        .unwrap();
    members.open(3).await;
    let last = members.core(3).proposer().propose_events(&[lot_created(3)]).await.unwrap();
    members.all_applied(last.index).await;
    for (node, core) in members.all() {
        let known = core.projector().read(|fold| [1, 2, 3].map(|number| fold.lot(&lot(number)).is_some()));
        assert_eq!(known, [true; 3], "node {node}");
    }
}
