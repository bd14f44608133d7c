//! Containers are killed, frozen, cut off and restarted: nothing that was acknowledged is lost, and terminals go on.

use super::docker;
use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_or_frozen_is_replaced() {
    let world = World::set_up(12).await;
    let killed = world.leader().await;
    docker::kill(&world.node(killed).running.name);
    world.order().await;
    world.beats(20).await;
    docker::start(&world.node(killed).running.name);
    world.ready().await;

    let frozen = world.leader().await;
    docker::pause(&world.node(frozen).running.name);
    world.order().await;
    world.beats(20).await;
    docker::unpause(&world.node(frozen).running.name);
    world.ready().await;
    world.beats(20).await;
    world.nothing_is_lost().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_lead_is_killed_and_catches_up_with_what_it_missed() {
    let world = World::set_up(12).await;
    let leader = world.leader().await;
    let killed = world.nodes.iter().map(|node| node.id).find(|id| *id != leader).unwrap();
    docker::kill(&world.node(killed).running.name);
    world.order().await;
    world.beats(20).await;
    assert_eq!(world.leader().await, leader, "two of three go on under the same leader");
    docker::start(&world.node(killed).running.name);
    world.ready().await;
    world.beats(5).await;
    world.nothing_is_lost().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_acknowledges_nothing_and_comes_back() {
    let world = World::set_up(12).await;
    let cut_off = world.leader().await;
    world.cut_off(cut_off);
    world.order().await;
    world.beats(20).await;
    assert_ne!(world.leader().await, cut_off);
    world.join_again(cut_off);
    world.ready().await;
    world.beats(20).await;
    world.nothing_is_lost().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_and_agents_that_are_killed_come_back_by_themselves() {
    let world = World::set_up(12).await;
    docker::kill(&world.nats.name);
    docker::start(&world.nats.name);
    world.beats(20).await;

    let agent = &world.agents[0];
    let before = agent.acknowledged().len();
    docker::kill(&agent.running.name);
    docker::start(&agent.running.name);
    world.until("the agent is answered again", async || agent.acknowledged().len() > before + 2).await;
    world.nothing_is_lost().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_is_clean_and_loses_nothing() {
    let world = World::set_up(12).await;
    for node in &world.nodes {
        assert_eq!(docker::stop(&node.running.name), 0, "a clean end");
        world.order().await;
        world.beats(5).await;
        docker::start(&node.running.name);
        world.ready().await;
    }
    world.beats(20).await;
    world.nothing_is_lost().await;
}
