//! Directives: obeyed once, in order, and never again (protocol.md rule 12).

use crate::support::cluster::Life;
use crate::support::sim::{Captured, Fate, Sim};
use edge_agent::machine::{AgentEvent, Command, Now, SessionOrigin, Standing, StateSummary, TransmitKind};
use events::envelope::Directive;
use events::time::Timestamp;
use events::update::{UpdateFailure, with_failure};
use events::vocabulary::shared::{DirectiveId, Legitimacy, OperationKind};
use std::collections::BTreeSet;

fn directive(index: u64, kind: OperationKind) -> Directive {
    Directive { id: DirectiveId { generation: 1, index, ordinal: 0 }, kind, expires: Timestamp::ZERO }
}

/// Names `directive` in every verdict until a heartbeat reported it obeyed. As in a real cluster, the operation moves
/// the device's legitimacy too.
fn order(sim: &mut Sim, terminal: usize, directive: Directive) {
    let device = sim.terminals[terminal].device;
    let ordered = sim.cluster.device_mut(device);
    ordered.directive = Some(directive);
    ordered.legitimacy = match directive.kind {
        OperationKind::Restrict => Legitimacy::Restricted,
        OperationKind::Reinstate => Legitimacy::Legitimate,
        _ => ordered.legitimacy,
    };
    sim.run_until(120_000, |sim| {
        sim.cluster.device(device).bodies.last().is_some_and(|body| body.obeyed >= directive.id)
    });
}

#[test]
fn a_restricted_terminal_serves_nothing_beats_on_and_reports_obedience_over_reboots() {
    let mut sim = Sim::new(61);
    let terminal = sim.add_beating_terminal();
    order(&mut sim, terminal, directive(100, OperationKind::Restrict));
    assert_eq!(sim.terminals[terminal].machine.standing(), Standing::Restricted);
    let before = sim.terminals[terminal].acknowledged();
    sim.power_cycle(terminal);
    sim.run_until(120_000, |sim| sim.terminals[terminal].acknowledged() > before);
    assert_eq!(sim.terminals[terminal].machine.standing(), Standing::Restricted);

    let code = sim.cluster.issue_code();
    sim.activate(terminal, code);
    assert!(sim.terminals[terminal].saw(|event| matches!(event, AgentEvent::CommandRefused { .. })));

    order(&mut sim, terminal, directive(101, OperationKind::Reinstate));
    assert_eq!(sim.terminals[terminal].machine.standing(), Standing::Full);
}

#[test]
fn an_offered_update_is_told_with_every_verdict_is_obeyed_by_nobody_and_hidden_by_no_other_directive() {
    let mut sim = Sim::new(62);
    let terminal = sim.add_beating_terminal();
    // A higher name was obeyed before: rule 12 would hide the offer.
    order(&mut sim, terminal, directive(200, OperationKind::Rekey));
    let device = sim.terminals[terminal].device;
    let offer = directive(100, OperationKind::OfferUpdate);
    sim.cluster.device_mut(device).directive = Some(offer);
    let told = |sim: &Sim| {
        let offered = |event: &&AgentEvent| **event == AgentEvent::UpdateOffered { id: offer.id };
        sim.terminals[terminal].events.iter().filter(offered).count()
    };
    sim.run_until(240_000, |sim| told(sim) >= 3);
    let obeyed = sim.cluster.device(device).bodies.last().unwrap().obeyed;
    assert_eq!(obeyed.index, 200, "it is not reported as obeyed");
}

#[test]
fn a_failed_update_is_told_in_the_condition_and_leaves_its_flags_alone() {
    let mut sim = Sim::new(63);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    let last = |sim: &Sim| sim.cluster.device(device).bodies.last().unwrap().condition;
    let before = last(&sim);
    sim.terminals[terminal].machine.tell_update_failure(Some(UpdateFailure::Digest));
    sim.run_until(120_000, |sim| last(sim) != before);
    assert_eq!(last(&sim), with_failure(before, Some(UpdateFailure::Digest)));
    sim.terminals[terminal].machine.tell_update_failure(None);
    sim.run_until(120_000, |sim| last(sim) == before);
}

#[test]
fn a_restriction_ends_with_the_sealed_answer_that_says_so_even_if_no_directive_does() {
    let mut sim = Sim::new(67);
    let terminal = sim.add_beating_terminal();
    order(&mut sim, terminal, directive(100, OperationKind::Restrict));
    assert_eq!(sim.terminals[terminal].machine.standing(), Standing::Restricted);
    // The operation expired, or a restored cluster forgot it.
    let device = sim.terminals[terminal].device;
    sim.cluster.device_mut(device).directive = None;
    sim.cluster.device_mut(device).legitimacy = Legitimacy::Legitimate;
    let before = sim.terminals[terminal].acknowledged();
    sim.run_until(120_000, |sim| sim.terminals[terminal].acknowledged() > before + 1);
    assert_eq!(sim.terminals[terminal].machine.standing(), Standing::Full);
}

#[test]
fn rule_12_a_directive_that_is_not_higher_than_the_highest_obeyed_is_void() {
    let mut sim = Sim::new(62);
    let terminal = sim.add_beating_terminal();
    order(&mut sim, terminal, directive(100, OperationKind::Restrict));
    order(&mut sim, terminal, directive(200, OperationKind::Reinstate));
    let device = sim.terminals[terminal].device;
    for old in [100, 150, 200] {
        sim.cluster.device_mut(device).directive = Some(directive(old, OperationKind::Restrict));
        sim.power_cycle(terminal);
        let before = sim.terminals[terminal].acknowledged();
        sim.run_until(120_000, |sim| sim.terminals[terminal].acknowledged() > before + 1);
        assert_eq!(sim.terminals[terminal].machine.standing(), Standing::Full, "directive {old} was obeyed");
    }
}

#[test]
fn an_expired_directive_is_ignored_by_the_sealed_clock_and_not_by_the_terminals_own() {
    let mut sim = Sim::new(63);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    let expires = Timestamp::from_millis(sim.cluster.stamp.as_millis() - 1);
    let expired = Directive { expires, ..directive(100, OperationKind::Restrict) };
    sim.cluster.device_mut(device).directive = Some(expired);
    let ignored = |event: &AgentEvent| matches!(event, AgentEvent::DirectiveIgnored { why: "expired", .. });
    sim.run_until(120_000, |sim| sim.terminals[terminal].saw(ignored));
    assert_eq!(sim.terminals[terminal].machine.standing(), Standing::Full);
}

#[test]
fn a_challenge_that_this_version_cannot_answer_is_not_reported_as_obeyed() {
    let mut sim = Sim::new(64);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    sim.cluster.device_mut(device).directive = Some(directive(100, OperationKind::Challenge));
    let before = sim.cluster.device(device).bodies.len();
    sim.run_until(120_000, |sim| sim.cluster.device(device).bodies.len() > before + 2);
    assert!(sim.cluster.device(device).bodies.iter().all(|body| body.obeyed == DirectiveId::default()));
}

#[test]
fn a_directive_to_re_key_leads_to_a_fresh_root_once() {
    let mut sim = Sim::new(65);
    let terminal = sim.add_beating_terminal();
    order(&mut sim, terminal, directive(100, OperationKind::Rekey));
    sim.run_for(300_000);
    let rekeyed =
        |event: &&AgentEvent| matches!(event, AgentEvent::Granted { origin: SessionOrigin::Rekey, .. });
    assert_eq!(sim.terminals[terminal].events.iter().filter(rekeyed).count(), 1);
}

fn saved_obeyed(sim: &Sim, terminal: usize) -> DirectiveId {
    StateSummary::parse(sim.terminals[terminal].flash.as_ref().unwrap()).unwrap().obeyed
}

fn rekeys(sim: &Sim, terminal: usize) -> usize {
    let granted =
        |event: &&AgentEvent| matches!(event, AgentEvent::Granted { origin: SessionOrigin::Rekey, .. });
    sim.terminals[terminal].events.iter().filter(granted).count()
}

#[test]
fn a_directive_to_re_key_counts_as_obeyed_when_the_new_root_is_granted_and_not_before() {
    let mut sim = Sim::new(161);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    sim.cluster.device_mut(device).directive = Some(directive(100, OperationKind::Rekey));
    sim.censor = Some(Box::new(|kind| match kind {
        TransmitKind::Activation => Fate::LoseAnswer,
        _ => Fate::Pass,
    }));
    sim.captured.clear();
    sim.run_until(120_000, |sim| sim.captured_of(TransmitKind::Activation).count() > 0);
    assert_eq!(saved_obeyed(&sim, terminal), DirectiveId::default(), "sealed and sent, but not answered");
    sim.power_cycle(terminal);
    sim.run_for(10_000);
    assert_eq!(saved_obeyed(&sim, terminal), DirectiveId::default());
    sim.censor = None;
    sim.run_until(120_000, |sim| rekeys(sim, terminal) == 1);
    assert_eq!(saved_obeyed(&sim, terminal), directive(100, OperationKind::Rekey).id);
}

#[test]
fn a_sealed_refusal_of_a_demanded_re_key_settles_it_too() {
    let mut sim = Sim::new(162);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    sim.cluster.device_mut(device).licensed = false;
    order(&mut sim, terminal, directive(100, OperationKind::Rekey));
    assert_eq!(rekeys(&sim, terminal), 0);
}

#[test]
fn a_re_key_that_the_cluster_cannot_open_gives_way_to_the_session_and_is_tried_again_later() {
    let mut sim = Sim::new(163);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    sim.cluster.opens_activations = false;
    sim.cluster.device_mut(device).directive = Some(directive(100, OperationKind::Rekey));
    sim.captured.clear();
    sim.run_until(120_000, |sim| sim.captured_of(TransmitKind::Activation).count() > 0);
    let (before, sealed) = (sim.terminals[terminal].acknowledged(), sim.millis);
    sim.run_until(600_000, |sim| sim.terminals[terminal].acknowledged() > before + 5);
    let messages: BTreeSet<_> = sim.captured_of(TransmitKind::Activation).map(seal_of).collect();
    assert_eq!(messages.len(), 1, "while it waits it seals no second one");
    assert_eq!(saved_obeyed(&sim, terminal), DirectiveId::default());
    sim.cluster.opens_activations = true;
    sim.run_until(2 * sim.settings.rekey_interval, |sim| rekeys(sim, terminal) == 1);
    assert!(sim.millis - sealed > sim.settings.rekey_interval);
    sim.run_until(120_000, |sim| {
        sim.cluster.device(device).bodies.last().is_some_and(|body| body.obeyed.index == 100)
    });
}

/// The transcript: all but signature, ticket and MAC.
fn seal_of(captured: &Captured) -> Vec<u8> {
    captured.bytes[..captured.bytes.len() - 180].to_vec()
}

#[test]
fn what_is_sealed_in_a_verdict_on_a_dead_epoch_is_learned_all_the_same() {
    let mut sim = Sim::new(164);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    let epoch = sim.cluster.device(device).current().unwrap();
    let confirmed_at = sim.cluster.index;
    let other = sim.cluster.device_mut(device);
    other.sessions.get_mut(&epoch).unwrap().life = Life::Superseded { confirmed_at };
    other.legitimacy = Legitimacy::Restricted;
    other.directive = Some(directive(100, OperationKind::Restrict));
    // Nothing else gets through.
    sim.censor = Some(Box::new(|kind| match kind {
        TransmitKind::Heartbeat => Fate::Pass,
        _ => Fate::LoseAnswer,
    }));
    sim.run_for(30_000);
    assert_eq!(sim.terminals[terminal].machine.standing(), Standing::Restricted);
    assert_eq!(saved_obeyed(&sim, terminal).index, 100);
}

#[test]
fn an_obeyed_directive_is_on_flash_before_anything_tells_of_it() {
    let mut sim = Sim::new(66);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    sim.cluster.device_mut(device).directive = Some(directive(100, OperationKind::Restrict));
    let obeyed = |event: &AgentEvent| matches!(event, AgentEvent::DirectiveObeyed { .. });
    sim.run_until(120_000, |sim| sim.terminals[terminal].saw(obeyed));
    // The machine that boots from flash at this very moment is restricted already.
    let now = Now { monotonic_millis: 0, wall: Timestamp::ZERO };
    let mut copy = sim.terminals[terminal].copy();
    copy.boot(now, &mut sim.rng);
    let code = sim.cluster.issue_code();
    copy.machine.handle_command(Command::Activate(code), now, &mut sim.rng);
    assert_eq!(copy.machine.standing(), Standing::Restricted);
}
