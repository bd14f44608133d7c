//! When a node is in the queue group, and how it leaves.

use crate::world::{TOO_LONG, World};
use events::envelope::HeartbeatStatus;
use events::envelope::heartbeat::RequestDigest;
use nodes::bus::subject::UpKind;
use nodes::bus::{BusHealth, QUEUE_GROUP};
use tokio::time::timeout;

async fn until_members(world: &World, members: usize) {
    let wait = world.nodes[0].bus.until_members(QUEUE_GROUP, members);
    timeout(TOO_LONG, wait).await.expect("the membership must change");
}

/// Waits until the node says so of itself.
async fn until_told(world: &World, is_member: bool) {
    let mut joined = world.nodes[0].ingress.joined();
    timeout(TOO_LONG, joined.wait_for(|joined| *joined == is_member)).await.expect("it must say so").unwrap();
}

#[tokio::test]
async fn a_node_that_lost_its_quorum_leaves_the_queue_group_and_comes_back() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    until_members(&world, UpKind::ALL.len()).await;
    until_told(&world, true).await;
    world.nodes[0].serving.send_replace(false);
    until_members(&world, 0).await;
    until_told(&world, false).await;
    world.nodes[0].serving.send_replace(true);
    until_members(&world, UpKind::ALL.len()).await;
    until_told(&world, true).await;
    assert_eq!(terminal.beat(&world, &mut live).await.status, HeartbeatStatus::Committed);
}

#[tokio::test]
async fn a_server_that_must_not_be_used_is_left() {
    let world = World::new().await;
    until_members(&world, UpKind::ALL.len()).await;
    world.nodes[0].bus.set_health(BusHealth::Refused("version 2.9.0".into()));
    until_members(&world, 0).await;
    world.nodes[0].bus.set_health(BusHealth::Connected);
    until_members(&world, UpKind::ALL.len()).await;
}

#[tokio::test]
async fn draining_answers_everybody_who_was_taken() {
    let mut world = World::new().await;
    let terminals: Vec<_> = (0..8).map(|_| world.burn()).collect();
    let mut lives = Vec::new();
    for terminal in &terminals {
        lives.push(terminal.activate(&mut world).await);
    }
    world.log.hold(true);
    let mut waiting = Vec::new();
    for (terminal, live) in terminals.iter().zip(&mut lives) {
        let message = terminal.seal_heartbeat(live);
        let inbox = world.send(0, UpKind::Heartbeat, &terminal.source, &terminal.name(), message.clone());
        waiting.push((message, inbox));
    }
    let node = world.nodes.remove(0);
    let log = world.log.clone();
    let draining = tokio::spawn(node.ingress.drain());
    log.hold(false);
    timeout(TOO_LONG, draining).await.expect("draining must end").unwrap();
    for ((message, mut inbox), live) in waiting.into_iter().zip(lives) {
        let answer = inbox.try_recv().expect("answered before the end").payload;
        live.keys.open_verdict(&RequestDigest::of(&message), &answer).unwrap();
    }
    assert_eq!(node.bus.members(QUEUE_GROUP), 0);
}
