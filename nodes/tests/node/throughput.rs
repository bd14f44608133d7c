//! How many batches without effect three members commit, to know what the rest stands on.

use crate::support::members::Members;
use events::batch::{Batch, BatchId};
use events::vocabulary::Tick;
use std::time::Instant;

/// Batches of one round; set `MUSTER_BENCH` for a figure worth keeping.
fn rounds() -> u64 {
    if std::env::var_os("MUSTER_BENCH").is_some() { 2_000 } else { 20 }
}

fn batch(boot: u64, counter: u64) -> Vec<u8> {
    let mut batch = Batch::new(BatchId { node: 1, boot, counter });
    batch.push(&Tick {}.into()).unwrap();
    batch.encode().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_commit_batches_one_after_the_other_and_side_by_side() {
    let members = Members::start(3).await;
    let leader = members.leader().await;
    let proposer = members.core(leader).proposer().clone();
    let rounds = rounds();

    let began = Instant::now();
    for counter in 1..=rounds {
        proposer.propose(batch(1, counter)).await.unwrap();
    }
    let one_by_one = began.elapsed();

    let began = Instant::now();
    let lanes = (10..42).map(|boot| {
        let proposer = proposer.clone();
        tokio::spawn(async move {
            for counter in 1..=rounds / 4 {
                proposer.propose(batch(boot, counter)).await.unwrap();
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
    let side_by_side = began.elapsed();
    let per_second = |batches: u64, elapsed: std::time::Duration| batches as f64 / elapsed.as_secs_f64();
    eprintln!(
        "one by one: {:.0}/s ({:.2} ms each); 32 side by side: {:.0}/s",
        per_second(rounds, one_by_one),
        1000.0 * one_by_one.as_secs_f64() / rounds as f64,
        per_second(32 * (rounds / 4), side_by_side),
    );
}
