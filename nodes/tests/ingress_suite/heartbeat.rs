//! Heartbeats: verdicts, retries, replays, rates, and the way from routine to irregular.

use crate::terminal::Terminal;
use crate::world::{HEARTBEAT_MILLIS, World, answered, reason, source_id};
use events::envelope::HeartbeatStatus;
use events::envelope::heartbeat::RequestDigest;
use events::ids::DeviceId;
use events::vocabulary::heartbeat::HeartbeatBody;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{FlagKind, Legitimacy};
use events::vocabulary::{Event, HeartbeatObserved};
use nodes::bus::subject::UpKind;
use projector::Projector;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;

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

/// What was routine when it was admitted may not be when it is applied: then it becomes an event, whoever repeated it.
#[tokio::test]
async fn a_heartbeat_that_hundreds_repeat_while_it_is_under_way_becomes_one_event_and_not_hundreds() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let message = terminal.seal_heartbeat(&mut live);
    let before = world.rows() + world.events().len();
    world.log.hold(true);
    let mut own = world.send(0, UpKind::Heartbeat, &terminal.source, &terminal.name(), message.clone());
    world.admitted(0).await;
    let repeat = |n| {
        let source = format!("thief-{}", n % 50);
        world.send(0, UpKind::Heartbeat, &source, &terminal.name(), message.clone())
    };
    let mut repeated: Vec<_> = (0..300).map(repeat).collect();
    world.admitted(0).await;
    // Another node's word for the same sequence is committed first.
    let other = HeartbeatObserved {
        device: terminal.id,
        epoch: live.epoch,
        sequence: live.sequence,
        seen: live.seen,
        acked: live.acked,
        digest: 77,
        source: terminal.source.parse().unwrap(),
        body: HeartbeatBody { number: 9, firmware: 7, ..HeartbeatBody::default() },
    };
    world.commit(&[other.into()]);
    world.log.hold(false);
    let told = |answer: &[u8]| live.keys.open_verdict(&RequestDigest::of(&message), answer).is_ok();
    assert!(told(&answered(&mut own).await), "the sender hears what became of it");
    // Who repeated it was answered in the same burst; not everybody hears that he is refused.
    let heard = repeated.iter_mut().filter_map(|inbox| inbox.try_recv().ok());
    assert_eq!(
        heard.filter(|answer| told(&answer.payload)).count(),
        4,
        "and so do few of those who repeat it"
    );
    let counts = |event: &Event| !matches!(event, Event::RejectionSummary(_));
    let grown = world.rows() + world.events().iter().filter(|event| counts(event)).count() - before;
    assert_eq!(grown, 3, "the other, the row and its event");
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
async fn late_copies_through_the_devices_own_source_are_charged_to_nobody() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let late = terminal.seal_heartbeat(&mut live);
    let answer = terminal.send_heartbeat(&world, 0, &late).await;
    terminal.accept(&mut live, &late, &answer);
    terminal.beat(&world, &mut live).await;
    // A node that was frozen goes through what its socket held.
    for _ in 0..3 {
        let answer = terminal.send_heartbeat(&world, 0, &late).await;
        assert_eq!(reason(&answer), RejectionReason::Replayed);
    }
    // Without end it is somebody's doing, whoever's source it is.
    for _ in 0..100 {
        terminal.send_heartbeat(&world, 0, &late).await;
    }
    let source = source_id(&terminal.source);
    let replays = |fold: &Projector| {
        fold.source(&source).and_then(|source| source.refused.get("REPLAYED").copied()).unwrap_or(0)
    };
    world.until(0, |fold| replays(fold) > 0).await;
    assert!(world.nodes[0].fold.read(replays) <= 103 - 16, "{:?}", world.summaries());
}

#[tokio::test]
async fn a_source_that_is_not_authentic_without_end_is_not_listened_to_and_its_proven_sessions_are() {
    let mut world = World::new().await;
    let (terminal, other) = (world.burn(), world.burn());
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let mut others = other.activate(&mut world).await;
    let forge = |number: u32| {
        let mut message = terminal.seal_heartbeat(&mut live.clone());
        message[4..8].copy_from_slice(&number.to_le_bytes());
        let subject_of = message[4..20].try_into().map(DeviceId::from_bytes).unwrap();
        (subject_of.to_string(), message)
    };
    let (mut inboxes, derived) = (Vec::new(), world.nodes[0].ingress.counters().derived);
    for number in 0..2_000 {
        let (name, message) = forge(number);
        inboxes.push(world.send(0, UpKind::Heartbeat, &terminal.source, &name, message));
    }
    let mut refused = BTreeMap::<RejectionReason, u32>::new();
    for inbox in &mut inboxes {
        *refused.entry(reason(&answered(inbox).await)).or_default() += 1;
    }
    let tried = refused.remove(&RejectionReason::NotAuthentic).unwrap();
    // What came in one burst is judged by what was known before it.
    assert!((100..1_000).contains(&tried), "{tried}");
    assert_eq!(refused, BTreeMap::from([(RejectionReason::RateExceeded, 2_000 - tried)]));
    let counters = world.nodes[0].ingress.counters();
    assert!(counters.derived - derived <= u64::from(tried), "what is not tried costs no key");
    terminal.beat(&world, &mut live).await;
    other.beat(&world, &mut others).await;
}

#[tokio::test]
async fn how_long_a_verdict_took_is_measured_once_for_each_that_waited_for_the_log() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    let again = terminal.seal_heartbeat(&mut live.clone());
    for _ in 0..3 {
        terminal.beat(&world, &mut live).await;
    }
    terminal.send_heartbeat(&world, 0, &again).await;
    let mut registry = Registry::default();
    let measured = world.nodes[0].fold.measures().verdict_seconds.clone();
    registry.register("verdict", "", measured);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(text.contains("verdict_count 3\n"), "{text}");
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

/// With one node it is this number; each further node may have one more under way.
#[tokio::test]
async fn who_holds_a_key_and_contradicts_himself_at_full_speed_adds_four_events_to_an_open_case() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let before = world.events().len() + world.rows();
    live.sequence += 1;
    let mut inboxes = Vec::new();
    for number in 0..300 {
        let body = HeartbeatBody { number, firmware: 7, ..HeartbeatBody::default() };
        let message = terminal.seal_body(&live, &body);
        let source = format!("holder-{}", number % 50);
        inboxes.push(world.send(0, UpKind::Heartbeat, &source, &terminal.name(), message));
        if number % 20 == 19 {
            world.admitted(0).await;
        }
    }
    for inbox in &mut inboxes {
        answered(inbox).await;
    }
    let flagged = |flag: &projector::view::FlagView| flag.kind == FlagKind::Clone && flag.cleared.is_none();
    assert!(world.nodes[0].fold.read(|fold| fold.flags().any(flagged)));
    let counts = |event: &Event| !matches!(event, Event::RejectionSummary(_));
    let grown = world.events().iter().filter(|event| counts(event)).count() + world.rows() - before;
    assert_eq!(projector::CLONE_EVIDENCE_ENOUGH, 4);
    assert!(grown <= 1 + 4, "{grown} entries: the heartbeat itself, and the evidence against it");
}

#[tokio::test]
async fn who_repeats_a_terminals_bytes_spends_its_own_answers_and_not_the_terminals() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let message = terminal.seal_heartbeat(&mut live);
    terminal.send_heartbeat(&world, 0, &message).await;
    let mut refused = 0;
    for _ in 0..60 {
        let answer = world.ask(UpKind::Heartbeat, "thief", &terminal.name(), message.clone()).await;
        refused += usize::from(answer.len() == events::envelope::Refusal::BYTES);
    }
    assert!(refused > 0, "the thief has spent its own");
    let answer = terminal.send_heartbeat(&world, 0, &message).await;
    let verdict = terminal.accept(&mut live, &message, &answer);
    assert_eq!(verdict.status, HeartbeatStatus::Retried, "the terminal's answer was lost");
}

/// Not the time, which is too coarse to tell, but what is done.
#[tokio::test]
async fn rule_16_an_unknown_device_an_unknown_epoch_and_a_bad_tag_cost_the_same_operations() {
    let mut world = World::new().await;
    let (known, unknown) = (world.burn(), world.burn_unknown());
    let live = known.activate(&mut world).await;
    let of_known = known.seal_heartbeat(&mut live.clone());
    let mut bad_tag = of_known.clone();
    *bad_tag.last_mut().unwrap() ^= 1;
    let mut of_unknown = of_known.clone();
    of_unknown[4..20].copy_from_slice(unknown.id.as_bytes());
    let mut other_epoch = live.clone();
    other_epoch.epoch = 77;
    let of_no_epoch = known.seal_heartbeat(&mut other_epoch);
    let cost = |world: &World| {
        let counters = world.nodes[0].ingress.counters();
        (counters.unwrapped, counters.derived)
    };
    let mut costs = Vec::new();
    for (name, message) in
        [(known.name(), bad_tag), (unknown.name(), of_unknown), (known.name(), of_no_epoch)]
    {
        let mut once_and_again = Vec::new();
        for _ in 0..2 {
            let before = cost(&world);
            let answer = world.ask(UpKind::Heartbeat, "prober", &name, message.clone()).await;
            assert_eq!(reason(&answer), RejectionReason::NotAuthentic);
            let after = cost(&world);
            once_and_again.push((after.0 - before.0, after.1 - before.1));
        }
        costs.push(once_and_again);
    }
    assert_eq!(costs[0], [(1, 1), (0, 0)], "made once, and kept");
    assert!(costs.iter().all(|cost| *cost == costs[0]), "{costs:?}");
}

#[tokio::test]
async fn who_asks_for_an_epoch_before_it_exists_locks_nobody_out_of_it() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let other = world.burn();
    let mut guess = other.seal_heartbeat(&mut other.activate(&mut world).await);
    guess[4..20].copy_from_slice(terminal.id.as_bytes());
    let answer = world.ask(UpKind::Heartbeat, "prober", &terminal.name(), guess).await;
    assert_eq!(reason(&answer), RejectionReason::NotAuthentic);
    let mut live = terminal.activate(&mut world).await;
    assert_eq!(live.epoch, 1);
    let verdict = terminal.beat(&world, &mut live).await;
    assert_eq!(verdict.status, HeartbeatStatus::Committed);
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
