//! How many batches without effect three members commit, to know what the rest stands on.

use crate::support::members::Members;
use crate::whole::House;
use events::batch::{Batch, BatchId};
use events::ids::NodeId;
use events::vocabulary::Tick;
use nodes::node::core::Core;
use nodes::proposer::Proposer;
use std::time::{Duration, Instant};

/// Proposers at one time.
const LANES: u64 = 32;

/// Batches of one round; set `MUSTER_BENCH` for a figure worth keeping.
fn rounds() -> u64 {
    if std::env::var_os("MUSTER_BENCH").is_some() { 2_000 } else { 20 }
}

fn batch(node: NodeId, boot: u64, counter: u64) -> Vec<u8> {
    let mut batch = Batch::new(BatchId { node, boot, counter });
    batch.push(&Tick {}.into()).unwrap();
    batch.encode().unwrap()
}

async fn lane(node: NodeId, proposer: Proposer, boot: u64, rounds: u64) {
    for counter in 1..=rounds {
        let outcomes = proposer.propose(batch(node, boot, counter)).await.unwrap();
        assert!(!outcomes.duplicate);
    }
}

fn per_second(batches: u64, elapsed: Duration) -> f64 {
    batches as f64 / elapsed.as_secs_f64()
}

/// Commits batches one after the other, then side by side, and says how fast.
async fn measure(what: &str, core: &Core) {
    let (node, proposer) = (*core.raft().node_id(), core.proposer());
    let rounds = rounds();
    let began = Instant::now();
    lane(node, proposer.clone(), 1, rounds).await;
    let one_by_one = began.elapsed();

    let began = Instant::now();
    let lanes: Vec<_> =
        (0..LANES).map(|n| tokio::spawn(lane(node, proposer.clone(), 10 + n, rounds / 4))).collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    let side_by_side = began.elapsed();
    eprintln!(
        "{what}: one by one {:.0}/s ({:.2} ms each); {LANES} side by side {:.0}/s",
        per_second(rounds, one_by_one),
        1000.0 * one_by_one.as_secs_f64() / rounds as f64,
        per_second(LANES * (rounds / 4), side_by_side),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_commit_batches_one_after_the_other_and_side_by_side() {
    let members = Members::start(3).await;
    let leader = members.leader().await;
    measure("three cores, wire in memory", members.core(leader)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_whole_nodes_commit_what_a_follower_forwards() {
    let house = House::new(3);
    let nodes = house.start_all().await;
    let leader = nodes[0].core().raft().metrics();
    let leader = openraft::async_runtime::watch::WatchReceiver::borrow_watched(&leader).current_leader;
    let follower = if leader == Some(1) { &nodes[1] } else { &nodes[0] };
    measure("three nodes over TLS, through a follower", follower.core()).await;
}
