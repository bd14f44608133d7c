//! Activation, re-key and licenses (protocol.md rules 6, 16, 17 and 20).

use crate::terminal::{COMMITTED, Terminal};
use crate::world::{CLUSTER, DAY, HOUR, INTERVAL, World, code, codes, device, plan};
use events::ids::{CodeBatchId, LicenseId};
use events::limits::{EPOCH_CLAIM_JUMP_MAX, REACTIVATIONS_MAX, REKEY_REST_MILLIS};
use events::vocabulary::ClusterCreated;
use events::vocabulary::CodeVoided;
use events::vocabulary::CodesIssued;
use events::vocabulary::license::Plan;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{FlagKind, Legitimacy, OperationKind};
use projector::view::{CodeState, FlagSubject, LicenseState};
use projector::{Grant, Outcome};

fn granted(outcome: Outcome) -> Grant {
    match outcome {
        Outcome::Activated(grant) | Outcome::Resumed(grant) => *grant,
        other => panic!("not granted: {other:?}"),
    }
}

#[test]
fn a_valid_unused_code_makes_a_license_and_a_legitimate_device() {
    let mut world = World::new();
    let mut terminal = Terminal::burned(&mut world, 1);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Provisioned);
    let event = terminal.activation(&world, Some(code(1)));
    let grant = granted(world.tell(event));
    let license = grant.license.clone().unwrap();
    assert_eq!(license.license, LicenseId::from_bytes(*code(1).as_bytes()));
    assert_eq!((license.lease, license.plan), (1, plan()));
    assert_eq!(license.lease_expires, world.now().plus_millis(3 * DAY));
    assert_eq!((grant.epoch, grant.legitimacy), (1, Legitimacy::Legitimate));
    assert_eq!(world.fold.code(&code(1)), CodeState::Used { license: license.license, slot: terminal.slot });
    assert_eq!(world.epoch(terminal.id), 0, "the epoch waits for a first word under it");
    terminal.enter(&grant);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(world.epoch(terminal.id), 1);
    assert_eq!(world.fold.counts().licenses[&LicenseState::Active], 1);
}

#[test]
fn rule_16_the_owner_of_a_license_presents_its_code_again_and_nothing_is_consumed_or_flagged() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    for _ in 0..10 {
        for _ in 0..REACTIVATIONS_MAX {
            terminal.activate(&mut world, code(1));
            assert_eq!(terminal.beat(&mut world), COMMITTED);
        }
        world.wait(REKEY_REST_MILLIS);
    }
    assert_eq!(world.fold.licenses().count(), 1);
    assert_eq!(world.flags(), []);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Legitimate);
}

#[test]
fn the_code_of_its_own_license_is_too_fast_after_a_few_and_costs_nothing() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    // Answers that were lost count as much as those that arrived.
    for _ in 0..REACTIVATIONS_MAX {
        let event = terminal.activation(&world, Some(code(1)));
        granted(world.tell(event));
    }
    let event = terminal.activation(&world, Some(code(1)));
    assert_eq!(world.tell(event.clone()), Outcome::Refused(RejectionReason::RateExceeded));
    let a_node_says = world.fold.judge_activation(terminal.slot, Some(&code(1)), &event.transcript);
    assert_eq!(a_node_says, Err(RejectionReason::RateExceeded), "so it need not be proposed");
    assert_eq!(terminal.beat(&mut world), COMMITTED, "what it has goes on");
    world.wait(REKEY_REST_MILLIS);
    let event = terminal.activation(&world, Some(code(1)));
    granted(world.tell(event));
    assert_eq!(world.flags(), []);
}

/// Who sold the box holds its secrets and its code: without a limit he would push the honest epoch out of those that
/// are kept, and nothing would tell the two apart.
#[test]
fn a_thief_with_the_code_cannot_push_the_honest_epoch_out_and_is_told_a_clone() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let mut thief = honest.clone();
    for _ in 0..REACTIVATIONS_MAX {
        thief.activate(&mut world, code(1));
        assert_eq!(thief.beat(&mut world), COMMITTED);
    }
    let event = thief.activation(&world, Some(code(1)));
    assert_eq!(world.tell(event), Outcome::Refused(RejectionReason::RateExceeded));
    honest.resume(&mut world);
    assert_eq!(honest.beat(&mut world), COMMITTED, "the owner takes its session back");
    // A first time may be flash that lies; the thief who does it again is told.
    world.wait(REKEY_REST_MILLIS);
    thief.activate(&mut world, code(1));
    assert_eq!(thief.beat(&mut world), COMMITTED);
    honest.resume(&mut world);
    assert_eq!(world.flags(), [(FlagKind::Clone, FlagSubject::Device(honest.id))]);
}

#[test]
fn resumes_under_a_fresh_root_make_nobody_forget_it_nor_the_honest_epoch() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let mut thief = Terminal { entropy: 50_000, ..honest.clone() };
    for _ in 0..REACTIVATIONS_MAX {
        thief.activate(&mut world, code(1));
        assert_eq!(thief.beat(&mut world), COMMITTED);
        for _ in 0..4 {
            assert!(thief.resume(&mut world));
            assert_eq!(thief.beat(&mut world), COMMITTED);
        }
    }
    let event = thief.activation(&world, Some(code(1)));
    assert_eq!(world.tell(event), Outcome::Refused(RejectionReason::RateExceeded));
    assert!(honest.resume(&mut world), "its epoch is kept beside two other branches");
    assert_eq!(honest.beat(&mut world), COMMITTED);
    assert_eq!(world.legitimacy(honest.id), Legitimacy::Suspect);
}

#[test]
fn who_redeems_the_code_first_does_not_push_the_owner_out_who_used_it_too() {
    let mut world = World::new();
    let mut thief = Terminal::alive(&mut world, 1);
    let mut owner = Terminal { entropy: 50_000, ..thief.clone() };
    owner.activate(&mut world, code(1));
    assert_eq!(owner.beat(&mut world), COMMITTED);
    thief.activate(&mut world, code(1));
    assert_eq!(thief.beat(&mut world), COMMITTED);
    for _ in 0..4 {
        assert!(thief.resume(&mut world));
        assert_eq!(thief.beat(&mut world), COMMITTED);
    }
    assert!(owner.resume(&mut world), "its epoch is kept");
    assert_eq!(owner.beat(&mut world), COMMITTED);
    assert_eq!(world.legitimacy(owner.id), Legitimacy::Suspect);
}

#[test]
fn rule_16_every_refused_code_gets_the_same_answer_whatever_is_wrong_with_it() {
    let mut world = World::new();
    Terminal::alive(&mut world, 1);
    world.accept(CodeVoided { code: code(2), reason: "stolen".into() });
    let mut thief = Terminal::burned(&mut world, 3);
    for (why, bad) in [("used by another", code(1)), ("void", code(2)), ("unknown", code(5000))] {
        let event = thief.activation(&world, Some(bad));
        assert_eq!(world.tell(event), Outcome::Refused(RejectionReason::CodeRefused), "{why}");
        let judged = world.fold.judge_code(thief.slot, Some(&bad));
        assert_eq!(judged, Err(RejectionReason::CodeRefused), "a node judges as the fold does: {why}");
    }
    assert_eq!(world.legitimacy(thief.id), Legitimacy::Provisioned);
    assert_eq!(world.fold.licenses().count(), 1);
}

#[test]
fn a_licensed_device_does_not_burn_a_second_code_by_mistake() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let event = terminal.activation(&world, Some(code(2)));
    assert_eq!(world.tell(event), Outcome::Refused(RejectionReason::CodeRefused));
    assert_eq!(world.fold.code(&code(2)), CodeState::Unused);
}

#[test]
fn two_devices_race_for_one_code_and_the_first_commit_wins() {
    let mut world = World::new();
    let mut first = Terminal::burned(&mut world, 1);
    let mut second = Terminal::burned(&mut world, 2);
    let events = [first.activation(&world, Some(code(9))), second.activation(&world, Some(code(9)))];
    let outcomes = world.commit(&events.map(Into::into));
    assert!(matches!(outcomes[0], Outcome::Activated(_)));
    assert_eq!(outcomes[1], Outcome::Refused(RejectionReason::CodeRefused));
}

#[test]
fn rule_17_the_same_transcript_again_gets_what_was_kept_even_with_another_signature() {
    let mut world = World::new();
    let mut terminal = Terminal::burned(&mut world, 1);
    let mut event = terminal.activation(&world, Some(code(1)));
    let first = granted(world.tell(event.clone()));
    event.signature = vec![1; 96];
    event.server_nonce = [99; 32];
    event.epoch = 2;
    let again = granted(world.tell(event.clone()));
    assert_eq!(again, first);
    terminal.enter(&first);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(granted(world.tell(event)), first, "also once it is confirmed");
    assert_eq!(world.fold.device(terminal.slot).unwrap().next_epoch(), 2);
}

#[test]
fn an_activation_whose_epoch_died_is_not_granted_anew_when_it_is_replayed() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let lost = terminal.activation(&world, None);
    granted(world.tell(lost.clone()));
    world.wait(HOUR);
    terminal.rekey(&mut world);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(world.tell(lost), Outcome::Refused(RejectionReason::EpochStale));
}

#[test]
fn rule_6_a_rekey_needs_a_license_and_no_code() {
    let mut world = World::new();
    let mut unlicensed = Terminal::burned(&mut world, 1);
    let event = unlicensed.activation(&world, None);
    assert_eq!(world.tell(event), Outcome::Refused(RejectionReason::NotLicensed));
    let mut terminal = Terminal::alive(&mut world, 2);
    let before = terminal.epoch;
    terminal.rekey(&mut world);
    assert_eq!(terminal.epoch, before + 1);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(world.flags(), []);
}

#[test]
fn rule_6_a_rekey_counts_above_what_the_device_claims_within_a_bounded_jump() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    terminal.epoch = 50;
    terminal.rekey(&mut world);
    assert_eq!(terminal.epoch, 51);
    world.wait(HOUR);
    terminal.epoch = u32::MAX;
    terminal.rekey(&mut world);
    assert_eq!(terminal.epoch, 51 + EPOCH_CLAIM_JUMP_MAX + 1);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
}

#[test]
fn rule_6_a_second_rekey_within_the_hour_is_too_fast_unless_it_is_the_same_again() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let first = terminal.activation(&world, None);
    let grant = granted(world.tell(first.clone()));
    terminal.enter(&grant);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    let too_fast = Outcome::Refused(RejectionReason::RateExceeded);
    let second = terminal.activation(&world, None);
    assert_eq!(world.tell(second.clone()), too_fast);
    let judged =
        |world: &World, transcript: &[u8]| world.fold.judge_activation(terminal.slot, None, transcript);
    let a_node_says = judged(&world, &second.transcript);
    assert_eq!(a_node_says, Err(RejectionReason::RateExceeded), "a node judges as the fold does");
    assert_eq!(judged(&world, &first.transcript), Ok(()));
    assert_eq!(granted(world.tell(first)), grant);
    world.wait(REKEY_REST_MILLIS);
    let later = terminal.activation(&world, None);
    assert!(matches!(world.tell(later), Outcome::Activated(_)));
}

#[test]
fn rule_6_a_rekey_that_a_directive_demands_is_never_too_fast_nor_one_just_after_it_was_obeyed() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    terminal.rekey(&mut world);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    world.by_hand(OperationKind::Rekey, terminal.id, "rotation");
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    terminal.rekey(&mut world);
    terminal.obey();
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert!(world.fold.counts().unsettled.is_empty());
    terminal.rekey(&mut world);
    world.wait(HOUR / 3);
    let event = terminal.activation(&world, None);
    assert_eq!(world.tell(event), Outcome::Refused(RejectionReason::RateExceeded));
}

#[test]
fn rule_7_a_restore_lets_every_device_rekey_again_at_once() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    terminal.rekey(&mut world);
    world.accept(ClusterCreated { cluster: CLUSTER, generation: 2, heartbeat_millis: INTERVAL });
    terminal.rekey(&mut world);
    let event = terminal.activation(&world, None);
    assert_eq!(world.tell(event), Outcome::Refused(RejectionReason::RateExceeded));
}

#[test]
fn an_activation_that_proposes_another_epoch_is_told_which_one_is_next() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let mut event = terminal.activation(&world, None);
    event.epoch = 7;
    assert_eq!(world.tell(event), Outcome::Raced { expected: 2 });
}

#[test]
fn rule_1_a_ticket_of_another_generation_or_from_the_future_activates_nothing() {
    let mut world = World::new();
    let mut terminal = Terminal::burned(&mut world, 1);
    let mut event = terminal.activation(&world, Some(code(1)));
    event.ticket_generation = 0;
    assert_eq!(world.tell(event.clone()), Outcome::Refused(RejectionReason::TicketRefused));
    event.ticket_generation = 1;
    event.ticket_applied = 1_000_000;
    assert_eq!(world.tell(event), Outcome::Refused(RejectionReason::TicketRefused));
    assert_eq!(world.fold.code(&code(1)), CodeState::Unused);
}

#[test]
fn rule_20_a_lease_is_renewed_by_verdicts_long_before_it_ends_and_counts_up() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let mut leases = Vec::new();
    for _ in 0..72 {
        world.wait(3_600_000);
        terminal.sequence += 1;
        let heard = projector::Heard {
            epoch: terminal.epoch,
            sequence: terminal.sequence,
            digest: terminal.sequence,
            acked: terminal.sequence - 1,
            seen: world.applied(),
        };
        let outcome = world.row(terminal.row(&heard));
        leases.extend(outcome.license.map(|license| license.lease));
    }
    assert_eq!(leases, [2, 3, 4, 5, 6, 7, 8, 9], "an eighth of 72 hours is nine hours");
}

/// What a resume brings, and the terminal that took it in; it does not speak under its epoch yet.
fn resumed(world: &mut World, terminal: &mut Terminal) -> (Option<u32>, Terminal) {
    let event = terminal.resumption(world);
    let Outcome::Resumed(grant) = world.tell(event) else { panic!("the resume is granted") };
    let mut resumed = terminal.clone();
    resumed.enter(&grant);
    (grant.license.map(|license| license.lease), resumed)
}

#[test]
fn a_device_that_holds_its_lease_resumes_without_another_until_half_of_it_is_over() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    for _ in 0..5 {
        let (lease, resumed) = resumed(&mut world, &mut terminal);
        assert_eq!(lease, None, "a storm of resumes costs no signature");
        terminal = resumed;
        assert_eq!(terminal.beat(&mut world), COMMITTED);
    }
    world.wait(36 * HOUR);
    assert_eq!(resumed(&mut world, &mut terminal).0, Some(2));
}

#[test]
fn a_lease_whose_answer_was_lost_is_given_again_until_the_device_speaks_under_it() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.wait(36 * HOUR);
    assert_eq!(resumed(&mut world, &mut terminal).0, Some(2), "its answer is lost");
    assert_eq!(resumed(&mut world, &mut terminal).0, Some(3), "lost again");
    let (lease, mut holder) = resumed(&mut world, &mut terminal);
    assert_eq!(lease, Some(4));
    assert_eq!(holder.beat(&mut world), COMMITTED);
    assert_eq!(resumed(&mut world, &mut holder).0, None, "it surely holds the fourth");
}

#[test]
fn a_lease_that_a_verdict_named_comes_with_the_next_resume_and_with_every_one_until_it_arrived() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.wait(10 * HOUR);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(world.fold.licenses().next().unwrap().leases, 2, "the verdict named it");
    assert_eq!(resumed(&mut world, &mut terminal).0, Some(3), "its answer is lost");
    let (lease, mut holder) = resumed(&mut world, &mut terminal);
    assert_eq!(lease, Some(4));
    assert_eq!(holder.beat(&mut world), COMMITTED);
    assert_eq!(resumed(&mut world, &mut holder).0, None);
}

#[test]
fn who_goes_back_to_an_older_epoch_may_have_lost_its_token_and_gets_one() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let (_, mut newer) = resumed(&mut world, &mut terminal);
    assert_eq!(newer.beat(&mut world), COMMITTED);
    let mut lied_to_by_flash = Terminal { entropy: 77_000, ..terminal };
    assert_eq!(resumed(&mut world, &mut lied_to_by_flash).0, Some(2));
}

#[test]
fn a_license_ends_with_its_term_and_another_code_may_follow() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.wait(366 * DAY);
    assert_eq!(world.fold.licenses().next().unwrap().state, LicenseState::Expired);
    let again = terminal.activation(&world, Some(code(1)));
    let grant = granted(world.tell(again));
    assert_eq!(grant.license, None, "the old code re-keys, but gives no new lease");
    let event = terminal.activation(&world, Some(code(2)));
    let license = granted(world.tell(event)).license.unwrap();
    assert_eq!(license.license, LicenseId::from_bytes(*code(2).as_bytes()));
    assert_eq!(world.fold.device(terminal.slot).unwrap().license(), Some(license.license));
}

#[test]
fn a_lease_never_outlives_its_license() {
    let mut world = World::new();
    let short = Plan { term_seconds: 60, ..plan() };
    let batch = CodeBatchId::from_bytes([5; 8]);
    world.accept(CodesIssued { batch, plan: short, reseller: "kiosk".into(), codes: vec![code(7000)] });
    let mut terminal = Terminal::burned(&mut world, 1);
    let event = terminal.activation(&world, Some(code(7000)));
    let license = granted(world.tell(event)).license.unwrap();
    assert_eq!(license.lease_expires, license.expires);
}

#[test]
fn a_revoked_device_consumes_no_code() {
    let mut world = World::new();
    let mut terminal = Terminal::burned(&mut world, 1);
    world.by_hand(OperationKind::Revoke, terminal.id, "stolen");
    let event = terminal.activation(&world, Some(code(1)));
    assert_eq!(world.tell(event), Outcome::Refused(RejectionReason::CodeRefused));
    assert_eq!(world.fold.code(&code(1)), CodeState::Unused);
}

#[test]
fn an_unknown_device_is_not_authentic() {
    let mut world = World::new();
    let mut terminal = Terminal::burned(&mut world, 1);
    let mut event = terminal.activation(&world, Some(code(1)));
    event.device = device(77).device;
    assert_eq!(world.tell(event), Outcome::Refused(RejectionReason::NotAuthentic));
}

#[test]
fn codes_are_issued_once_and_never_in_two_batches() {
    let mut world = World::new();
    assert_eq!(world.tell(codes(0..1000)), Outcome::Duplicate);
    world.accept(codes(990..1010));
    assert_eq!(world.fold.code_batches().next().unwrap().issued, 1010);
    let other = CodesIssued { batch: CodeBatchId::from_bytes([8; 8]), ..codes(1009..1020) };
    assert_eq!(world.tell(other), Outcome::Declined(projector::Decline::CodeConflict));
    assert_eq!(world.fold.code(&code(1015)), CodeState::Unknown, "a conflict changes nothing");
}

#[test]
fn a_redeemed_code_cannot_be_voided_and_a_void_one_stays_void() {
    let mut world = World::new();
    Terminal::alive(&mut world, 1);
    let void = |n| CodeVoided { code: code(n), reason: "returned".into() };
    assert_eq!(world.tell(void(1)), Outcome::Declined(projector::Decline::CodeUsed));
    world.accept(void(2));
    assert_eq!(world.tell(void(2)), Outcome::Duplicate);
    assert_eq!(world.tell(void(9999)), Outcome::Declined(projector::Decline::UnknownCode));
    assert_eq!(world.fold.code(&code(2)), CodeState::Void);
}
