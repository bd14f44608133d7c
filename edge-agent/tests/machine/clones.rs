//! A full copy of a terminal: OTP, hardware and state. Two holders of one secret cannot both follow the ratchet.

use crate::support::sim::Sim;
use events::envelope::Refusal;
use events::vocabulary::rejection::RejectionReason;

/// A beating terminal and its copy, which boots `after` milliseconds later.
fn with_copy(seed: u64, after: u64) -> (Sim, usize, usize) {
    let mut sim = Sim::new(seed);
    let honest = sim.add_beating_terminal();
    let copy = sim.terminals[honest].copy();
    let copy = sim.add(copy);
    sim.run_for(after);
    sim.boot(copy);
    (sim, honest, copy)
}

#[test]
fn two_terminals_from_one_state_diverge_and_are_found_out() {
    for seed in 41..47 {
        let (mut sim, honest, _copy) = with_copy(seed, 1_000 * (seed - 40));
        let device = sim.terminals[honest].device;
        sim.run_until(1_800_000, |sim| sim.cluster.device(device).cloned);
    }
}

#[test]
fn two_terminals_from_one_state_that_boot_at_one_instant_are_found_out() {
    for seed in 51..57 {
        let mut sim = Sim::new(seed);
        let honest = sim.add_beating_terminal();
        let copy = sim.terminals[honest].copy();
        let copy = sim.add(copy);
        sim.boot(honest);
        sim.boot(copy);
        let device = sim.terminals[honest].device;
        sim.run_until(7_200_000, |sim| sim.cluster.device(device).cloned);
    }
}

#[test]
fn two_holders_of_one_secret_do_not_supersede_each_other_at_full_speed() {
    let mut sim = Sim::new(60);
    sim.settings.backoff_max = 300_000;
    sim.cluster.interval_millis = 1_000;
    let honest = sim.add_beating_terminal();
    let copy = sim.terminals[honest].copy();
    let copy = sim.add(copy);
    sim.boot(copy);
    sim.run_for(3_600_000);
    let device = sim.cluster.device(sim.terminals[honest].device);
    assert!(device.cloned);
    let epochs = device.sessions.len();
    assert!((4..150).contains(&epochs), "{epochs} epochs in an hour");
}

#[test]
fn a_copy_that_never_runs_harms_nobody() {
    let mut sim = Sim::new(58);
    let honest = sim.add_beating_terminal();
    let _on_a_shelf = sim.terminals[honest].copy();
    sim.power_cycle(honest);
    sim.run_for(3_600_000);
    let device = sim.cluster.device(sim.terminals[honest].device);
    assert!(!device.cloned && device.fork.is_none());
}

#[test]
fn hints_of_a_liar_on_the_wire_make_no_fork_of_an_honest_terminal() {
    let mut sim = Sim::new(59);
    let honest = sim.add_beating_terminal();
    let device = sim.terminals[honest].device;
    let lie = Refusal { reason: RejectionReason::EpochStale, retry_after_millis: 0 }.encode();
    for round in 0..200 {
        for request in 0..(40 + round) {
            sim.reply(honest, request, &lie);
        }
        sim.run_for(1_000);
    }
    let before = sim.terminals[honest].acknowledged();
    sim.run_until(1_200_000, |sim| sim.terminals[honest].acknowledged() > before);
    assert!(sim.cluster.device(device).fork.is_none(), "the liar made a fork");
    assert!(!sim.cluster.device(device).cloned);
    assert!(sim.cluster.device(device).rekeys_seen <= 1);
}
