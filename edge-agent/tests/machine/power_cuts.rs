//! The power may fail between any two steps: each write to flash and each message is one.

use crate::support::sim::{Manners, Sim};
use crate::support::terminal::Cut;
use proptest::prelude::*;

/// Activates, beats three times, reboots and beats three times more; the power fails where `cuts` say, each counted
/// from the one before. True if all of them happened.
fn live_through(seed: u64, cuts: &[Cut], manners: Manners) -> bool {
    let mut sim = Sim::new(seed);
    sim.manners = manners;
    let terminal = sim.add_terminal();
    sim.terminals[terminal].code = Some(sim.cluster.issue_code());
    let mut cuts = cuts.iter().copied();
    sim.terminals[terminal].cut = cuts.next();
    sim.boot(terminal);
    for goal in [3, 6] {
        loop {
            sim.run_until(3_600_000, |sim| {
                let terminal = &sim.terminals[terminal];
                terminal.acknowledged() >= goal || terminal.cut.is_none()
            });
            if sim.terminals[terminal].acknowledged() >= goal {
                break;
            }
            match cuts.next() {
                Some(cut) => {
                    sim.terminals[terminal].steps = 0;
                    sim.terminals[terminal].cut = Some(cut);
                }
                // No cut is left: from here on nothing may keep it from its goal.
                None => {
                    sim.run_until(3_600_000, |sim| sim.terminals[terminal].acknowledged() >= goal);
                    break;
                }
            }
        }
        if goal == 3 {
            sim.power_cycle(terminal);
        }
    }
    let device = sim.cluster.device(sim.terminals[terminal].device);
    assert!(!device.cloned, "an honest terminal was convicted");
    assert!(device.fork.is_none(), "an honest terminal looked like a fork");
    assert!(sim.checker.heartbeats >= 6);
    sim.terminals[terminal].cut.is_none() && cuts.next().is_none()
}

#[test]
fn after_a_power_cut_at_any_step_a_terminal_comes_back_into_a_proven_session_and_reuses_no_nonce() {
    let calm = Manners { delay_millis_max: 20, ..Manners::default() };
    let mut reached = 0;
    for step in 0.. {
        let before = live_through(11, &[Cut::Before(step)], calm);
        let after = live_through(11, &[Cut::After(step)], calm);
        if !before && !after {
            break;
        }
        reached = step;
    }
    assert!(reached >= 12, "only {reached} steps were cut: the story is too short to mean anything");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn many_power_cuts_on_a_bad_network_leave_no_honest_terminal_behind(
        seed: u64,
        cuts in prop::collection::vec((0_u64..14, any::<bool>()), 1..6),
        lost in 0_u64..30, duplicated in 0_u64..30, garbled in 0_u64..10, delay_millis_max in 1_u64..2_500,
    ) {
        let cuts: Vec<Cut> =
            cuts.into_iter().map(|(step, after)| if after { Cut::After(step) } else { Cut::Before(step) }).collect();
        live_through(seed, &cuts, Manners { lost, duplicated, garbled, delay_millis_max });
    }
}
