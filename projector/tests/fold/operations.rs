//! Policy, orders, directives and their ends (protocol.md rule 12, design.md section 8).

use crate::terminal::{COMMITTED, Heartbeat, Terminal};
use crate::world::{DAY, HOUR, World, code, order_of, source};
use events::vocabulary::BreakerReset;
use events::vocabulary::operation::{Cause, OperationOrdered, OperationSettled, Settlement};
use events::vocabulary::shared::{DirectiveId, FlagKind, Legitimacy, OperationKind};
use projector::view::{FlagSubject, LicenseState, OperationView};
use projector::{Decline, Effect, HeartbeatStatus, Notice, Outcome};

/// Makes the fold raise `clone` for this terminal.
fn convict(world: &mut World, terminal: &mut Terminal) {
    let mut copy = terminal.clone();
    assert_eq!(terminal.beat(world), COMMITTED);
    copy.entropy += 1;
    assert_eq!(copy.beat(world), Heartbeat::Judged(HeartbeatStatus::CloneEvidence));
}

#[test]
fn a_proven_clone_is_wanted_restricted_ordered_once_and_obeyed() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    convict(&mut world, &mut terminal);
    let flag = world.the_flag(FlagKind::Clone, &FlagSubject::Device(terminal.id)).id;
    let wants = world.fold.wanted_operations();
    let wanted =
        matches!(&wants[..], [w] if w.kind == OperationKind::Restrict && w.cause == Cause::Flag(flag));
    assert!(wanted, "{wants:?}");
    assert!(world.effects.contains(&Effect::Want(wants[0].clone())));
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Suspect, "the fold never orders by itself");

    let order = order_of(wants[0].clone());
    let Outcome::Ordered { directive: Some(directive) } = world.tell(order.clone()) else { panic!() };
    assert_eq!(directive.id, DirectiveId { generation: 1, index: world.applied(), ordinal: 0 });
    assert_eq!(world.tell(order), Outcome::Duplicate, "a leader that failed over orders again");
    assert_eq!(world.fold.wanted_operations(), []);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Restricted);
    assert!(world.effects.contains(&Effect::Dispatch { device: terminal.id, directive }));

    assert_eq!(terminal.beat(&mut world), COMMITTED, "a restricted device is still answered");
    assert_eq!(terminal.directive, Some(directive), "every verdict names it until it is obeyed");
    terminal.obey();
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(terminal.directive, None);
    let settled = world.fold.operations().next().unwrap().settled.unwrap();
    assert_eq!((settled.settlement, settled.index), (Settlement::Obeyed, world.applied()));
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Restricted, "obeying is not the end of it");
}

#[test]
fn routine_heartbeats_of_a_restricted_device_carry_its_directive_too() {
    let mut world = World::new();
    let terminal = Terminal::alive(&mut world, 1);
    world.by_hand(OperationKind::Restrict, terminal.id, "unpaid");
    let heard = projector::Heard { epoch: 1, sequence: 2, digest: 2, acked: 1, seen: terminal.seen };
    let outcome = world.row(terminal.row(&heard));
    assert_eq!((outcome.status, outcome.legitimacy), (HeartbeatStatus::Committed, Legitimacy::Restricted));
    assert_eq!(outcome.directive.unwrap().kind, OperationKind::Restrict);
}

#[test]
fn automation_restricts_nobody_without_an_open_flag_of_that_device() {
    let mut world = World::new();
    let mut guilty = Terminal::alive(&mut world, 1);
    let innocent = Terminal::alive(&mut world, 2);
    convict(&mut world, &mut guilty);
    let want = world.fold.wanted_operations().remove(0);
    let order = OperationOrdered { device: innocent.id, ..order_of(want.clone()) };
    assert_eq!(world.tell(order), Outcome::Declined(Decline::CauseNotOpen));
    let order = OperationOrdered { kind: OperationKind::Revoke, ..order_of(want) };
    assert_eq!(world.tell(order), Outcome::Declined(Decline::PersonOnly));
    assert_eq!(world.legitimacy(innocent.id), Legitimacy::Legitimate);
}

#[test]
fn a_person_reinstates_and_automation_keeps_its_hands_off_for_an_hour() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    convict(&mut world, &mut terminal);
    world.obey_wants();
    assert!(matches!(
        world.by_hand(OperationKind::Reinstate, terminal.id, "proof of purchase"),
        Outcome::Ordered { directive: Some(_) }
    ));
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Legitimate);
    assert_eq!(world.flags(), [], "the case is closed");
    assert_eq!(world.fold.operations().next().unwrap().settled.unwrap().settlement, Settlement::Expired);

    convict(&mut world, &mut terminal);
    let cause = Cause::Flag(world.the_flag(FlagKind::Clone, &FlagSubject::Device(terminal.id)).id);
    assert_eq!(world.fold.wanted_operations(), []);
    let (kind, device, expires) = (OperationKind::Restrict, terminal.id, Default::default());
    let order = OperationOrdered { kind, device, cause, expires };
    assert_eq!(world.tell(order.clone()), Outcome::Declined(Decline::CoolingDown));
    world.effects.clear();
    world.wait(HOUR);
    assert!(matches!(&world.effects[..], [Effect::Want(want)] if order_of(want.clone()) == order));
    assert!(matches!(world.obey_wants()[..], [Outcome::Ordered { .. }]));
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Restricted);
}

#[test]
fn the_breaker_stops_automation_that_restricts_too_many_and_closes_after_a_quiet_hour() {
    let mut world = World::new();
    let mut fleet: Vec<_> = (0..15).map(|unit| Terminal::alive(&mut world, unit)).collect();
    for terminal in &mut fleet {
        convict(&mut world, terminal);
    }
    let outcomes = world.obey_wants();
    let ordered = |outcome: &&Outcome| matches!(outcome, Outcome::Ordered { .. });
    assert_eq!(outcomes.iter().filter(ordered).count(), 10);
    assert_eq!(outcomes[10..], vec![Outcome::Declined(Decline::BreakerOpen); 5]);
    let opened = Effect::Notice(Notice::BreakerOpened { restricted: 10, limit: 10 });
    assert_eq!(world.effects.iter().filter(|effect| **effect == opened).count(), 1);
    assert_eq!(world.fold.wanted_operations(), [], "it stops, and asks");

    let spared = fleet[14].id;
    assert!(matches!(world.by_hand(OperationKind::Restrict, spared, "seen"), Outcome::Ordered { .. }));
    world.effects.clear();
    world.wait(HOUR);
    assert_eq!(world.effects[0], Effect::Notice(Notice::BreakerClosed));
    assert_eq!(world.effects.len(), 5, "and the four that are left are wanted again");
    assert_eq!(world.obey_wants().iter().filter(ordered).count(), 4);
    assert_eq!(world.fold.counts().legitimacy[&Legitimacy::Restricted], 15);
}

#[test]
fn a_person_who_looked_lets_automation_go_on_at_once() {
    let mut world = World::new();
    let mut fleet: Vec<_> = (0..25).map(|unit| Terminal::alive(&mut world, unit)).collect();
    for terminal in &mut fleet {
        convict(&mut world, terminal);
    }
    let ordered = |outcome: &&Outcome| matches!(outcome, Outcome::Ordered { .. });
    assert_eq!(world.obey_wants().iter().filter(ordered).count(), 10);
    let breaker = |world: &World| (world.fold.breaker().open, world.fold.breaker().restricted);
    assert_eq!(breaker(&world), (true, 10));
    world.effects.clear();
    let reset = || BreakerReset { by: "ada".into(), reason: "one bad lot".into() };
    assert_eq!(world.tell(reset()), Outcome::Accepted);
    assert_eq!(breaker(&world), (false, 0));
    assert_eq!(world.effects[0], Effect::Notice(Notice::BreakerClosed));
    assert_eq!(world.obey_wants().iter().filter(ordered).count(), 10, "as many as it may, and not one more");
    assert_eq!(breaker(&world), (true, 10));

    assert_eq!(world.tell(reset()), Outcome::Accepted);
    assert_eq!(world.obey_wants().iter().filter(ordered).count(), 5);
    assert_eq!(breaker(&world), (false, 5));
    assert_eq!(world.tell(reset()), Outcome::Accepted, "who looks in time has the count begin anew");
    assert_eq!(breaker(&world), (false, 0));
}

#[test]
fn an_order_that_ends_is_lifted_when_its_time_comes() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let expires = world.now().plus_millis(2 * HOUR);
    let cause = Cause::Operator { name: "ada".into(), reason: "cool off".into() };
    let order = OperationOrdered { kind: OperationKind::Restrict, device: terminal.id, cause, expires };
    assert!(matches!(world.tell(order.clone()), Outcome::Ordered { .. }));
    world.wait(HOUR);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Restricted);
    world.wait(HOUR);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Legitimate);
    assert_eq!(world.fold.operations().next().unwrap().settled.unwrap().settlement, Settlement::Expired);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(terminal.directive, None);
    assert_eq!(world.tell(order), Outcome::Declined(Decline::Malformed), "it ended before it began");
}

#[test]
fn a_restriction_that_ends_while_the_case_is_open_leaves_the_device_suspect_and_wanted() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let expires = world.now().plus_millis(HOUR);
    let cause = Cause::Operator { name: "ada".into(), reason: "cool off".into() };
    let order = OperationOrdered { kind: OperationKind::Restrict, device: terminal.id, cause, expires };
    assert!(matches!(world.tell(order), Outcome::Ordered { .. }));
    convict(&mut world, &mut terminal);
    assert_eq!(world.fold.wanted_operations(), [], "it is restricted already");
    world.effects.clear();
    world.wait(HOUR);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Suspect);
    assert!(matches!(&world.effects[..], [Effect::Want(want)] if want.device == terminal.id));
}

fn settlements(world: &World) -> Vec<(OperationKind, Option<Settlement>)> {
    let settled = |o: &OperationView| (o.directive.kind, o.settled.map(|settled| settled.settlement));
    world.fold.operations().map(settled).collect()
}

fn story(world: &World, terminal: &Terminal) -> Vec<String> {
    world.fold.story(&terminal.id).into_iter().map(|line| line.what).collect()
}

#[test]
fn rule_12_the_lowest_directive_is_named_and_obeying_it_settles_it_alone() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.by_hand(OperationKind::Rekey, terminal.id, "rotation");
    world.by_hand(OperationKind::Restrict, terminal.id, "unpaid");
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Restricted, "nothing urgent waits for its turn");
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(terminal.directive.unwrap().kind, OperationKind::Rekey);
    terminal.obey();
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    let obeyed = Some(Settlement::Obeyed);
    assert_eq!(settlements(&world), [(OperationKind::Rekey, obeyed), (OperationKind::Restrict, None)]);
    assert_eq!(terminal.directive.unwrap().kind, OperationKind::Restrict, "the very next verdict names it");
    terminal.obey();
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(settlements(&world), [(OperationKind::Rekey, obeyed), (OperationKind::Restrict, obeyed)]);
    assert_eq!(terminal.directive, None);
}

#[test]
fn rule_12_a_directive_whose_every_push_and_verdict_was_dropped_is_named_again_and_hides_nothing() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.by_hand(OperationKind::Rekey, terminal.id, "rotation");
    let named = terminal.clone();
    for _ in 0..20 {
        // The verdict is lost: the terminal verifies nothing of it, and knows nothing of the directive.
        assert_eq!(terminal.beat(&mut world), COMMITTED);
        (terminal.seen, terminal.directive) = (named.seen, None);
    }
    assert_eq!(settlements(&world), [(OperationKind::Rekey, None)], "who was not told did not refuse");
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(terminal.directive.unwrap().kind, OperationKind::Rekey);
}

#[test]
fn a_directive_below_one_that_was_obeyed_is_void_and_never_counts_as_obeyed() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.by_hand(OperationKind::Rekey, terminal.id, "rotation");
    world.by_hand(OperationKind::Restrict, terminal.id, "unpaid");
    terminal.obeyed = DirectiveId { generation: 1, index: world.applied(), ordinal: 0 };
    terminal.directive = world.fold.device(terminal.slot).unwrap().directive();
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    let (void, obeyed) = (Some(Settlement::Expired), Some(Settlement::Obeyed));
    assert_eq!(settlements(&world), [(OperationKind::Rekey, void), (OperationKind::Restrict, obeyed)]);
}

#[test]
fn a_directive_that_a_terminal_cannot_obey_is_refused_after_three_heartbeats_and_frees_those_above_it() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.by_hand(OperationKind::Rekey, terminal.id, "not for this firmware");
    world.by_hand(OperationKind::SuspendLicense, terminal.id, "unpaid");
    for _ in 0..3 {
        assert_eq!(terminal.beat(&mut world), COMMITTED);
        assert_eq!(terminal.directive.unwrap().kind, OperationKind::Rekey);
    }
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(terminal.directive.unwrap().kind, OperationKind::SuspendLicense);
    let (refused, obeyed) = (Some(Settlement::Refused), Some(Settlement::Obeyed));
    assert_eq!(settlements(&world), [(OperationKind::Rekey, refused), (OperationKind::SuspendLicense, None)]);
    terminal.obey();
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(settlements(&world)[1], (OperationKind::SuspendLicense, obeyed));
}

#[test]
fn routine_heartbeats_that_heed_no_directive_count_as_refusals_too() {
    let mut world = World::new();
    let terminal = Terminal::alive(&mut world, 1);
    world.by_hand(OperationKind::Rekey, terminal.id, "not for this firmware");
    let mut seen = terminal.seen;
    for sequence in 2..=5 {
        let heard = projector::Heard { epoch: 1, sequence, digest: sequence, acked: sequence - 1, seen };
        assert_eq!(world.row(terminal.row(&heard)).status, HeartbeatStatus::Committed);
        seen = world.applied();
    }
    assert_eq!(settlements(&world), [(OperationKind::Rekey, Some(Settlement::Refused))]);
}

#[test]
fn a_directive_that_expires_unheard_never_blocks_those_above_it() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let expires = world.now().plus_millis(HOUR);
    let cause = Cause::Operator { name: "ada".into(), reason: "tonight only".into() };
    let order = OperationOrdered { kind: OperationKind::Rekey, device: terminal.id, cause, expires };
    assert!(matches!(world.tell(order), Outcome::Ordered { .. }));
    world.by_hand(OperationKind::Restrict, terminal.id, "unpaid");
    world.wait(HOUR);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(terminal.directive.unwrap().kind, OperationKind::Restrict);
    assert_eq!(settlements(&world)[0], (OperationKind::Rekey, Some(Settlement::Expired)));
}

#[test]
fn of_more_directives_than_are_kept_the_oldest_is_settled_as_expired_and_the_story_says_so() {
    let mut world = World::new();
    let terminal = Terminal::alive(&mut world, 1);
    for round in 0..20 {
        let outcome = world.by_hand(OperationKind::Rekey, terminal.id, &format!("round {round}"));
        assert!(matches!(outcome, Outcome::Ordered { .. }));
    }
    assert_eq!(world.fold.counts().unsettled[&OperationKind::Rekey], 4);
    let settled: Vec<_> = settlements(&world).into_iter().map(|(_, settlement)| settlement).collect();
    assert_eq!(settled, [vec![Some(Settlement::Expired); 16], vec![None; 4]].concat());
    let told = story(&world, &terminal).iter().filter(|line| *line == "rekey expired").count();
    assert_eq!(told, 16);
}

#[test]
fn what_the_shell_learns_of_an_order_settles_it_once() {
    let mut world = World::new();
    let terminal = Terminal::alive(&mut world, 1);
    world.by_hand(OperationKind::Rekey, terminal.id, "rotation");
    let ordered = world.applied();
    let settled = OperationSettled { device: terminal.id, ordered, settlement: Settlement::Refused };
    world.accept(settled.clone());
    assert_eq!(world.tell(settled.clone()), Outcome::Duplicate);
    assert_eq!(world.fold.device(terminal.slot).unwrap().directive(), None);
    let unknown = OperationSettled { ordered: 1, ..settled };
    assert_eq!(world.tell(unknown), Outcome::Declined(Decline::UnknownOrder));
}

#[test]
fn a_person_may_order_the_same_again_once_the_first_order_is_settled() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let rekey = |world: &mut World, id| world.by_hand(OperationKind::Rekey, id, "rotation");
    assert!(matches!(rekey(&mut world, terminal.id), Outcome::Ordered { .. }));
    assert_eq!(rekey(&mut world, terminal.id), Outcome::Duplicate, "a person pressed the button twice");
    terminal.beat(&mut world);
    terminal.obey();
    terminal.beat(&mut world);
    assert!(matches!(rekey(&mut world, terminal.id), Outcome::Ordered { .. }));
}

#[test]
fn orders_that_the_state_does_not_allow_are_declined() {
    let mut world = World::new();
    let id = Terminal::burned(&mut world, 1).id;
    let not_applicable = Outcome::Declined(Decline::NotApplicable);
    assert_eq!(world.by_hand(OperationKind::Reinstate, id, "?"), not_applicable);
    assert_eq!(world.by_hand(OperationKind::SuspendLicense, id, "?"), not_applicable);
    assert_eq!(world.by_hand(OperationKind::Throttle, id, "?"), Outcome::Declined(Decline::Unsupported));
    assert!(matches!(world.by_hand(OperationKind::Revoke, id, "stolen"), Outcome::Ordered { .. }));
    assert_eq!(world.legitimacy(id), Legitimacy::Revoked);
    assert_eq!(world.by_hand(OperationKind::Restrict, id, "?"), not_applicable);
    let unknown = crate::world::device_id(77);
    assert_eq!(
        world.by_hand(OperationKind::Restrict, unknown, "?"),
        Outcome::Declined(Decline::UnknownDevice)
    );
}

#[test]
fn a_suspended_license_gives_no_lease_until_the_device_is_reinstated() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    assert!(matches!(
        world.by_hand(OperationKind::SuspendLicense, terminal.id, "unpaid"),
        Outcome::Ordered { .. }
    ));
    assert_eq!(world.fold.licenses().next().unwrap().state, LicenseState::Suspended);
    let event = terminal.activation(&world, Some(code(1)));
    assert!(matches!(world.tell(event), Outcome::Activated(grant) if grant.license.is_none()));
    world.by_hand(OperationKind::Reinstate, terminal.id, "paid");
    assert_eq!(world.fold.licenses().next().unwrap().state, LicenseState::Active);
    let event = terminal.resumption(&world);
    assert!(matches!(world.tell(event), Outcome::Resumed(grant) if grant.license.is_some()));
}

#[test]
fn rule_20_a_restricted_device_gets_no_new_lease_until_it_is_reinstated() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.by_hand(OperationKind::Restrict, terminal.id, "stolen");
    let event = terminal.resumption(&world);
    assert!(matches!(world.tell(event), Outcome::Resumed(grant) if grant.license.is_none()));
    assert_eq!(world.fold.licenses().next().unwrap().state, LicenseState::Active, "it stays the owner's");
    world.by_hand(OperationKind::Reinstate, terminal.id, "found");
    let event = terminal.resumption(&world);
    assert!(matches!(world.tell(event), Outcome::Resumed(grant) if grant.license.is_some()));
}

#[test]
fn notify_tells_people_and_is_done() {
    let mut world = World::new();
    let id = Terminal::burned(&mut world, 1).id;
    assert_eq!(world.by_hand(OperationKind::Notify, id, "look"), Outcome::Ordered { directive: None });
    let notified = Effect::Notice(Notice::Notified { device: id, ordered: world.applied() });
    assert!(world.effects.contains(&notified));
    assert!(world.fold.counts().unsettled.is_empty());
}

#[test]
fn a_copy_of_a_restricted_terminal_stays_restricted() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.by_hand(OperationKind::Restrict, terminal.id, "stolen");
    let mut copy = Terminal { source: source("garage-9"), entropy: 70_000, ..terminal.clone() };
    assert!(copy.resume(&mut world));
    assert_eq!(copy.beat(&mut world), COMMITTED);
    assert!(terminal.resume(&mut world));
    world.wait(2 * DAY);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Restricted);
}
