//! The terminal's clock against the floor (protocol.md rule 14).

use crate::support::sim::Sim;
use edge_agent::machine::{AgentEvent, StateSummary};
use events::vocabulary::heartbeat::condition;

const HOUR: u64 = 3_600_000;

fn reports_rollback(sim: &Sim, terminal: usize) -> bool {
    let bodies = &sim.cluster.device(sim.terminals[terminal].device).bodies;
    bodies.last().is_some_and(|body| body.condition & condition::CLOCK_ROLLBACK != 0)
}

#[test]
fn a_clock_that_is_set_back_is_reported_with_each_heartbeat_until_it_is_right_again() {
    let mut sim = Sim::new(41);
    let terminal = sim.add_beating_terminal();
    sim.clocks_behind = HOUR;
    sim.run_until(60_000, |sim| reports_rollback(sim, terminal));
    let told = |event: &&AgentEvent| matches!(event, AgentEvent::ClockBehind { .. });
    sim.run_for(120_000);
    assert!(reports_rollback(&sim, terminal));
    assert_eq!(
        sim.terminals[terminal].events.iter().filter(told).count(),
        1,
        "told once, not with each heartbeat"
    );
    sim.clocks_behind = 0;
    sim.run_until(60_000, |sim| !reports_rollback(sim, terminal));
}

#[test]
fn a_clock_that_was_set_back_while_the_terminal_was_off_is_found_by_the_floor_on_flash() {
    let mut sim = Sim::new(42);
    let terminal = sim.add_beating_terminal();
    sim.clocks_behind = HOUR;
    sim.power_cycle(terminal);
    let before = sim.cluster.device(sim.terminals[terminal].device).bodies.len();
    sim.run_until(120_000, |sim| sim.cluster.device(sim.terminals[terminal].device).bodies.len() > before);
    assert!(reports_rollback(&sim, terminal), "in the first heartbeat already");
}

#[test]
fn the_floor_alone_wears_the_flash_at_most_once_an_hour() {
    let mut sim = Sim::new(43);
    let terminal = sim.add_beating_terminal();
    sim.run_for(60_000);
    let (writes, began) = (sim.terminals[terminal].history.len(), sim.cluster.stamp);
    sim.run_for(10 * HOUR);
    let written = sim.terminals[terminal].history.len() - writes;
    assert!((9..=11).contains(&written), "{written} writes in ten hours of beating");
    let flash = sim.terminals[terminal].flash.as_ref().unwrap();
    let floor = StateSummary::parse(flash).unwrap().time_floor;
    assert!(floor >= began.plus_millis(8 * HOUR) && floor <= sim.cluster.stamp, "floor {floor}");
}
