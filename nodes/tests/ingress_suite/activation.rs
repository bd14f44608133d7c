//! Activation: from a code to a session, through three gates and P-384.

use crate::terminal::digests;
use crate::world::{World, answered, limits, reason, rng};
use events::envelope::{ActivationBody, Answer, SuiteSet, Ticket, seal_activation};
use events::keyring::TicketKey;
use events::license::code::ActivationCode;
use events::license::token;
use events::vocabulary::Event;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{ComponentKind, FlagKind};
use nodes::bus::subject::UpKind;
use nodes::ingress::IngressLimits;

fn activations(world: &World) -> usize {
    world.events().iter().filter(|event| matches!(event, Event::DeviceActivated(_))).count()
}

#[tokio::test]
async fn a_bought_code_gives_a_session_and_a_license_token_that_verifies() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let code = world.sell_code();
    let ticket = terminal.hello(&world).await;
    let prepared = terminal.seal_activation(&world, &ticket, &terminal.activation_body(Some(code)));
    let (index, answer) = terminal.ask_activation(&world, &prepared).await;
    let Answer::Granted(grant) = answer else { panic!("{answer:?}") };
    let token = grant.license_token.clone().expect("a license token");
    let claims = token::verify(&world.public.license_key, &token, grant.stamp).unwrap();
    assert_eq!((claims.device, claims.plan.as_str()), (terminal.id, "gold"));
    assert_eq!(claims.confirmation, token::KeyThumbprint::of(&terminal.seed.device_key().public()));
    assert_eq!(u64::from(grant.lease), claims.lease_counter);
    let mut live = terminal.after_activation(&prepared, index, &grant);
    terminal.beat(&world, &mut live).await;
}

#[tokio::test]
async fn the_log_keeps_what_a_third_party_needs_to_check_the_signature() {
    let mut world = World::new().await;
    let terminal = world.burn();
    terminal.activate(&mut world).await;
    let activated = world.events().into_iter().find_map(|event| match event {
        Event::DeviceActivated(activated) => Some(activated),
        _ => None,
    });
    let activated = activated.unwrap();
    let signature = activated.signature.as_slice().try_into().unwrap();
    let signed = events::envelope::activation::signed(&activated.transcript);
    terminal.seed.device_key().public().verify(&signed, &signature).unwrap();
}

#[tokio::test]
async fn the_same_activation_again_gets_the_same_epoch() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let code = world.sell_code();
    let ticket = terminal.hello(&world).await;
    let prepared = terminal.seal_activation(&world, &ticket, &terminal.activation_body(Some(code)));
    let (_, first) = terminal.ask_activation(&world, &prepared).await;
    let (_, second) = terminal.ask_activation(&world, &prepared).await;
    let (Answer::Granted(first), Answer::Granted(second)) = (first, second) else {
        panic!("both are granted")
    };
    assert_eq!((first.epoch, first.server_nonce), (second.epoch, second.server_nonce));
}

#[tokio::test]
async fn an_activation_that_was_answered_costs_no_p384_no_entry_and_no_token_of_its_device_when_it_comes_again()
 {
    let mut world = World::new().await;
    world.add_twin().await;
    let terminal = world.burn();
    let code = world.sell_code();
    let ticket = terminal.hello(&world).await;
    let prepared = terminal.seal_activation(&world, &ticket, &terminal.activation_body(Some(code)));
    let (index, answer) = terminal.ask_activation(&world, &prepared).await;
    let Answer::Granted(grant) = answer else { panic!("{answer:?}") };
    let (p384, entries) = (world.nodes[0].ingress.counters().p384, activations(&world));
    let mut refused = 0;
    for _ in 0..30 {
        let message = prepared.message.clone();
        let answer = world.ask(UpKind::Activation, "thief", &terminal.name(), message).await;
        refused += u64::from(answer.len() == events::envelope::Refusal::BYTES);
    }
    assert_eq!(refused, 30 - 8, "the thief spends its own tokens");
    world.until_refused("thief", RejectionReason::RateExceeded, refused).await;
    assert_eq!(world.nodes[0].ingress.counters().p384, p384);
    // Another node has to open it once; it answers from what apply kept.
    for _ in 0..3 {
        let message = prepared.message.clone();
        let name = terminal.name();
        let answer = world.ask_node(1, UpKind::Activation, &terminal.source, &name, message).await;
        let opened =
            events::envelope::open_activation_answer(&prepared.exporter, &prepared.message, &answer).unwrap();
        let Answer::Granted(again) = opened.1 else { panic!("{opened:?}") };
        assert_eq!((again.epoch, again.server_nonce), (grant.epoch, grant.server_nonce));
    }
    assert_eq!(world.nodes[1].ingress.counters().p384, 1);
    assert_eq!(activations(&world), entries);
    let mut live = terminal.after_activation(&prepared, index, &grant);
    terminal.beat(&world, &mut live).await;
    let ticket = terminal.hello(&world).await;
    let rekey = terminal.seal_activation(&world, &ticket, &terminal.activation_body(None));
    let (_, answer) = terminal.ask_activation(&world, &rekey).await;
    assert!(matches!(answer, Answer::Granted(_)), "the terminal's own tokens are there: {answer:?}");
}

#[tokio::test]
async fn the_same_activation_while_it_is_under_way_is_opened_once_and_answered_to_all_whatever_their_ticket()
{
    let mut world = World::new().await;
    let terminal = world.burn();
    let code = world.sell_code();
    let ticket = terminal.hello(&world).await;
    let prepared = terminal.seal_activation(&world, &ticket, &terminal.activation_body(Some(code)));
    let renewed = terminal.hello(&world).await;
    let pre_shared = terminal.seed.pre_shared_key();
    let under_new_ticket = prepared.with_ticket(&pre_shared, terminal.id, &renewed).unwrap();
    world.log.hold(true);
    let messages = [&prepared.message, &prepared.message, &under_new_ticket.message];
    let send = |m: &Vec<u8>| world.send(0, UpKind::Activation, &terminal.source, &terminal.name(), m.clone());
    let mut inboxes = messages.map(send);
    world.admitted(0).await;
    world.log.hold(false);
    for (message, inbox) in messages.into_iter().zip(&mut inboxes) {
        let sealed = answered(inbox).await;
        let answer = events::envelope::open_activation_answer(&prepared.exporter, message, &sealed).unwrap();
        assert!(matches!(answer.1, Answer::Granted(_)), "{answer:?}");
    }
    assert_eq!(world.nodes[0].ingress.counters().p384, 2, "one to open, one to sign");
    assert_eq!(activations(&world), 1);
}

/// Whoever owns a terminal can sign that its hardware is another as often as its bucket lets him, for ever.
#[tokio::test]
async fn signed_reports_of_other_hardware_are_bounded_and_accuse_the_record_of_who_signs() {
    let mut world = World::new().await;
    let (terminal, victim) = (world.burn(), world.burn());
    let mut foreign = digests(&terminal.seed, terminal.unit, "another emmc");
    foreign[2].digest = [0; 8];
    for random in 0..12 {
        let ticket = terminal.hello(&world).await;
        let body = ActivationBody {
            components: foreign.clone(),
            record: victim.record,
            random: [random; 32],
            ..terminal.activation_body(None)
        };
        let prepared = terminal.seal_activation(&world, &ticket, &body);
        let (_, answer) = terminal.ask_activation(&world, &prepared).await;
        assert_eq!(answer, Answer::Refused(RejectionReason::NotAuthentic));
    }
    world.until_refused(&terminal.source, RejectionReason::NotAuthentic, 12).await;
    let accused = world.events().into_iter().filter_map(|event| match event {
        Event::TamperReported(report) => Some(report.record),
        _ => None,
    });
    assert_eq!(accused.collect::<Vec<_>>(), [terminal.record; 4]);
}

#[tokio::test]
async fn rule_16_every_refused_code_is_refused_in_the_same_words_and_counted() {
    let mut world = World::new().await;
    let (owner, guesser) = (world.burn(), world.burn());
    let code = world.sell_code();
    let ticket = owner.hello(&world).await;
    let prepared = owner.seal_activation(&world, &ticket, &owner.activation_body(Some(code.clone())));
    assert!(matches!(owner.ask_activation(&world, &prepared).await.1, Answer::Granted(_)));
    let unknown = ActivationCode::generate(&mut rng());
    for refused in [unknown, code] {
        let ticket = guesser.hello(&world).await;
        let body = guesser.activation_body(Some(refused));
        let prepared = guesser.seal_activation(&world, &ticket, &body);
        let (_, answer) = guesser.ask_activation(&world, &prepared).await;
        assert_eq!(answer, Answer::Refused(RejectionReason::CodeRefused));
    }
    world.until_refused(&guesser.source, RejectionReason::CodeRefused, 2).await;
    assert_eq!(activations(&world), 1, "a refused code does not grow the log");
    let entries = world.summaries().into_iter().flat_map(|summary| summary.entries);
    assert!(entries.into_iter().all(|entry| entry.device == Some(guesser.id)));
}

/// Rule 17: what a thief of the bytes, or an agent whose answers get lost, sends again is the same guess.
#[tokio::test]
async fn a_refused_activation_that_comes_again_is_one_guess() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let ticket = terminal.hello(&world).await;
    let body = terminal.activation_body(Some(ActivationCode::generate(&mut rng())));
    let prepared = terminal.seal_activation(&world, &ticket, &body);
    for _ in 0..4 {
        let (_, answer) = terminal.ask_activation(&world, &prepared).await;
        assert_eq!(answer, Answer::Refused(RejectionReason::CodeRefused), "the answer stays the same");
    }
    let other = terminal.activation_body(Some(ActivationCode::generate(&mut rng())));
    let prepared = terminal.seal_activation(&world, &ticket, &other);
    let _ = terminal.ask_activation(&world, &prepared).await;
    world.until_refused(&terminal.source, RejectionReason::CodeRefused, 2).await;
    let entries = world.summaries().into_iter().flat_map(|summary| summary.entries);
    let guesses: u32 = entries.filter(|e| e.reason == RejectionReason::CodeRefused).map(|e| e.count).sum();
    assert_eq!(guesses, 2, "five messages, two guesses");
}

#[tokio::test]
async fn guessing_codes_raises_the_flag_and_meets_the_bucket_of_the_device() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut limited = 0;
    for _ in 0..16 {
        let ticket = terminal.hello(&world).await;
        let body = terminal.activation_body(Some(ActivationCode::generate(&mut rng())));
        let prepared = terminal.seal_activation(&world, &ticket, &body);
        let message = prepared.message.clone();
        let answer = world.ask(UpKind::Activation, &terminal.source, &terminal.name(), message).await;
        limited += usize::from(answer.len() == events::envelope::Refusal::BYTES);
    }
    assert_eq!(limited, 4, "twelve at once, then no more");
    world.until(0, |fold| fold.flags().any(|flag| flag.kind == FlagKind::CodeBruteforce)).await;
    assert_eq!(world.nodes[0].ingress.counters().p384, 12);
}

#[tokio::test]
async fn rule_15_a_ticket_that_does_not_count_costs_no_p384() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let honest = terminal.hello(&world).await;
    let forged = Ticket::issue(&TicketKey::from_bytes([6; 32]), 1, [0; 16], 1, honest.stamp);
    let of_another_generation = Ticket::issue(&world.keyring.ticket_key, 2, [0; 16], 1, honest.stamp);
    let mut tickets = vec![forged, of_another_generation];
    world.log.advance(60_001);
    world.commit(&[events::vocabulary::Tick {}.into()]);
    tickets.push(honest);
    for ticket in tickets {
        let body = terminal.activation_body(None);
        let message = terminal.seal_activation(&world, &ticket, &body).message;
        let answer = world.ask(UpKind::Activation, &terminal.source, &terminal.name(), message).await;
        assert_eq!(reason(&answer), RejectionReason::TicketRefused);
    }
    assert_eq!(world.nodes[0].ingress.counters().p384, 0);
    world.until_refused(&terminal.source, RejectionReason::TicketRefused, 3).await;
}

#[tokio::test]
async fn rule_15_and_16_a_bad_mac_and_an_unknown_device_cost_no_p384_and_hear_the_same() {
    let mut world = World::new().await;
    let (known, unknown) = (world.burn(), world.burn_unknown());
    let mut answers = Vec::new();
    for terminal in [&known, &unknown] {
        let ticket = terminal.hello(&world).await;
        let mut message = terminal.seal_activation(&world, &ticket, &terminal.activation_body(None)).message;
        if terminal.id == known.id {
            *message.last_mut().unwrap() ^= 1;
        }
        answers.push(world.ask(UpKind::Activation, "stranger", &terminal.name(), message).await);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(reason(&answers[0]), RejectionReason::NotAuthentic);
    assert_eq!(world.nodes[0].ingress.counters().p384, 0);
    world.until_refused("stranger", RejectionReason::NotAuthentic, 2).await;
}

#[tokio::test]
async fn a_rekey_needs_a_license_and_then_gives_a_fresh_session() {
    let mut world = World::new().await;
    let (bare, licensed) = (world.burn(), world.burn());
    let ticket = bare.hello(&world).await;
    let prepared = bare.seal_activation(&world, &ticket, &bare.activation_body(None));
    let (_, answer) = bare.ask_activation(&world, &prepared).await;
    assert_eq!(answer, Answer::Refused(RejectionReason::NotLicensed));
    let mut before = licensed.activate(&mut world).await;
    licensed.beat(&world, &mut before).await;
    let ticket = licensed.hello(&world).await;
    let body = ActivationBody { epoch_claimed: 40, ..licensed.activation_body(None) };
    let prepared = licensed.seal_activation(&world, &ticket, &body);
    let (index, answer) = licensed.ask_activation(&world, &prepared).await;
    let Answer::Granted(grant) = answer else { panic!("{answer:?}") };
    assert_eq!(grant.epoch, 41, "one above what the device claims to know");
    let mut live = licensed.after_activation(&prepared, index, &grant);
    licensed.beat(&world, &mut live).await;
}

#[tokio::test]
async fn rule_25_other_hardware_is_refused_and_reported_by_component() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let code = world.sell_code();
    let ticket = terminal.hello(&world).await;
    let unit = terminal.unit;
    let mut foreign = digests(&terminal.seed, unit, "another emmc");
    foreign[2].digest = [0; 8];
    let body = ActivationBody { components: foreign, ..terminal.activation_body(Some(code.clone())) };
    let prepared = terminal.seal_activation(&world, &ticket, &body);
    let (_, answer) = terminal.ask_activation(&world, &prepared).await;
    assert_eq!(answer, Answer::Refused(RejectionReason::NotAuthentic));
    let tampers = |event: &Event| match event {
        Event::TamperReported(report) => Some(report.mismatched),
        _ => None,
    };
    let emmc_and_mac = 1 << ComponentKind::EmmcCid as u16 | 1 << ComponentKind::MacAddress as u16;
    world.until(0, |fold| fold.flags().any(|flag| flag.kind == FlagKind::Tamper)).await;
    assert_eq!(world.events().iter().find_map(tampers), Some(emmc_and_mac));
    // One component out of its two optional ones may differ: it is named, and the activation is granted.
    let body = ActivationBody {
        components: digests(&terminal.seed, unit, "a repaired emmc"),
        ..terminal.activation_body(Some(code))
    };
    let ticket = terminal.hello(&world).await;
    let prepared = terminal.seal_activation(&world, &ticket, &body);
    assert!(matches!(terminal.ask_activation(&world, &prepared).await.1, Answer::Granted(_)));
    let named = world.events().into_iter().find_map(|event| match event {
        Event::DeviceActivated(activated) => Some(activated.mismatched),
        _ => None,
    });
    assert_eq!(named, Some(vec![ComponentKind::EmmcCid]));
}

#[tokio::test]
async fn who_offers_no_suite_that_is_allowed_is_refused_inside_the_seal() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let code = world.sell_code();
    let ticket = terminal.hello(&world).await;
    let (key, pre_shared) = (terminal.seed.device_key(), terminal.seed.pre_shared_key());
    let (nothing, body) = (SuiteSet::from_bits(0), terminal.activation_body(Some(code)));
    let prepared =
        seal_activation(&mut rng(), &key, &pre_shared, &world.public, nothing, &ticket, &body).unwrap();
    let (_, answer) = terminal.ask_activation(&world, &prepared).await;
    assert_eq!(answer, Answer::Refused(RejectionReason::Downgrade));
    world.until_refused(&terminal.source, RejectionReason::Downgrade, 1).await;
}

#[tokio::test]
async fn rule_15_heartbeats_do_not_wait_for_p384_and_a_full_pool_says_so() {
    let mut world = World::with_limits(IngressLimits { activations_waiting: 1, ..limits() }).await;
    let beating = world.burn();
    let mut live = beating.activate(&mut world).await;
    let crowd: Vec<_> = (0..12).map(|_| world.burn()).collect();
    let mut inboxes = Vec::new();
    for terminal in &crowd {
        let ticket = terminal.hello(&world).await;
        let message = terminal.seal_activation(&world, &ticket, &terminal.activation_body(None)).message;
        inboxes.push((message, terminal));
    }
    let mut inboxes: Vec<_> = inboxes
        .into_iter()
        .map(|(message, t)| world.send(0, UpKind::Activation, "crowd", &t.name(), message))
        .collect();
    beating.beat(&world, &mut live).await;
    let mut unavailable = 0;
    for inbox in &mut inboxes {
        let answer = answered(inbox).await;
        if answer.len() == events::envelope::Refusal::BYTES {
            assert_eq!(reason(&answer), RejectionReason::Unavailable);
            unavailable += 1;
        }
    }
    assert!(unavailable > 0, "twelve do not fit into one place and one thread");
}

#[tokio::test]
async fn two_activations_that_race_for_one_epoch_are_both_answered() {
    let mut world = World::new().await;
    world.add_twin().await;
    let terminal = world.burn();
    let code = world.sell_code();
    let ticket = terminal.hello(&world).await;
    let seal = |random| {
        let body = ActivationBody { random: [random; 32], ..terminal.activation_body(Some(code.clone())) };
        terminal.seal_activation(&world, &ticket, &body)
    };
    let prepared = [seal(1), seal(2)];
    world.log.hold(true);
    let mut inboxes = Vec::new();
    for (node, prepared) in prepared.iter().enumerate() {
        let message = prepared.message.clone();
        inboxes.push(world.send(node, UpKind::Activation, &terminal.source, &terminal.name(), message));
    }
    // Both are opened and judged against the same state before either is committed.
    world.until_counted(0, |counters| counters.batches > 0).await;
    world.until_counted(1, |counters| counters.batches > 0).await;
    world.log.hold(false);
    let mut epochs = Vec::new();
    for (prepared, inbox) in prepared.iter().zip(&mut inboxes) {
        let sealed = answered(inbox).await;
        let answer =
            events::envelope::open_activation_answer(&prepared.exporter, &prepared.message, &sealed).unwrap();
        let Answer::Granted(grant) = answer.1 else { panic!("{answer:?}") };
        epochs.push(grant.epoch);
    }
    epochs.sort_unstable();
    assert_eq!(epochs, [1, 2], "the loser of the race proposed again with the next number");
}
