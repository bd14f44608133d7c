//! A node that lags (protocol.md rule 9): it waits before it counts.

use crate::world::{World, answered, reason};
use events::envelope::{Answer, HeartbeatStatus, open_activation_answer};
use events::vocabulary::RejectionSummary;
use events::vocabulary::rejection::RejectionReason;
use nodes::bus::subject::UpKind;

const FOLLOWER: usize = 1;

async fn until_parked(world: &World, count: u64) {
    world.until_counted(FOLLOWER, |counters| counters.parked >= count).await;
}

#[tokio::test]
async fn rule_9_a_heartbeat_of_an_epoch_that_a_node_has_not_applied_waits_for_it() {
    let mut world = World::new().await;
    world.add_follower().await;
    let terminal = world.burn();
    world.log.catch_up();
    let mut live = terminal.activate(&mut world).await;
    let message = terminal.seal_heartbeat(&mut live);
    let name = terminal.name();
    let mut inbox = world.send(FOLLOWER, UpKind::Heartbeat, &terminal.source, &name, message.clone());
    until_parked(&world, 1).await;
    assert!(inbox.try_recv().is_err());
    world.log.catch_up();
    let answer = answered(&mut inbox).await;
    let verdict = terminal.accept(&mut live, &message, &answer);
    assert_eq!(verdict.status, HeartbeatStatus::Committed);
    assert_eq!(world.summaries(), [], "nothing was counted");
}

#[tokio::test]
async fn rule_9_a_resume_of_an_epoch_that_a_node_has_not_applied_waits_for_it() {
    let mut world = World::new().await;
    world.add_follower().await;
    let terminal = world.burn();
    world.log.catch_up();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let ticket = terminal.hello(&world).await;
    let (head, message) = terminal.seal_resume(&live, &ticket, 1);
    let name = terminal.name();
    let mut inbox = world.send(FOLLOWER, UpKind::Resume, &terminal.source, &name, message.clone());
    until_parked(&world, 1).await;
    world.log.catch_up();
    // Its own next batch shows the node that it caught up; a refusal of something else brings one.
    world.ask_node(FOLLOWER, UpKind::Heartbeat, "prober", &name, vec![1]).await;
    let mut committed = world.nodes[0].fold.applied();
    let answer = loop {
        tokio::select! {
            answer = inbox.recv() => break answer.unwrap().payload,
            Ok(()) = committed.changed() => world.log.catch_up(),
        }
    };
    let answer = events::envelope::open_resume_answer(&live.secret, &head, &message, &answer);
    assert!(answer.is_ok(), "granted or refused inside the seal, not counted as a forgery");
}

#[tokio::test]
async fn rule_9_a_device_that_a_node_has_not_imported_yet_waits() {
    let mut world = World::new().await;
    world.add_follower().await;
    world.log.catch_up();
    let terminal = world.burn();
    let ticket = terminal.hello(&world).await;
    let message = terminal.seal_activation(&world, &ticket, &terminal.activation_body(None)).message;
    let name = terminal.name();
    let mut inbox = world.send(FOLLOWER, UpKind::Activation, &terminal.source, &name, message);
    until_parked(&world, 1).await;
    world.log.catch_up();
    let answer = answered(&mut inbox).await;
    assert_ne!(answer.len(), events::envelope::Refusal::BYTES, "refused inside the seal: it was opened");
}

#[tokio::test]
async fn rule_9_a_code_that_a_node_has_not_heard_of_yet_is_not_refused_by_it() {
    let mut world = World::new().await;
    world.add_follower().await;
    let terminal = world.burn();
    world.log.catch_up();
    let code = world.sell_code();
    let ticket = terminal.hello(&world).await;
    let prepared = terminal.seal_activation(&world, &ticket, &terminal.activation_body(Some(code)));
    let send = |world: &World| {
        let message = prepared.message.clone();
        world.send(FOLLOWER, UpKind::Activation, &terminal.source, &terminal.name(), message)
    };
    let mut inbox = send(&world);
    until_parked(&world, 1).await;
    world.clock.advance(1_000);
    let answer = answered(&mut inbox).await;
    assert_eq!(
        reason(&answer),
        RejectionReason::Unavailable,
        "unsealed: the agent keeps its code and asks again"
    );

    let mut inbox = send(&world);
    until_parked(&world, 2).await;
    world.log.catch_up();
    let answer = answered(&mut inbox).await;
    let opened = open_activation_answer(&prepared.exporter, &prepared.message, &answer);
    assert!(matches!(opened, Ok((_, Answer::Granted(_)))), "{opened:?}");
    let charged = |summary: &RejectionSummary| summary.entries.iter().any(|entry| entry.device.is_some());
    assert!(!world.summaries().iter().any(charged), "nobody guessed");
}

#[tokio::test]
async fn rule_9_who_claims_to_have_seen_too_much_is_told_unavailable_in_the_end() {
    let mut world = World::new().await;
    world.add_follower().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    world.log.catch_up();
    live.seen = u64::MAX;
    let message = terminal.seal_heartbeat(&mut live);
    let name = terminal.name();
    let mut inbox = world.send(FOLLOWER, UpKind::Heartbeat, &terminal.source, &name, message);
    until_parked(&world, 1).await;
    world.clock.advance(1_000);
    let answer = answered(&mut inbox).await;
    assert_eq!(reason(&answer), RejectionReason::Unavailable);
}

#[tokio::test]
async fn rule_7_who_remembers_a_log_that_is_no_more_is_served_once_the_node_is_sure() {
    let mut world = World::new().await;
    let (restored, other) = (world.burn(), world.burn());
    let mut live = restored.activate(&mut world).await;
    let mut others = other.activate(&mut world).await;
    live.seen = 1_000_000;
    let message = restored.seal_heartbeat(&mut live);
    let mut inbox = world.send(0, UpKind::Heartbeat, &restored.source, &restored.name(), message.clone());
    world.until_counted(0, |counters| counters.parked > 0).await;
    // The clock must show that the next batch began after the message came.
    world.clock.advance(1);
    other.beat(&world, &mut others).await;
    let verdict = restored.accept(&mut live, &message, &answered(&mut inbox).await);
    assert_eq!(verdict.status, HeartbeatStatus::Committed);
}

#[tokio::test]
async fn rule_9_parking_is_bounded_per_source() {
    let mut world = World::new().await;
    world.add_follower().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    let mut inboxes = Vec::new();
    for _ in 0..40 {
        let message = terminal.seal_heartbeat(&mut live);
        let name = terminal.name();
        inboxes.push(world.send(FOLLOWER, UpKind::Heartbeat, &terminal.source, &name, message));
    }
    world.admitted(FOLLOWER).await;
    let told = inboxes.iter_mut().filter_map(|inbox| inbox.try_recv().ok());
    let told: Vec<_> = told.map(|message| reason(&message.payload)).collect();
    assert_eq!(told, vec![RejectionReason::Unavailable; 24], "sixteen wait, the others hear so at once");
}
