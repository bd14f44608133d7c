//! Heartbeats: verdicts, retries, replays, rates, and the way from routine to irregular.

use crate::terminal::Terminal;
use crate::world::{HEARTBEAT_MILLIS, World, answered, reason};
use events::envelope::HeartbeatStatus;
use events::envelope::heartbeat::RequestDigest;
use events::vocabulary::Event;
use events::vocabulary::heartbeat::HeartbeatBody;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{FlagKind, Legitimacy};
use nodes::bus::subject::UpKind;

fn observed(world: &World) -> usize {
    world.events().iter().filter(|event| matches!(event, Event::HeartbeatObserved(_))).count()
}

#[tokio::test]
async fn an_activated_terminal_beats_and_every_verdict_verifies() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    for sequence in 1..=10 {
        let verdict = terminal.beat(&world, &mut live).await;
        assert_eq!(verdict.status, HeartbeatStatus::Committed, "heartbeat {sequence}");
        assert_eq!(verdict.legitimacy, Legitimacy::Legitimate);
        assert_eq!(verdict.interval_millis, HEARTBEAT_MILLIS);
    }
    assert_eq!(observed(&world), 1, "the first of an epoch says more than still here");
    assert_eq!(world.rows(), 9, "all others are rows");
    let heartbeats = world.nodes[0].fold.read(|fold| fold.counts().heartbeats);
    assert_eq!(heartbeats, 10);
}

#[tokio::test]
async fn rule_2_a_retry_is_answered_again_and_logged_once() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let message = terminal.seal_heartbeat(&mut live);
    terminal.send_heartbeat(&world, 0, &message).await;
    let entries = world.log.entries().len();
    let answer = terminal.send_heartbeat(&world, 0, &message).await;
    let verdict = terminal.accept(&mut live, &message, &answer);
    assert_eq!(verdict.status, HeartbeatStatus::Retried);
    assert_eq!(world.log.entries().len(), entries, "a retry is not logged");
    assert_eq!(world.rows(), 1);
    assert_eq!(world.nodes[0].ingress.counters().retries, 1);
}

#[tokio::test]
async fn rule_2_the_same_bytes_while_they_are_under_way_are_answered_together_and_logged_once() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let message = terminal.seal_heartbeat(&mut live);
    world.log.hold(true);
    let send = || world.send(0, UpKind::Heartbeat, &terminal.source, &terminal.name(), message.clone());
    let mut inboxes = [send(), send(), send()];
    world.admitted(0).await;
    world.log.hold(false);
    for inbox in &mut inboxes {
        let answer = answered(inbox).await;
        let verdict = live.keys.open_verdict(&RequestDigest::of(&message), &answer).unwrap();
        assert_eq!(verdict.status, HeartbeatStatus::Committed);
    }
    assert_eq!(world.rows(), 1);
}

#[tokio::test]
async fn rule_3_a_replay_is_charged_to_the_source_and_never_to_the_device() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let captured = terminal.seal_heartbeat(&mut live);
    let answer = terminal.send_heartbeat(&world, 0, &captured).await;
    terminal.accept(&mut live, &captured, &answer);
    terminal.beat(&world, &mut live).await;
    for _ in 0..20 {
        let answer = world.ask(UpKind::Heartbeat, "thief", &terminal.name(), captured.clone()).await;
        assert_eq!(reason(&answer), RejectionReason::Replayed);
    }
    world.until_refused("thief", RejectionReason::Replayed, 20).await;
    assert!(world.summaries().iter().flat_map(|s| &s.entries).all(|entry| entry.device.is_none()));
    world.nodes[0].fold.read(|fold| {
        assert!(fold.flags().any(|flag| flag.kind == FlagKind::Replay));
        let device = fold.device(fold.slot_of(&terminal.id).unwrap()).unwrap();
        assert_eq!(device.legitimacy(), Legitimacy::Legitimate);
    });
    let verdict = terminal.beat(&world, &mut live).await;
    assert_eq!(verdict.status, HeartbeatStatus::Committed, "the honest terminal goes on");
}

#[tokio::test]
async fn the_same_sequence_with_other_content_is_proposed_as_evidence() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let mut copy = live.clone();
    terminal.beat(&world, &mut live).await;
    copy.sequence += 1;
    let other =
        terminal.seal_body(&copy, &HeartbeatBody { number: 77, firmware: 7, ..HeartbeatBody::default() });
    let answer = world.ask(UpKind::Heartbeat, "elsewhere", &terminal.name(), other.clone()).await;
    let verdict = copy.keys.open_verdict(&RequestDigest::of(&other), &answer).unwrap();
    assert_eq!(verdict.status, HeartbeatStatus::EpochStale);
    assert!(world.nodes[0].fold.read(|fold| fold.flags().any(|flag| flag.kind == FlagKind::Clone)));
}

#[tokio::test]
async fn who_holds_a_key_and_contradicts_himself_cannot_grow_the_log_without_end() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let before = world.events().len() + world.rows();
    live.sequence += 1;
    for number in 0..200 {
        let body = HeartbeatBody { number, firmware: 7, ..HeartbeatBody::default() };
        let message = terminal.seal_body(&live, &body);
        world.ask(UpKind::Heartbeat, "holder", &terminal.name(), message).await;
    }
    let observed = |event: &Event| !matches!(event, Event::RejectionSummary(_));
    let grown = world.events().iter().filter(|event| observed(event)).count() + world.rows() - before;
    assert!(grown <= 64, "{grown} entries for 200 contradictions");
}

#[tokio::test]
async fn a_heartbeat_that_says_something_new_is_an_event() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let before = observed(&world);
    live.sequence += 1;
    let updated = HeartbeatBody { number: live.sequence, firmware: 8, ..HeartbeatBody::default() };
    let message = terminal.seal_body(&live, &updated);
    let answer = terminal.send_heartbeat(&world, 0, &message).await;
    terminal.accept(&mut live, &message, &answer);
    let message = {
        live.sequence += 1;
        terminal.seal_body(&live, &updated)
    };
    let moved = world.ask(UpKind::Heartbeat, "another-place", &terminal.name(), message.clone()).await;
    terminal.accept(&mut live, &message, &moved);
    assert_eq!(observed(&world), before + 2, "new firmware, then another source");
}

#[tokio::test]
async fn rule_15_valid_traffic_above_the_granted_rate_is_counted_and_not_logged() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    let mut refused = 0;
    for _ in 0..120 {
        let message = terminal.seal_heartbeat(&mut live);
        let answer = terminal.send_heartbeat(&world, 0, &message).await;
        match live.keys.open_verdict(&RequestDigest::of(&message), &answer) {
            Ok(verdict) => {
                live.seen = verdict.index;
                live.acked = live.sequence;
            }
            Err(_) => {
                assert_eq!(reason(&answer), RejectionReason::RateExceeded);
                refused += 1;
            }
        }
    }
    assert!(refused > 40, "{refused} of 120 were refused");
    let logged = world.rows() + observed(&world);
    assert_eq!(logged, 120 - refused);
    world.until_refused(&terminal.source, RejectionReason::RateExceeded, refused as u64).await;
    let charged =
        world.summaries().iter().flat_map(|s| s.entries.clone()).all(|e| e.device == Some(terminal.id));
    assert!(charged, "the tag verified, so the device is named");
    world.clock.advance(60_000);
    terminal.beat(&world, &mut live).await;
}

#[tokio::test]
async fn repeating_a_terminals_bytes_does_not_use_up_its_rate() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let message = terminal.seal_heartbeat(&mut live);
    let answer = terminal.send_heartbeat(&world, 0, &message).await;
    terminal.accept(&mut live, &message, &answer);
    for _ in 0..200 {
        world.ask(UpKind::Heartbeat, "thief", &terminal.name(), message.clone()).await;
    }
    let verdict = terminal.beat(&world, &mut live).await;
    assert_eq!(verdict.status, HeartbeatStatus::Committed);
}

#[tokio::test]
async fn a_heartbeat_of_a_superseded_epoch_hears_that_it_must_resume() {
    let mut world = World::new().await;
    let terminal: Terminal = world.burn();
    let mut old = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut old).await;
    let mut live = terminal.resume(&world, &old, 1).await;
    terminal.beat(&world, &mut live).await;
    let entries = world.log.entries().len();
    let message = terminal.seal_heartbeat(&mut old);
    let answer = terminal.send_heartbeat(&world, 0, &message).await;
    let verdict = old.keys.open_verdict(&RequestDigest::of(&message), &answer).unwrap();
    assert_eq!(verdict.status, HeartbeatStatus::EpochStale);
    assert_eq!(world.log.entries().len(), entries, "it proves nothing and is not logged");
}
