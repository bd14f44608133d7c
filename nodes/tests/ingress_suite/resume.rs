//! The ratchet, as it looks from the bus.

use crate::world::{World, answered, reason};
use events::envelope::Answer;
use events::ids::Epoch;
use events::vocabulary::Event;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::Legitimacy;
use nodes::bus::subject::UpKind;

fn resumes(world: &World) -> usize {
    world.events().iter().filter(|event| matches!(event, Event::SessionResumed(_))).count()
}

#[tokio::test]
async fn every_boot_resumes_into_the_next_epoch_without_p384_gates() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    for boot in 1..=4u8 {
        live = terminal.resume(&world, &live, boot).await;
        assert_eq!(live.epoch, Epoch::from(boot) + 1);
        terminal.beat(&world, &mut live).await;
    }
    assert_eq!(world.nodes[0].ingress.counters().resumes, 4);
}

#[tokio::test]
async fn rule_5_two_nodes_that_take_one_resume_answer_with_one_epoch() {
    let mut world = World::new().await;
    world.add_twin().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let ticket = terminal.hello(&world).await;
    let (head, message) = terminal.seal_resume(&live, &ticket, 9);
    world.log.hold(true);
    let send = |node| world.send(node, UpKind::Resume, &terminal.source, &terminal.name(), message.clone());
    let mut inboxes = [send(0), send(1)];
    world.admitted(0).await;
    world.admitted(1).await;
    world.log.hold(false);
    let mut granted = Vec::new();
    for inbox in &mut inboxes {
        let sealed = answered(inbox).await;
        let answer = events::envelope::open_resume_answer(&live.secret, &head, &message, &sealed).unwrap();
        let (index, Answer::Granted(grant)) = answer else { panic!("{answer:?}") };
        granted.push((index, grant));
    }
    assert_eq!(
        granted[0].1.server_nonce, granted[1].1.server_nonce,
        "what apply kept, not what was proposed"
    );
    let (index, grant) = &granted[1];
    let mut next = terminal.after_resume(&live, &head, *index, grant);
    terminal.beat(&world, &mut next).await;
}

#[tokio::test]
async fn a_lost_answer_is_given_again_and_not_logged_again() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    half_a_lease_passes(&mut world);
    let ticket = terminal.hello(&world).await;
    let (head, message) = terminal.seal_resume(&live, &ticket, 9);
    let (_, first) = terminal.ask_resume(&world, 0, &live, &head, &message).await;
    let p384 = world.nodes[0].ingress.counters().p384;
    let (index, second) = terminal.ask_resume(&world, 0, &live, &head, &message).await;
    let (Answer::Granted(first), Answer::Granted(second)) = (first, second) else {
        panic!("both are granted")
    };
    assert_eq!((first.epoch, first.server_nonce), (second.epoch, second.server_nonce));
    assert!(second.license_token.is_some(), "the token was lost with the answer");
    assert_eq!(world.nodes[0].ingress.counters().p384, p384, "it was not signed again");
    assert_eq!(resumes(&world), 1);
    let mut next = terminal.after_resume(&live, &head, index, &second);
    terminal.beat(&world, &mut next).await;
}

#[tokio::test]
async fn repeating_a_captured_resume_is_charged_to_the_source_and_locks_nobody_out() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let ticket = terminal.hello(&world).await;
    let (_, captured) = terminal.seal_resume(&live, &ticket, 1);
    let mut refused = 0;
    for _ in 0..30 {
        let answer = world.ask(UpKind::Resume, "thief", &terminal.name(), captured.clone()).await;
        refused += u64::from(answer.len() == events::envelope::Refusal::BYTES);
    }
    assert_eq!(resumes(&world), 1);
    world.until_refused("thief", RejectionReason::RateExceeded, refused).await;
    assert_eq!(refused, 30 - 1 - 8, "the first, eight repetitions, and no more");
    let own = world.ask(UpKind::Resume, &terminal.source, &terminal.name(), captured.clone()).await;
    assert_ne!(own.len(), events::envelope::Refusal::BYTES, "the terminal itself is answered all the same");
    let mut next = terminal.resume(&world, &live, 2).await;
    terminal.beat(&world, &mut next).await;
}

#[tokio::test]
async fn rule_16_unknown_device_unknown_epoch_and_bad_tag_hear_the_same() {
    let mut world = World::new().await;
    let (known, unknown) = (world.burn(), world.burn_unknown());
    let live = known.activate(&mut world).await;
    let ticket = known.hello(&world).await;
    let mut stale = live.clone();
    stale.epoch = 77;
    let (_, mut bad_tag) = known.seal_resume(&live, &ticket, 1);
    *bad_tag.last_mut().unwrap() ^= 1;
    let (_, of_unknown_epoch) = known.seal_resume(&stale, &ticket, 2);
    let (_, of_unknown) = unknown.seal_resume(&live, &ticket, 3);
    let messages = [(known.name(), bad_tag), (known.name(), of_unknown_epoch), (unknown.name(), of_unknown)];
    let mut answers = Vec::new();
    for (name, message) in messages {
        answers.push(world.ask(UpKind::Resume, "stranger", &name, message).await);
    }
    assert_eq!(reason(&answers[0]), RejectionReason::NotAuthentic);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    world.until_refused("stranger", RejectionReason::NotAuthentic, 3).await;
    assert_eq!(resumes(&world), 0);
}

#[tokio::test]
async fn rule_15_resumes_of_one_device_are_limited() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let mut limited = 0;
    for nonce in 0..20 {
        let ticket = terminal.hello(&world).await;
        let (_, message) = terminal.seal_resume(&live, &ticket, nonce);
        let answer = world.ask(UpKind::Resume, &terminal.source, &terminal.name(), message).await;
        limited += usize::from(answer.len() == events::envelope::Refusal::BYTES);
    }
    assert_eq!(limited, 8, "twelve at once, then no more");
    assert_eq!(resumes(&world), 12);
    world.until_refused(&terminal.source, RejectionReason::RateExceeded, 8).await;
}

#[tokio::test]
async fn rule_4_a_late_resume_with_an_old_ticket_is_refused_inside_the_seal_and_flags_nobody() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut first = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut first).await;
    let ticket = terminal.hello(&world).await;
    let (head, late) = terminal.seal_resume(&first, &ticket, 1);
    let mut second = terminal.resume(&world, &first, 2).await;
    terminal.beat(&world, &mut second).await;
    let (_, answer) = terminal.ask_resume(&world, 0, &first, &head, &late).await;
    assert_eq!(answer, Answer::Refused(RejectionReason::EpochStale));
    let legitimacy = world.nodes[0].fold.read(|fold| {
        assert_eq!(fold.flags().count(), 0);
        fold.device(fold.slot_of(&terminal.id).unwrap()).unwrap().legitimacy()
    });
    assert_eq!(legitimacy, Legitimacy::Legitimate);
}

/// The lease of [`World::sell_code`] is an hour.
fn half_a_lease_passes(world: &mut World) {
    world.log.advance(1_800_000);
    world.commit(&[events::vocabulary::Tick {}.into()]);
}

#[tokio::test]
async fn the_same_resume_while_it_is_under_way_is_proposed_once_and_answered_to_all() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let ticket = terminal.hello(&world).await;
    let (head, message) = terminal.seal_resume(&live, &ticket, 9);
    world.log.hold(true);
    let send = |source: &str| world.send(0, UpKind::Resume, source, &terminal.name(), message.clone());
    let mut inboxes = [send("thief"), send(&terminal.source), send(&terminal.source)];
    world.admitted(0).await;
    world.log.hold(false);
    for inbox in &mut inboxes {
        let sealed = answered(inbox).await;
        let answer = events::envelope::open_resume_answer(&live.secret, &head, &message, &sealed).unwrap();
        assert!(matches!(answer.1, Answer::Granted(_)), "{answer:?}");
    }
    assert_eq!(resumes(&world), 1);
}

#[tokio::test]
async fn a_storm_of_resumes_costs_no_p384_and_a_token_that_is_due_comes_until_it_arrived() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let p384 = world.nodes[0].ingress.counters().p384;
    for nonce in 0..5 {
        live = terminal.resume(&world, &live, nonce).await;
        terminal.beat(&world, &mut live).await;
    }
    assert_eq!(world.nodes[0].ingress.counters().p384, p384, "each of them holds its token");
    half_a_lease_passes(&mut world);
    let mut leases = Vec::new();
    for nonce in 10..13 {
        // Each answer but the last is lost: the terminal resumes from the same epoch with another nonce.
        let ticket = terminal.hello(&world).await;
        let (head, message) = terminal.seal_resume(&live, &ticket, nonce);
        let (index, answer) = terminal.ask_resume(&world, 0, &live, &head, &message).await;
        let Answer::Granted(grant) = answer else { panic!("{answer:?}") };
        assert!(grant.license_token.is_some(), "resume {nonce}");
        leases.push(grant.lease);
        if nonce == 12 {
            live = terminal.after_resume(&live, &head, index, &grant);
        }
    }
    assert_eq!(leases, [2, 3, 4]);
    terminal.beat(&world, &mut live).await;
    let p384 = world.nodes[0].ingress.counters().p384;
    let mut next = terminal.resume(&world, &live, 20).await;
    terminal.beat(&world, &mut next).await;
    assert_eq!(world.nodes[0].ingress.counters().p384, p384, "it arrived");
}
