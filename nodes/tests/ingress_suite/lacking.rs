//! A node whose keyring lacks a key: retired, or not given to it yet. What it cannot judge is held against nobody.

use crate::terminal::{Live, Terminal};
use crate::world::{LOT, World, reason, source_id};
use events::envelope::{Answer, TamperReport};
use events::ids::RecordDigest;
use events::keyring::rotation::KeyList;
use events::vocabulary::rejection::{RejectionReason, TamperReason};
use nodes::bus::subject::UpKind;

/// A world whose second node lacks the key of what is wrapped so far in `list`, with a terminal that is in service.
async fn world_lacking(list: KeyList) -> (World, Terminal, Live) {
    let mut world = World::new().await;
    world.add_twin_lacking(list).await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    (world, terminal, live)
}

/// Waits for summaries past all that was sent to the second node; none of them may name the terminal's source.
async fn assert_nobody_was_charged(world: &World, terminal: &Terminal) {
    world.ask_node(1, UpKind::Heartbeat, "prober", &terminal.name(), vec![1]).await;
    world.until_refused("prober", RejectionReason::Malformed, 1).await;
    let charged = |source: &str| {
        let entries = |summary: &events::vocabulary::RejectionSummary| summary.entries.clone();
        world.summaries().iter().flat_map(entries).any(|entry| entry.source == source_id(source))
    };
    assert!(charged("prober"));
    assert!(!charged(&terminal.source), "{:?}", world.summaries());
}

#[tokio::test]
async fn a_session_under_a_retired_key_is_told_to_re_key_and_its_source_is_not_charged() {
    let (world, terminal, mut live) = world_lacking(KeyList::Session).await;
    let message = terminal.seal_heartbeat(&mut live);
    let answer = terminal.send_heartbeat(&world, 1, &message).await;
    assert_eq!(reason(&answer), RejectionReason::NotAuthentic, "what lets an agent resume");
    let ticket = terminal.hello_to(&world, 1).await;
    let (_, message) = terminal.seal_resume(&live, &ticket, 1);
    let answer = world.ask_node(1, UpKind::Resume, &terminal.source, &terminal.name(), message).await;
    assert_eq!(reason(&answer), RejectionReason::NotAuthentic, "what lets an agent re-key");
    assert_nobody_was_charged(&world, &terminal).await;

    let ticket = terminal.hello_to(&world, 1).await;
    let prepared = terminal.seal_activation(&world, &ticket, &terminal.activation_body(None));
    match terminal.ask_activation(&world, &prepared).await {
        (index, Answer::Granted(grant)) => live = terminal.after_activation(&prepared, index, &grant),
        (_, Answer::Refused(reason)) => panic!("the re-key was refused: {reason}"),
    }
    terminal.beat(&world, &mut live).await;
}

#[tokio::test]
async fn what_is_tried_with_a_key_that_the_node_has_is_charged_as_ever() {
    let (world, terminal, live) = world_lacking(KeyList::Device).await;
    let mut forged = terminal.seal_heartbeat(&mut live.clone());
    *forged.last_mut().unwrap() ^= 1;
    world.ask_node(1, UpKind::Heartbeat, "forger", &terminal.name(), forged).await;
    world.until_refused("forger", RejectionReason::NotAuthentic, 1).await;
}

#[tokio::test]
async fn a_device_whose_key_this_node_lacks_is_sent_to_another_node() {
    let (world, terminal, _) = world_lacking(KeyList::Device).await;
    let ticket = terminal.hello_to(&world, 1).await;
    let prepared = terminal.seal_activation(&world, &ticket, &terminal.activation_body(None));
    let message = prepared.message;
    let answer = world.ask_node(1, UpKind::Activation, &terminal.source, &terminal.name(), message).await;
    assert_eq!(reason(&answer), RejectionReason::Unavailable);
    let report = TamperReport {
        lot: LOT,
        record: RecordDigest::from_bytes([1; 16]),
        reason: TamperReason::RecordInvalid,
        mismatched: 0,
        random: [1; 16],
    };
    let message = report.seal(&world.tamper_key);
    let answer = world.ask_node(1, UpKind::Tamper, &terminal.source, &LOT.to_string(), message).await;
    assert_eq!(reason(&answer), RejectionReason::Unavailable);
    assert_nobody_was_charged(&world, &terminal).await;
}
