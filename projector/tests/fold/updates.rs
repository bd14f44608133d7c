//! Software update: who is told, in which phase, what stops a rollout, and that a replay offers nothing again.

use crate::terminal::{COMMITTED, Terminal};
use crate::world::{DAY, HOUR, LOT, World, device_id};
use events::batch::HeartbeatRow;
use events::ids::RolloutId;
use events::time::Timestamp;
use events::update::{Offer, SignedOffer, UpdateFailure, UpdateScope, cohort, with_failure};
use events::vocabulary::shared::OperationKind;
use events::vocabulary::update::{RolloutPhase, RolloutRules};
use events::vocabulary::{UpdateAborted, UpdateCreated, UpdatePaused, UpdateResumed};
use projector::view::{RolloutEnding, RolloutStanding, RolloutView};
use projector::{Decline, Effect, HeartbeatOutcome, Notice, Outcome};

fn rollout(n: u8) -> RolloutId {
    RolloutId::from_bytes([n; 16])
}

/// The fold does not look at the signature: the node that proposes it did.
fn signed(world: &World, n: u8, firmware: u32) -> Vec<u8> {
    let offer = Offer {
        rollout: rollout(n),
        scope: UpdateScope::Lots(vec![LOT]),
        firmware,
        floor: 1,
        not_after: world.now().plus_millis(30 * DAY),
        size: 10,
        digest: [1; 48],
        kind: "rauc".into(),
        urls: vec!["http://a/b".into()],
    };
    let key = events::identity::key::SigningKey::from_bytes(&[7; 48]).unwrap();
    offer.sign(&key).unwrap().encode()
}

fn rules(phases: &[(u16, u32)]) -> RolloutRules {
    RolloutRules {
        phases: phases.iter().map(|&(permille, seconds)| RolloutPhase { permille, seconds }).collect(),
        success_permille: 800,
        failure_permille: 300,
        sample_min: 3,
        per_minute_max: 1_000,
    }
}

fn created(world: &World, n: u8, firmware: u32, rules: RolloutRules) -> UpdateCreated {
    UpdateCreated { offer: signed(world, n, firmware), rules, by: "ada".into(), reason: "fix".into() }
}

fn view(world: &World, n: u8) -> RolloutView {
    world.fold.rollout(&rollout(n)).unwrap()
}

/// A routine heartbeat with this condition.
fn beat(world: &mut World, terminal: &mut Terminal, condition: u8) -> HeartbeatOutcome {
    terminal.sequence += 1;
    let row = HeartbeatRow {
        slot: terminal.slot,
        epoch_low: terminal.epoch as u16,
        sequence: terminal.sequence,
        digest: terminal.random(),
        seen_low: terminal.seen as u32,
        unacked: 1,
        condition,
    };
    terminal.acked = terminal.sequence;
    let outcome = world.row(row);
    terminal.seen = world.applied();
    outcome
}

fn is_offered(outcome: &HeartbeatOutcome) -> bool {
    outcome.directive.is_some_and(|directive| directive.kind == OperationKind::OfferUpdate)
}

/// Starts anew with the new version.
fn boots(world: &mut World, terminal: &mut Terminal, firmware: u32) {
    terminal.boot_count += 1;
    let mut resumed = terminal.resumption(world);
    resumed.firmware = firmware;
    let Outcome::Resumed(grant) = world.tell(resumed) else { panic!("not resumed") };
    terminal.enter(&grant);
    terminal.firmware = firmware;
    assert_eq!(terminal.beat(world), COMMITTED);
}

fn fleet(world: &mut World, units: u32) -> Vec<Terminal> {
    (1..=units).map(|unit| Terminal::alive(world, unit)).collect()
}

#[test]
fn an_offer_is_named_in_every_verdict_until_the_new_version_runs_and_costs_the_log_nothing() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    assert!(!is_offered(&beat(&mut world, &mut terminal, 0)));
    world.accept(created(&world, 1, 2, rules(&[(1000, 0)])));
    let entries = world.log.len();
    for _ in 0..3 {
        let outcome = beat(&mut world, &mut terminal, 0);
        assert!(is_offered(&outcome));
        assert_eq!(outcome.directive.unwrap().expires, view(&world, 1).not_after);
    }
    assert_eq!(world.log.len(), entries + 3, "nothing but the heartbeats");
    assert_eq!((view(&world, 1).offered, view(&world, 1).installed), (1, 0));
    boots(&mut world, &mut terminal, 2);
    assert_eq!((view(&world, 1).offered, view(&world, 1).installed), (1, 1));
    assert!(!is_offered(&beat(&mut world, &mut terminal, 0)));
}

#[test]
fn a_restriction_is_told_before_an_update_and_a_restricted_terminal_is_told_of_it_all_the_same() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.accept(created(&world, 1, 2, rules(&[(1000, 0)])));
    world.by_hand(OperationKind::Restrict, terminal.id, "unpaid");
    let first = beat(&mut world, &mut terminal, 0);
    assert_eq!(first.directive.unwrap().kind, OperationKind::Restrict);
    terminal.directive = first.directive;
    terminal.obey();
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(terminal.directive.unwrap().kind, OperationKind::OfferUpdate);
}

#[test]
fn only_the_part_of_the_phase_is_told_and_the_next_phase_waits_for_time_and_for_success() {
    let mut world = World::new();
    let mut fleet = fleet(&mut world, 40);
    world.accept(created(&world, 1, 2, rules(&[(500, 3600), (1000, 0)])));
    let early: Vec<_> =
        (0..fleet.len()).filter(|&n| cohort(&rollout(1), fleet[n].id.as_bytes()) < 500).collect();
    assert!((10..30).contains(&early.len()), "{}", early.len());
    for (n, terminal) in fleet.iter_mut().enumerate() {
        assert_eq!(is_offered(&beat(&mut world, terminal, 0)), early.contains(&n), "terminal {n}");
    }
    world.wait(2 * HOUR);
    assert_eq!((view(&world, 1).phase, view(&world, 1).awaits_results), (1, true), "nobody installed it yet");
    for n in &early {
        boots(&mut world, &mut fleet[*n], 2);
    }
    assert_eq!(view(&world, 1).phase, 2);
    let late = (0..fleet.len()).find(|n| !early.contains(n)).unwrap();
    assert!(is_offered(&beat(&mut world, &mut fleet[late], 0)));
}

#[test]
fn a_phase_without_terminals_is_passed_and_one_whose_terminals_are_silent_is_not() {
    let mut world = World::new();
    let _switched_off = fleet(&mut world, 8);
    let nobody = |n: u8| (1..=8).all(|unit| cohort(&rollout(n), device_id(unit).as_bytes()) >= 10);
    let somebody = |n: u8| (1..=8).any(|unit| cohort(&rollout(n), device_id(unit).as_bytes()) < 500);
    let n = (1..=255_u8).find(|n| nobody(*n) && somebody(*n)).unwrap();
    world.accept(created(&world, n, 2, rules(&[(10, 3600), (500, 3600), (1000, 0)])));
    world.wait(2 * HOUR);
    assert_eq!(view(&world, n).phase, 2);
    world.wait(20 * HOUR);
    assert_eq!((view(&world, n).phase, view(&world, n).awaits_results), (2, true));
}

#[test]
fn too_many_failures_abort_a_rollout_and_nobody_is_told_any_more() {
    let mut world = World::new();
    let mut fleet = fleet(&mut world, 5);
    world.accept(created(&world, 1, 2, rules(&[(1000, 0)])));
    for terminal in &mut fleet[..4] {
        assert!(is_offered(&beat(&mut world, terminal, 0)));
    }
    let failed = with_failure(0, Some(UpdateFailure::Digest));
    boots(&mut world, &mut fleet[0], 2);
    beat(&mut world, &mut fleet[1], failed);
    assert_eq!(view(&world, 1).standing, RolloutStanding::Running, "two results are too few to judge by");
    beat(&mut world, &mut fleet[2], failed);
    let aborted = view(&world, 1);
    assert_eq!(aborted.standing, RolloutStanding::Ended(RolloutEnding::Aborted));
    assert_eq!(aborted.failed, [("DIGEST".to_owned(), 2)].into());
    let notice = Notice::UpdateAborted { rollout: rollout(1), failed: 2, results: 3 };
    assert!(world.effects.contains(&Effect::Notice(notice)));
    for terminal in &mut fleet[3..] {
        assert!(!is_offered(&beat(&mut world, terminal, 0)));
    }
    let again = UpdateResumed { rollout: rollout(1), by: "ada".into(), reason: "go on".into() };
    assert_eq!(world.tell(again), Outcome::Declined(Decline::UpdateEnded));
}

#[test]
fn a_terminal_that_failed_is_not_told_again_and_its_failure_counts_once() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.accept(created(&world, 1, 2, rules(&[(1000, 0)])));
    beat(&mut world, &mut terminal, 0);
    let failed = with_failure(0, Some(UpdateFailure::HookFailed));
    for _ in 0..4 {
        assert!(!is_offered(&beat(&mut world, &mut terminal, failed)));
    }
    assert_eq!(view(&world, 1).failed, [("HOOK_FAILED".to_owned(), 1)].into());
    // Somebody repaired it by hand.
    boots(&mut world, &mut terminal, 2);
    assert_eq!((view(&world, 1).installed, view(&world, 1).failed.len()), (1, 0));
}

#[test]
fn a_failure_that_was_told_before_a_rollout_is_none_of_it() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let failed = with_failure(0, Some(UpdateFailure::Digest));
    beat(&mut world, &mut terminal, failed);
    world.accept(created(&world, 1, 2, rules(&[(1000, 0)])));
    assert!(is_offered(&beat(&mut world, &mut terminal, failed)));
    assert_eq!(view(&world, 1).failed.len(), 0);
    beat(&mut world, &mut terminal, 0);
    beat(&mut world, &mut terminal, failed);
    assert_eq!(view(&world, 1).failed.len(), 1);
}

#[test]
fn a_failure_counts_for_the_rollout_under_way_although_the_terminal_was_told_of_an_earlier_one() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let failed = with_failure(0, Some(UpdateFailure::Digest));
    world.accept(created(&world, 1, 2, rules(&[(1000, 0)])));
    for condition in [0, failed, 0] {
        beat(&mut world, &mut terminal, condition);
    }
    world.accept(created(&world, 3, 3, rules(&[(1000, 0)])));
    // It asks on its own account, and fails before a verdict names the offer to it.
    assert!(!is_offered(&beat(&mut world, &mut terminal, failed)), "it gave up");
    let (earlier, under_way) = (view(&world, 1), view(&world, 3));
    assert_eq!((earlier.offered, earlier.failed), (1, [("DIGEST".to_owned(), 1)].into()));
    assert_eq!((under_way.offered, under_way.failed), (1, [("DIGEST".to_owned(), 1)].into()));
}

#[test]
fn so_many_are_told_within_a_minute_and_no_more() {
    let mut world = World::new();
    let mut fleet = fleet(&mut world, 6);
    let slow = RolloutRules { per_minute_max: 2, ..rules(&[(1000, 0)]) };
    world.accept(created(&world, 1, 2, slow));
    // Minutes are those of the log's time: begin with a whole one.
    let into_minute = world.now().as_millis() % 60_000;
    world.wait(60_000 - into_minute);
    let told = |world: &mut World, fleet: &mut Vec<Terminal>| {
        fleet.iter_mut().map(|terminal| is_offered(&beat(world, terminal, 0))).filter(|told| *told).count()
    };
    assert_eq!(told(&mut world, &mut fleet), 2);
    assert_eq!(told(&mut world, &mut fleet), 2, "who was told is told on");
    world.wait(60_000);
    assert_eq!(told(&mut world, &mut fleet), 4);
}

#[test]
fn a_pause_tells_nobody_and_its_end_begins_the_phase_anew() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.accept(created(&world, 1, 2, rules(&[(500, 3600), (1000, 0)])));
    world.accept(UpdatePaused { rollout: rollout(1), by: "ada".into(), reason: "look".into() });
    world.wait(2 * HOUR);
    assert!(!is_offered(&beat(&mut world, &mut terminal, 0)));
    assert_eq!(view(&world, 1).phase, 1);
    world.accept(UpdateResumed { rollout: rollout(1), by: "ada".into(), reason: "fine".into() });
    world.wait(HOUR / 2);
    assert_eq!(view(&world, 1).phase, 1);
    let twice = UpdateResumed { rollout: rollout(1), by: "ada".into(), reason: "fine".into() };
    assert_eq!(world.tell(twice), Outcome::Duplicate);
}

#[test]
fn a_newer_version_takes_the_place_of_the_one_under_way_and_an_older_one_does_not() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let first = created(&world, 1, 2, rules(&[(1000, 0)]));
    world.accept(first.clone());
    assert_eq!(world.tell(first), Outcome::Duplicate);
    let same = created(&world, 2, 2, rules(&[(1000, 0)]));
    assert_eq!(world.tell(same), Outcome::Declined(Decline::UpdateUnderWay));
    beat(&mut world, &mut terminal, 0);
    world.accept(created(&world, 3, 3, rules(&[(1000, 0)])));
    assert_eq!(view(&world, 1).standing, RolloutStanding::Ended(RolloutEnding::Replaced));
    let outcome = beat(&mut world, &mut terminal, 0);
    assert_eq!(outcome.directive.unwrap().id.index, view(&world, 3).created);
    boots(&mut world, &mut terminal, 3);
    assert_eq!((view(&world, 3).installed, view(&world, 1).installed), (1, 0));
}

#[test]
fn an_offer_that_ended_is_offered_to_nobody() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.accept(created(&world, 1, 2, rules(&[(1000, 0)])));
    let subject = *terminal.id.as_bytes();
    assert!(world.fold.offer_for(&LOT, &subject, 1).is_some());
    assert!(world.fold.offer_for(&LOT, &subject, 2).is_none(), "it runs the version already");
    world.wait(31 * DAY);
    assert!(world.fold.offer_for(&LOT, &subject, 1).is_none());
    assert!(!is_offered(&beat(&mut world, &mut terminal, 0)));
    assert_eq!(view(&world, 1).standing, RolloutStanding::Ended(RolloutEnding::Expired));
}

#[test]
fn what_makes_no_sense_is_declined_and_changes_nothing() {
    let mut world = World::new();
    let _terminal = Terminal::alive(&mut world, 1);
    let good = created(&world, 1, 2, rules(&[(1000, 0)]));
    let malformed = [
        UpdateCreated { offer: vec![1, 2, 3], ..good.clone() },
        UpdateCreated { rules: rules(&[]), ..good.clone() },
        UpdateCreated { rules: rules(&[(100, 1), (100, 1)]), ..good.clone() },
        UpdateCreated { rules: rules(&[(0, 1)]), ..good.clone() },
        UpdateCreated { rules: rules(&[(1001, 1)]), ..good.clone() },
        UpdateCreated { rules: RolloutRules { sample_min: 0, ..good.rules.clone() }, ..good.clone() },
        UpdateCreated { rules: RolloutRules { per_minute_max: 0, ..good.rules.clone() }, ..good.clone() },
    ];
    for event in malformed {
        assert_eq!(world.tell(event), Outcome::Declined(Decline::Malformed));
    }
    let mut offer = SignedOffer::parse(&good.offer).unwrap().unverified().clone();
    offer.scope = UpdateScope::Sku("unknown".into());
    let key = events::identity::key::SigningKey::from_bytes(&[7; 48]).unwrap();
    let unknown = UpdateCreated { offer: offer.clone().sign(&key).unwrap().encode(), ..good.clone() };
    assert_eq!(world.tell(unknown), Outcome::Declined(Decline::UnknownLot));
    offer.scope = UpdateScope::Lots(vec![LOT]);
    offer.not_after = Timestamp::from_millis(1);
    let ended = UpdateCreated { offer: offer.sign(&key).unwrap().encode(), ..good };
    assert_eq!(world.tell(ended), Outcome::Declined(Decline::Malformed));
    let nobody = UpdateAborted { rollout: rollout(9), by: "ada".into(), reason: "no".into() };
    assert_eq!(world.tell(nobody), Outcome::Declined(Decline::UnknownUpdate));
    assert_eq!(world.fold.rollouts().count(), 0);
}
