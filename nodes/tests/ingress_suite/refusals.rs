//! Bad input on every subject: a coded answer, a count, a summary, and honest terminals that go on unharmed.

use crate::world::{World, reason, source_id};
use events::envelope::{Refusal, TamperReport};
use events::ids::{DeviceId, RecordDigest};
use events::limits::MESSAGE_BYTES_MAX;
use events::update::UpdateRequest;
use events::vocabulary::Event;
use events::vocabulary::rejection::{RejectionReason, TamperReason};
use nodes::bus::Message;
use nodes::bus::subject::UpKind;
use nodes::proposer::ProposeError;

const KINDS: [UpKind; 6] = UpKind::ALL;

#[tokio::test]
async fn garbage_truncated_oversized_and_wrong_versions_are_refused_on_every_subject() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let ticket = terminal.hello(&world).await;
    let honest = |kind| match kind {
        UpKind::Hello => events::envelope::ticket::encode_hello(terminal.id),
        UpKind::Activation => {
            terminal.seal_activation(&world, &ticket, &terminal.activation_body(None)).message
        }
        UpKind::Resume => terminal.seal_resume(&live, &ticket, 1).1,
        UpKind::Heartbeat => terminal.seal_heartbeat(&mut live.clone()),
        UpKind::Tamper => TamperReport {
            lot: crate::world::LOT,
            record: RecordDigest::from_bytes([1; 16]),
            reason: TamperReason::RecordInvalid,
            mismatched: 0,
            random: [1; 16],
        }
        .seal(&world.tamper_key),
        UpKind::Update => UpdateRequest::of_device(terminal.id, crate::world::LOT, 1).encode(),
    };
    let (before, p384) = (world.events().len(), world.nodes[0].ingress.counters().p384);
    for kind in KINDS {
        let sender = match kind {
            UpKind::Tamper => crate::world::LOT.to_string(),
            _ => terminal.name(),
        };
        let message = honest(kind);
        let truncated = message[..message.len() - 1].to_vec();
        let mut other_version = message.clone();
        other_version[0] = 9;
        let mut other_kind = message.clone();
        other_kind[1] ^= 0x40;
        let source = format!("bad-{}", kind.as_str());
        for (bad, expected) in [
            (vec![], RejectionReason::Malformed),
            (vec![0xa5; 300], RejectionReason::Malformed),
            (truncated, RejectionReason::Malformed),
            (other_version, RejectionReason::Malformed),
            (other_kind, RejectionReason::Malformed),
            (vec![1; MESSAGE_BYTES_MAX + 1], RejectionReason::Oversized),
        ] {
            let answer = world.ask(kind, &source, &sender, bad).await;
            let got = reason(&answer);
            // An activation has no fixed length: one that lost its last byte has a mac that fails.
            let lost_a_byte = kind == UpKind::Activation && got == RejectionReason::NotAuthentic;
            let lost_its_ticket = kind == UpKind::Activation && got == RejectionReason::TicketRefused;
            assert!(got == expected || lost_a_byte || lost_its_ticket, "{kind:?}: {got} for {expected}");
        }
        world.until(0, |fold| fold.source(&source_id(&source)).is_some()).await;
        world.until_refused(&source, RejectionReason::Oversized, 1).await;
    }
    let grown = &world.events()[before..];
    assert!(
        grown.iter().all(|event| matches!(event, Event::RejectionSummary(_))),
        "only summaries: {grown:?}"
    );
    assert_eq!(world.nodes[0].ingress.counters().p384, p384, "none of them comes as far as P-384");
    terminal.beat(&world, &mut live).await;
}

#[tokio::test]
async fn rule_16_an_unknown_device_and_a_bad_tag_get_the_same_bytes() {
    let mut world = World::new().await;
    let (known, unknown) = (world.burn(), world.burn_unknown());
    let mut live = known.activate(&mut world).await;
    known.beat(&world, &mut live).await;
    let mut bad_tag = known.seal_heartbeat(&mut live.clone());
    *bad_tag.last_mut().unwrap() ^= 1;
    let mut unknown_epoch = live.clone();
    unknown_epoch.epoch = 99;
    let mut of_unknown = known.seal_heartbeat(&mut live.clone());
    of_unknown[4..20].copy_from_slice(unknown.id.as_bytes());
    let first = world.ask(UpKind::Heartbeat, "prober", &known.name(), bad_tag).await;
    let second = world.ask(UpKind::Heartbeat, "prober", &unknown.name(), of_unknown).await;
    let message = known.seal_heartbeat(&mut unknown_epoch);
    let third = world.ask(UpKind::Heartbeat, "prober", &known.name(), message).await;
    assert_eq!(reason(&first), RejectionReason::NotAuthentic);
    assert_eq!(first, second);
    assert_eq!(first, third);
    world.until_refused("prober", RejectionReason::NotAuthentic, 3).await;
    known.beat(&world, &mut live).await;
}

#[tokio::test]
async fn rule_13_the_subjects_device_must_be_the_headers() {
    let mut world = World::new().await;
    let (one, two) = (world.burn(), world.burn());
    let mut live = one.activate(&mut world).await;
    let message = one.seal_heartbeat(&mut live);
    let answer = world.ask(UpKind::Heartbeat, "mixer", &two.name(), message).await;
    assert_eq!(reason(&answer), RejectionReason::Malformed);
}

#[tokio::test]
async fn rule_13_a_node_publishes_nowhere_but_below_the_devices_inbox() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let other = DeviceId::from_bytes([9; 16]);
    let mut everything = world.nodes[0].bus.listen(">");
    let hello = events::envelope::ticket::encode_hello(terminal.id);
    let subject = format!("muster.v1.eu.up.puppeteer.{}.hello", terminal.id);
    for reply in [
        format!("_INBOX_{other}.1"),
        format!("muster.v1.eu.up.puppeteer.{other}.hello"),
        "$SYS.REQ.SERVER.PING".to_owned(),
        format!("_INBOX_{}", terminal.id),
    ] {
        world.nodes[0].bus.send(Message::new(subject.clone(), reply, hello.clone()));
    }
    world.until_refused("puppeteer", RejectionReason::ReplySubject, 4).await;
    while let Ok(message) = everything.try_recv() {
        assert_eq!(message.subject.as_str(), subject, "a node published for an attacker");
    }
}

#[tokio::test]
async fn a_flood_of_garbage_grows_the_log_by_bounded_summaries_only() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let before = world.events().len();
    for number in 0..5_000u32 {
        let source = format!("flood-{}", number % 100);
        let subject = format!("muster.v1.eu.up.{source}.{}.heartbeat", terminal.id);
        let inbox = format!("_INBOX_{}.flood", terminal.id);
        world.nodes[0].bus.send(Message::new(subject, inbox, number.to_le_bytes().to_vec()));
    }
    terminal.beat(&world, &mut live).await;
    world
        .until(0, |fold| {
            let refused = |name: &str| fold.source(&source_id(name)).map(|source| source.refused.len());
            (0..100).filter(|n| refused(&format!("flood-{n}")).is_some()).count() >= 64
        })
        .await;
    let summaries = world.summaries();
    assert!(summaries.iter().all(|summary| summary.entries.len() <= 64));
    let grown = world.events().len() - before;
    assert_eq!(grown, summaries.len(), "nothing but summaries");
    assert!(grown < 200, "{grown} summaries for 5000 messages");
}

#[tokio::test]
async fn a_log_that_surely_did_not_take_it_is_said_to_be_unavailable_and_refusals_are_kept() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    world.log.fail_with(Some(ProposeError::Unavailable { why: "no leader".into() }));
    let message = terminal.seal_heartbeat(&mut live);
    let answer = terminal.send_heartbeat(&world, 0, &message).await;
    assert_eq!(reason(&answer), RejectionReason::Unavailable);
    world.ask(UpKind::Heartbeat, "prober", &terminal.name(), vec![1, 2, 3]).await;
    let batches = world.nodes[0].ingress.counters().batches;
    world.until_counted(0, |counters| counters.batches >= batches + 2).await;
    world.log.fail_with(None);
    world.until_refused("prober", RejectionReason::Malformed, 1).await;
    let answer = terminal.send_heartbeat(&world, 0, &message).await;
    terminal.accept(&mut live, &message, &answer);
}

#[tokio::test]
async fn unknown_is_not_failed_it_is_answered_with_silence() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    world.log.fail_with(Some(ProposeError::Unknown { why: "timeout".into() }));
    let message = terminal.seal_heartbeat(&mut live);
    let mut inbox = world.send(0, UpKind::Heartbeat, &terminal.source, &terminal.name(), message.clone());
    world.until_counted(0, |counters| counters.unanswered > 0).await;
    assert!(inbox.try_recv().is_err(), "neither yes nor no");
    world.log.fail_with(None);
    let answer = terminal.send_heartbeat(&world, 0, &message).await;
    terminal.accept(&mut live, &message, &answer);
}

#[test]
fn a_refusal_says_a_reason_and_nothing_of_the_message() {
    for &reason in RejectionReason::ALL {
        assert_eq!(nodes::egress::refusal::refusal(reason).len(), Refusal::BYTES);
    }
}
