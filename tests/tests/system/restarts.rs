//! Nodes are stopped, killed and started again: nothing that was acknowledged is lost, and terminals go on.

use ops::dev::evidence;
use ops::dev::stage::Stage;
use std::time::{Duration, Instant};
use tests::Staged;

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the fleet has so many more acknowledgements than now.
async fn beats(stage: &Stage, more: u64) {
    let before = stage.crowd.counters().heartbeats_acknowledged;
    let deadline = Instant::now() + PATIENCE;
    while stage.crowd.counters().heartbeats_acknowledged < before + more {
        assert!(Instant::now() < deadline, "only {:?} after {before}", stage.crowd.counters());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Silences the terminals and checks every acknowledgement against every log.
async fn nothing_is_lost(staged: &mut Staged) {
    let acknowledged = staged.stage.crowd.stop().await.unwrap();
    let names: std::collections::BTreeSet<_> = acknowledged.iter().map(|a| a.name).collect();
    assert!(names.len() > 20, "the fleet was heard: {}", names.len());
    let evidence = evidence::gather(&staged.stage.cluster).await.unwrap();
    assert_eq!(evidence.found_in_every_log(&names), names.len());
    let ends: Vec<_> = evidence.logs.iter().map(|log| log.digest_at_end).collect();
    assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
}

#[tokio::test]
async fn nodes_that_are_restarted_one_after_the_other_lose_nothing() {
    let mut staged = tests::staged(12).await;
    for node in 1..=3 {
        staged.stage.cluster.stop(node).await.unwrap();
        beats(&staged.stage, 5).await;
        staged.stage.cluster.start(node).unwrap();
        staged.stage.cluster.wait_until_ready().await.unwrap();
    }
    beats(&staged.stage, 10).await;
    nothing_is_lost(&mut staged).await;
}

#[tokio::test]
async fn all_nodes_killed_at_once_come_back_with_everything() {
    let mut staged = tests::staged(12).await;
    beats(&staged.stage, 20).await;
    for node in 1..=3 {
        staged.stage.cluster.kill(node).unwrap();
    }
    staged.stage.cluster.launch().await.unwrap();
    beats(&staged.stage, 20).await;
    nothing_is_lost(&mut staged).await;
}

/// Rounds of kills; `MUSTER_KILL_ROUNDS` asks for more.
fn rounds() -> u64 {
    std::env::var("MUSTER_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4)
}

/// Each round kills a node, two, or all three with SIGKILL while the fleet beats, at whatever they are doing then.
#[tokio::test]
async fn nodes_killed_again_and_again_under_load_lose_nothing_that_a_terminal_was_told_is_kept() {
    let mut staged = tests::staged(12).await;
    let mut random = u64::from(std::process::id()) | 1;
    let mut chance = |limit: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % limit
    };
    for round in 0..rounds() {
        beats(&staged.stage, 3 + chance(10)).await;
        let (first, count) = (chance(3), 1 + chance(3));
        let killed: Vec<_> = (0..count).map(|nth| 1 + (first + nth) % 3).collect();
        for node in &killed {
            staged.stage.cluster.kill(*node).unwrap();
            tokio::time::sleep(Duration::from_millis(chance(200))).await;
        }
        for node in &killed {
            staged
                .stage
                .cluster
                .start(*node)
                .unwrap_or_else(|error| panic!("round {round}, {killed:?}: {error:#}"));
        }
        staged
            .stage
            .cluster
            .wait_until_ready()
            .await
            .unwrap_or_else(|error| panic!("round {round}, {killed:?}: {error:#}"));
    }
    beats(&staged.stage, 10).await;
    nothing_is_lost(&mut staged).await;
}
