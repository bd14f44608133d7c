//! Directives: obeyed once, in order, and never again (protocol.md rule 12).

use crate::support::sim::Sim;
use edge_agent::machine::{AgentEvent, Command, Now, SessionOrigin, Standing};
use events::envelope::Directive;
use events::time::Timestamp;
use events::vocabulary::shared::{DirectiveId, Legitimacy, OperationKind};

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
