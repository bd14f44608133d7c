//! Heartbeats of an outage: kept within bounds, brought along afterwards, counted once whatever happens on the way.

use crate::support::rng::SeededRng;
use crate::support::sim::{Fate, Manners, Sim};
use crate::support::terminal::Cut;
use edge_agent::machine::{AgentEvent, StateSummary, TransmitKind};
use events::envelope::heartbeat::HEARTBEAT_BYTES;
use events::vocabulary::heartbeat::{SpooledBody, condition};
use std::collections::BTreeSet;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn on_flash(sim: &Sim) -> usize {
    StateSummary::parse(sim.terminals[0].flash.as_ref().unwrap()).unwrap().spooled
}

fn is_drained(sim: &Sim) -> bool {
    sim.terminals[0].machine.spooled() == 0 && on_flash(sim) == 0
}

fn assert_honest(sim: &Sim) {
    let device = sim.cluster.device(sim.terminals[0].device);
    assert!(device.fork.is_none() && !device.cloned, "{:?}", device.fork);
    assert_eq!(device.numbers_twice, 0, "a number was given to two bodies");
}

/// Boot and number of what came from the spool, each once.
fn brought(sim: &Sim) -> BTreeSet<(u32, u32)> {
    let device = sim.cluster.device(sim.terminals[0].device);
    device.spooled.iter().map(|body| (body.boot_count, body.number)).collect()
}

fn outage_of(sim: &mut Sim, millis: u64) {
    sim.outage = true;
    sim.run_for(millis);
    sim.outage = false;
}

#[test]
fn an_outage_of_a_day_leaves_the_newest_heartbeats_few_writes_and_no_burst() {
    let mut sim = Sim::new(1);
    sim.add_beating_terminal();
    let writes_before = sim.terminals[0].history.len();
    outage_of(&mut sim, DAY);
    let writes = sim.terminals[0].history.len() - writes_before;
    assert!((20..=26).contains(&writes), "{writes} writes in a day");
    assert!(sim.terminals[0].saw(|event| matches!(event, AgentEvent::SpoolFull { bodies: 256 })));
    sim.captured.clear();

    sim.run_until(HOUR, is_drained);
    let came = brought(&sim);
    assert_eq!(came.len(), 256);
    let newest = came.last().unwrap().1;
    assert!(came.iter().all(|(_, number)| newest - number < 256), "they follow each other: {came:?}");
    let left: Vec<u64> = sim.captured_of(TransmitKind::Heartbeat).map(|captured| captured.at).collect();
    let delays = sim.manners.delay_millis_max;
    assert!(
        left.windows(2).all(|two| two[1] - two[0] + delays >= sim.cluster.interval_millis.into()),
        "{left:?}"
    );
    assert!(left.len() <= 10, "{} heartbeats brought 256", left.len());

    // That some were dropped is told, and told no more once it was heard.
    let bodies = |sim: &Sim| sim.cluster.device(sim.terminals[0].device).bodies.clone();
    let tells =
        |body: &events::vocabulary::heartbeat::HeartbeatBody| body.condition & condition::SPOOL_DROPPED != 0;
    assert!(bodies(&sim).iter().any(tells));
    sim.run_for(MINUTE);
    assert!(!tells(bodies(&sim).last().unwrap()));
    assert_honest(&sim);
}

#[test]
fn the_newest_come_first_and_behind_how_the_terminal_is_now() {
    let mut sim = Sim::new(2);
    sim.add_beating_terminal();
    outage_of(&mut sim, 3 * HOUR);
    sim.run_until(HOUR, is_drained);
    let device = sim.cluster.device(sim.terminals[0].device);
    let numbers: Vec<u32> = device.spooled.iter().map(|body| body.number).collect();
    assert!(numbers.windows(2).all(|two| two[0] > two[1]), "{numbers:?}");
    let first_live = device.bodies.iter().find(|body| body.number > numbers[0]).unwrap();
    assert_eq!(first_live.number, numbers[0] + 1);
    let made: Vec<_> = device.spooled.iter().map(|body| body.made).collect();
    assert!(made.windows(2).all(|two| two[0] > two[1]));
}

#[test]
fn an_outage_of_a_year_ends_as_one_of_a_day_does() {
    let mut sim = Sim::new(3);
    (sim.settings.backoff_max, sim.settings.spool_interval_min) = (300_000, 10 * MINUTE);
    sim.add_beating_terminal();
    let writes_before = sim.terminals[0].history.len();
    outage_of(&mut sim, 365 * DAY);
    let writes = sim.terminals[0].history.len() - writes_before;
    assert!(writes <= 366 * 24, "{writes} writes in a year");
    sim.run_until(HOUR, is_drained);
    assert_eq!(brought(&sim).len(), 256);
    assert_honest(&sim);
}

#[test]
fn three_offline_boots_with_a_full_spool_come_back_honest_and_each_body_counts_once() {
    let mut sim = Sim::new(4);
    sim.add_beating_terminal();
    sim.outage = true;
    for _ in 0..3 {
        sim.power_cycle(0);
        sim.run_for(2 * HOUR);
    }
    sim.power_cycle(0);
    sim.run_for(MINUTE);
    sim.outage = false;
    let kept = on_flash(&sim);
    assert!(kept >= 3 * 59, "{kept} on flash: a power cut costs an hour at most");
    sim.run_until(HOUR, is_drained);
    let boots: BTreeSet<u32> = brought(&sim).into_iter().map(|(boot, _)| boot).collect();
    assert_eq!(boots, BTreeSet::from([2, 3, 4, 5]), "and of the fifth what it made before it was granted");
    assert!(brought(&sim).len() >= kept);
    assert_honest(&sim);
}

#[test]
fn the_first_evidence_of_a_boot_outlives_a_power_cut_within_the_hour_and_wears_the_flash_once() {
    let mut sim = Sim::new(11);
    sim.add_beating_terminal();
    outage_of(&mut sim, 5 * MINUTE);
    sim.run_until(HOUR, is_drained);
    sim.outage = true;
    sim.run_for(2 * MINUTE);
    sim.clocks_behind = HOUR;
    let writes = sim.terminals[0].history.len();
    for _ in 0..5 {
        sim.run_for(3 * MINUTE);
        sim.clocks_behind = HOUR - sim.clocks_behind;
    }
    assert_eq!(sim.terminals[0].history.len() - writes, 1, "a clock that is turned without end is told once");
    sim.clocks_behind = 0;
    sim.power_cycle(0);
    sim.outage = false;
    sim.run_until(HOUR, is_drained);
    let told = |body: &SpooledBody| body.condition & condition::CLOCK_ROLLBACK != 0;
    assert!(sim.cluster.device(sim.terminals[0].device).spooled.iter().any(told));
    assert_honest(&sim);
}

#[test]
fn what_is_brought_again_because_its_answer_was_lost_counts_once() {
    let mut sim = Sim::new(5);
    sim.add_beating_terminal();
    outage_of(&mut sim, HOUR);
    let mut answers_lost = 0;
    sim.censor = Some(Box::new(move |kind| {
        if kind == TransmitKind::Heartbeat && answers_lost < 12 {
            answers_lost += 1;
            return Fate::LoseAnswer;
        }
        Fate::Pass
    }));
    sim.run_until(HOUR, is_drained);
    let device = sim.cluster.device(sim.terminals[0].device);
    assert!(device.counted_before > 0, "the cluster had them, and the terminal could not know");
    assert_honest(&sim);
}

#[test]
fn a_cluster_that_fails_over_while_a_terminal_drains_gets_the_rest_afterwards() {
    let mut sim = Sim::new(6);
    sim.add_beating_terminal();
    outage_of(&mut sim, 4 * HOUR);
    sim.run_until(HOUR, |sim| {
        sim.terminals[0].saw(|event| matches!(event, AgentEvent::SpoolAcknowledged { .. }))
    });
    assert!(!is_drained(&sim));
    outage_of(&mut sim, 10 * MINUTE);
    sim.run_until(HOUR, is_drained);
    assert!(brought(&sim).len() >= 4 * 60 - 5);
    assert_honest(&sim);
}

#[test]
fn a_node_that_does_not_know_spools_or_wants_no_more_of_them_does_not_silence_a_terminal() {
    let mut sim = Sim::new(7);
    sim.add_beating_terminal();
    outage_of(&mut sim, HOUR);
    sim.cluster.knows_spools = false;
    let acknowledged = sim.terminals[0].acknowledged();
    sim.run_until(10 * MINUTE, |sim| sim.terminals[0].acknowledged() > acknowledged + 3);
    assert_eq!(brought(&sim).len(), 0);
    sim.cluster.knows_spools = true;
    sim.run_until(HOUR, is_drained);
    assert!(brought(&sim).len() >= 55);
    assert_honest(&sim);
}

#[test]
fn a_bad_network_loses_and_repeats_and_every_body_counts_once() {
    for seed in 0..8 {
        let mut sim = Sim::new(100 + seed);
        sim.add_beating_terminal();
        outage_of(&mut sim, 2 * HOUR);
        sim.manners = Manners { lost: 25, duplicated: 25, garbled: 5, delay_millis_max: 3_000 };
        let mut power = SeededRng::new(seed);
        for _ in 0..3 {
            sim.run_for(power.below(2 * MINUTE));
            sim.power_cycle(0);
        }
        sim.run_until(DAY, is_drained);
        assert_honest(&sim);
    }
}

#[test]
fn a_power_cut_between_any_two_writes_loses_nothing_that_was_on_flash() {
    let mut cuts = 0;
    for after in [false, true] {
        for step in 0..200 {
            let mut sim = Sim::new(8);
            (sim.settings.spool_write_interval, sim.settings.backoff_max) = (5 * MINUTE, 60_000);
            sim.add_beating_terminal();
            outage_of(&mut sim, 30 * MINUTE);
            let at = sim.terminals[0].steps + step;
            sim.terminals[0].cut = Some(if after { Cut::After(at) } else { Cut::Before(at) });
            let kept = on_flash(&sim);
            sim.outage = true;
            sim.run_for(6 * MINUTE);
            sim.outage = false;
            sim.run_until(HOUR, is_drained);
            assert_honest(&sim);
            assert!(brought(&sim).len() >= kept, "{} of {kept} came", brought(&sim).len());
            if sim.terminals[0].cut.is_some() {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 20, "only {cuts} places to cut");
}

#[test]
fn a_terminal_without_a_spool_says_body_1_only() {
    let mut sim = Sim::new(9);
    sim.settings.spool_bodies = 0;
    sim.add_beating_terminal();
    outage_of(&mut sim, 2 * HOUR);
    let acknowledged = sim.terminals[0].acknowledged();
    sim.run_until(HOUR, |sim| sim.terminals[0].acknowledged() > acknowledged + 5);
    assert!(sim.captured_of(TransmitKind::Heartbeat).all(|captured| captured.bytes.len() == HEARTBEAT_BYTES));
    assert_honest(&sim);
}

#[test]
fn an_orderly_stop_keeps_what_has_no_verdict_yet() {
    let mut sim = Sim::new(10);
    sim.add_beating_terminal();
    sim.run_until(MINUTE, |sim| !sim.terminals[0].machine.heartbeat_under_way());
    sim.outage = true;
    sim.run_until(MINUTE, |sim| sim.terminals[0].machine.heartbeat_under_way());
    sim.stop(0);
    assert_eq!(on_flash(&sim), 1);
    sim.outage = false;
    sim.boot(0);
    sim.run_until(HOUR, is_drained);
    assert_eq!(brought(&sim).len(), 1);
    assert_honest(&sim);
}
