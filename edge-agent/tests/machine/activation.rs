//! From a code to a session.

use crate::support::sim::Sim;
use edge_agent::machine::{AgentEvent, SessionOrigin, Standing, TransmitKind};
use events::envelope::SuiteSet;
use events::license::ActivationCode;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{Legitimacy, Suite};

#[test]
fn a_burned_terminal_asks_for_a_code_activates_with_it_and_beats() {
    let mut sim = Sim::new(1);
    let terminal = sim.add_terminal();
    sim.boot(terminal);
    sim.run_until(60_000, |sim| sim.terminals[terminal].saw(|event| *event == AgentEvent::CodeNeeded));
    let code = sim.cluster.issue_code();
    sim.activate(terminal, code.clone());
    sim.run_until(60_000, |sim| sim.terminals[terminal].acknowledged() >= 5);
    let device = sim.terminals[terminal].device;
    assert_eq!(sim.cluster.owner_of(&code), Some(device));
    assert_eq!(sim.cluster.device(device).legitimacy, Legitimacy::Legitimate);
    assert_eq!(sim.terminals[terminal].machine.standing(), Standing::Full);
    let numbers: Vec<u32> = sim.cluster.device(device).bodies.iter().map(|body| body.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

#[test]
fn heartbeats_keep_the_granted_interval_and_follow_a_new_one() {
    let mut sim = Sim::new(2);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    let before = sim.cluster.device(device).bodies.len();
    sim.run_for(100_000);
    let slow = sim.cluster.device(device).bodies.len() - before;
    assert!((9..=10).contains(&slow), "{slow} heartbeats in 100 s at one per 10 s");
    sim.cluster.interval_millis = 1_000;
    sim.run_for(20_000);
    let before = sim.cluster.device(device).bodies.len();
    sim.run_for(100_000);
    let quick = sim.cluster.device(device).bodies.len() - before;
    assert!((95..=100).contains(&quick), "{quick} heartbeats in 100 s at one per second");
}

#[test]
fn a_refused_code_is_told_and_the_next_one_may_be_typed() {
    let mut sim = Sim::new(3);
    let terminal = sim.add_terminal();
    sim.boot(terminal);
    let guessed = ActivationCode::generate(&mut sim.rng);
    sim.activate(terminal, guessed);
    let refused = AgentEvent::ActivationRefused { reason: RejectionReason::CodeRefused };
    sim.run_until(60_000, |sim| sim.terminals[terminal].events.contains(&refused));
    let code = sim.cluster.issue_code();
    sim.activate(terminal, code);
    sim.run_until(60_000, |sim| sim.terminals[terminal].acknowledged() > 0);
}

#[test]
fn rule_16_the_owner_of_a_license_may_type_its_code_again() {
    let mut sim = Sim::new(4);
    let terminal = sim.add_terminal();
    sim.boot(terminal);
    let code = sim.cluster.issue_code();
    for times in 1..=2 {
        sim.activate(terminal, code.clone());
        let activations = |sim: &Sim| {
            let granted = |event: &&AgentEvent| {
                matches!(event, AgentEvent::Granted { origin: SessionOrigin::Activation, .. })
            };
            sim.terminals[terminal].events.iter().filter(granted).count()
        };
        sim.run_until(60_000, |sim| activations(sim) == times);
    }
}

#[test]
fn rule_18_the_plain_code_never_reaches_flash_and_the_sealed_activation_does_before_it_is_sent() {
    let mut sim = Sim::new(5);
    let terminal = sim.add_terminal();
    sim.boot(terminal);
    let code = sim.cluster.issue_code();
    sim.activate(terminal, code.clone());
    sim.run_until(60_000, |sim| sim.terminals[terminal].acknowledged() > 0);
    let plain = code.to_bytes();
    let history = &sim.terminals[terminal].history;
    assert!(history.iter().all(|state| !contains(state, &plain[..])));
    let sent = sim.captured_of(TransmitKind::Activation).next().unwrap();
    assert!(history.iter().any(|state| contains(state, &sent.bytes)));
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn rule_18_an_outage_longer_than_a_ticket_costs_no_second_typing_of_the_code() {
    let mut sim = Sim::new(6);
    let terminal = sim.add_terminal();
    sim.boot(terminal);
    sim.run_until(60_000, |sim| sim.terminals[terminal].saw(|event| *event == AgentEvent::CodeNeeded));
    let code = sim.cluster.issue_code();
    sim.activate(terminal, code.clone());
    sim.run_until(60_000, |sim| sim.terminals[terminal].machine.phase_name() == "activating");
    // The cluster goes away before the activation arrives, and with it the power of the terminal, for an hour.
    sim.outage = true;
    sim.run_for(30_000);
    sim.power_cycle(terminal);
    sim.run_for(3_600_000);
    assert_eq!(sim.cluster.owner_of(&code), None);
    sim.outage = false;
    sim.run_until(120_000, |sim| sim.terminals[terminal].acknowledged() > 0);
    assert_eq!(sim.cluster.owner_of(&code), Some(sim.terminals[terminal].device));
    let device = sim.terminals[terminal].device;
    assert_eq!(sim.cluster.device(device).activations_seen, 1);
}

#[test]
fn a_terminal_without_aes_hardware_may_offer_chacha_only() {
    let mut sim = Sim::new(7);
    sim.settings.offered = SuiteSet::of(&[Suite::ChaCha20Poly1305]);
    let terminal = sim.add_beating_terminal();
    let chosen =
        |event: &AgentEvent| matches!(event, AgentEvent::Granted { suite: Suite::ChaCha20Poly1305, .. });
    assert!(sim.terminals[terminal].saw(chosen));
}

#[test]
fn an_offer_of_nothing_but_a_retired_suite_is_refused() {
    let mut sim = Sim::new(8);
    sim.settings.offered = SuiteSet::of(&[Suite::ChaCha20Poly1305]);
    sim.cluster.allowed = vec![Suite::Aes256Gcm];
    let terminal = sim.add_terminal();
    sim.boot(terminal);
    let code = sim.cluster.issue_code();
    sim.activate(terminal, code);
    let refused = AgentEvent::ActivationRefused { reason: RejectionReason::Downgrade };
    sim.run_until(60_000, |sim| sim.terminals[terminal].events.contains(&refused));
}

#[test]
fn rule_17_a_grant_with_a_suite_that_was_never_offered_is_not_taken() {
    let mut sim = Sim::new(9);
    sim.settings.offered = SuiteSet::of(&[Suite::Aes256Gcm]);
    let terminal = sim.add_beating_terminal();
    sim.cluster.imposed = Some(Suite::ChaCha20Poly1305);
    sim.power_cycle(terminal);
    let chacha =
        |event: &AgentEvent| matches!(event, AgentEvent::Granted { suite: Suite::ChaCha20Poly1305, .. });
    sim.run_for(60_000);
    assert!(!sim.terminals[terminal].saw(chacha));

    let other = sim.add_terminal();
    sim.boot(other);
    let code = sim.cluster.issue_code();
    sim.activate(other, code);
    let refused = AgentEvent::ActivationRefused { reason: RejectionReason::Downgrade };
    sim.run_until(60_000, |sim| sim.terminals[other].events.contains(&refused));
    assert!(!sim.terminals[other].saw(chacha));
}
