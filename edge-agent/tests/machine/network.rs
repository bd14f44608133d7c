//! A network that loses, repeats, reorders and garbles; strangers that say anything.

use crate::support::sim::{Captured, Fate, Manners, Sim};
use edge_agent::machine::{AgentEvent, TransmitKind};
use events::envelope::{Header, MessageKind, Refusal};
use events::vocabulary::rejection::RejectionReason;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn lost_repeated_and_overtaking_messages_cost_time_and_nothing_else(
        seed: u64, lost in 0_u64..50, duplicated in 0_u64..50, delay_millis_max in 1_u64..3_000,
    ) {
        let mut sim = Sim::new(seed);
        sim.manners = Manners { lost, duplicated, garbled: 0, delay_millis_max };
        let terminal = sim.add_terminal();
        sim.terminals[terminal].code = Some(sim.cluster.issue_code());
        sim.boot(terminal);
        sim.run_until(3_600_000, |sim| sim.terminals[terminal].acknowledged() >= 10);
        let device = sim.cluster.device(sim.terminals[terminal].device);
        prop_assert!(!device.cloned && device.fork.is_none());
    }

    #[test]
    fn garbage_answers_change_nothing(seed: u64, answers in prop::collection::vec(any::<Vec<u8>>(), 1..40)) {
        let mut sim = Sim::new(seed);
        let terminal = sim.add_beating_terminal();
        let flash = sim.terminals[terminal].flash.clone();
        let due = sim.terminals[terminal].machine.poll_timeout();
        for (request, answer) in answers.iter().enumerate() {
            sim.reply(terminal, request as u64, answer);
        }
        prop_assert_eq!(sim.terminals[terminal].machine.phase_name(), "beating");
        prop_assert_eq!(&sim.terminals[terminal].flash, &flash);
        prop_assert_eq!(sim.terminals[terminal].machine.poll_timeout(), due);
    }
}

#[test]
fn every_message_of_the_cluster_with_any_byte_changed_is_no_answer() {
    let mut sim = Sim::new(21);
    sim.manners = Manners { garbled: 100, delay_millis_max: 5, ..Manners::default() };
    let terminal = sim.add_terminal();
    let code = sim.cluster.issue_code();
    sim.boot(terminal);
    sim.activate(terminal, code.clone());
    sim.run_for(600_000);
    assert_eq!(sim.terminals[terminal].acknowledged(), 0);
    let granted = |event: &AgentEvent| matches!(event, AgentEvent::Granted { .. });
    assert!(!sim.terminals[terminal].saw(granted));
    sim.manners.garbled = 0;
    sim.run_until(600_000, |sim| sim.terminals[terminal].acknowledged() > 0);
}

#[test]
fn rule_2_a_retry_sends_the_very_same_bytes_until_a_verdict_verifies() {
    let mut sim = Sim::new(22);
    let terminal = sim.add_beating_terminal();
    sim.captured.clear();
    let before = sim.terminals[terminal].acknowledged();
    let device = sim.terminals[terminal].device;
    sim.censor = Some(Box::new(|_| Fate::LoseAnswer));
    sim.run_until(120_000, |sim| beats(sim).len() >= 4);
    let beats = beats(&sim);
    assert!(beats.iter().all(|beat| beat == &beats[0]), "a retry differed");
    assert_eq!(sim.terminals[terminal].acknowledged(), before);
    assert!(!sim.cluster.device(device).cloned);
}

fn beats(sim: &Sim) -> Vec<Vec<u8>> {
    sim.captured_of(TransmitKind::Heartbeat).map(|captured| captured.bytes.clone()).collect()
}

#[test]
fn rule_2_the_header_says_what_was_seen_and_acknowledged() {
    let mut sim = Sim::new(23);
    let terminal = sim.add_beating_terminal();
    sim.run_until(120_000, |sim| sim.terminals[terminal].acknowledged() >= 4);
    let headers: Vec<Header> =
        beats(&sim).iter().map(|beat| Header::parse(beat, MessageKind::Heartbeat).unwrap()).collect();
    let indices: Vec<u64> = sim.terminals[terminal]
        .events
        .iter()
        .filter_map(|event| match event {
            AgentEvent::Acknowledged { index, .. } => Some(*index),
            _ => None,
        })
        .collect();
    for pair in 1..4 {
        assert_eq!(headers[pair].sequence, headers[pair - 1].sequence + 1);
        assert_eq!(headers[pair].acked, headers[pair].sequence - 1);
        assert_eq!(headers[pair].seen, indices[pair - 1]);
    }
}

#[test]
fn rule_9_unsealed_refusals_never_change_what_is_on_flash() {
    let mut sim = Sim::new(24);
    let terminal = sim.add_beating_terminal();
    let flash = sim.terminals[terminal].flash.clone();
    sim.outage = true;
    for &reason in RejectionReason::ALL {
        let refusal = Refusal { reason, retry_after_millis: u32::MAX }.encode();
        for request in 0..200 {
            sim.reply(terminal, request, &refusal);
        }
        sim.run_for(30_000);
    }
    assert_eq!(sim.terminals[terminal].flash, flash);
    // And a lie about `retry after` delays for minutes, not for weeks.
    sim.outage = false;
    let before = sim.terminals[terminal].acknowledged();
    sim.run_until(1_200_000, |sim| sim.terminals[terminal].acknowledged() > before);
}

#[test]
fn a_region_that_comes_back_does_not_come_back_at_one_instant() {
    let mut sim = Sim::new(25);
    for _ in 0..20 {
        sim.add_beating_terminal();
    }
    sim.outage = true;
    sim.run_for(600_000);
    sim.outage = false;
    sim.captured.clear();
    let before: Vec<usize> = sim.terminals.iter().map(|terminal| terminal.acknowledged()).collect();
    let start = sim.millis;
    sim.run_until(300_000, |sim| {
        sim.terminals.iter().zip(&before).all(|(terminal, before)| terminal.acknowledged() > *before)
    });
    assert!(sim.millis - start > 2_000, "twenty terminals came back within {} ms", sim.millis - start);
    let resumes = sim.captured_of(TransmitKind::Resume).count();
    assert!(resumes <= 60, "{resumes} resumes for 20 terminals");
}

#[test]
fn a_whole_lot_that_boots_at_one_instant_sends_its_first_heartbeats_spread_over_the_interval() {
    let mut sim = Sim::new(26);
    let lot: Vec<usize> = (0..20).map(|_| sim.add_beating_terminal()).collect();
    sim.captured.clear();
    for terminal in lot {
        sim.boot(terminal);
    }
    sim.run_for(15_000);
    let first =
        |captured: &&Captured| Header::parse(&captured.bytes, MessageKind::Heartbeat).unwrap().sequence == 1;
    let times: Vec<u64> =
        sim.captured_of(TransmitKind::Heartbeat).filter(first).map(|beat| beat.at).collect();
    assert_eq!(times.len(), 20);
    let spread = times.iter().max().unwrap() - times.iter().min().unwrap();
    assert!(spread > 5_000, "twenty first heartbeats within {spread} ms at an interval of 10 s");
}

#[test]
fn rule_1_a_ticket_that_grew_old_on_the_way_is_renewed_and_not_tried() {
    let mut sim = Sim::new(27);
    sim.settings.attempts_before_hello = 1_000;
    let terminal = sim.add_beating_terminal();
    sim.censor = Some(Box::new(|kind| match kind {
        TransmitKind::Resume => Fate::LoseAnswer,
        _ => Fate::Pass,
    }));
    sim.power_cycle(terminal);
    sim.run_for(300_000);
    let refused = |event: &AgentEvent| {
        matches!(event, AgentEvent::Hinted { reason: RejectionReason::TicketRefused, .. })
    };
    assert!(!sim.terminals[terminal].saw(refused));
    let hellos = sim.captured_of(TransmitKind::Hello).count();
    assert!(hellos >= 4, "{hellos} hellos in five minutes without an answer to a resume");
}

#[test]
fn a_liar_who_refuses_ticket_after_ticket_makes_a_terminal_resume_more_and_more_seldom() {
    let mut sim = Sim::new(28);
    sim.settings.backoff_max = 300_000;
    let terminal = sim.add_beating_terminal();
    sim.censor = Some(Box::new(|kind| match kind {
        TransmitKind::Resume => Fate::LieInstead(RejectionReason::TicketRefused),
        _ => Fate::Pass,
    }));
    sim.captured.clear();
    sim.power_cycle(terminal);
    sim.run_for(3_600_000);
    let resumes = sim.captured_of(TransmitKind::Resume).count();
    assert!((8..60).contains(&resumes), "{resumes} resumes in an hour");
    // What was granted ends it: the next refusal is the first one again.
    sim.censor = None;
    let before = sim.terminals[terminal].acknowledged();
    sim.run_until(900_000, |sim| sim.terminals[terminal].acknowledged() > before);
    let mut lies = 2;
    sim.censor = Some(Box::new(move |kind| match kind {
        TransmitKind::Resume if lies > 0 => {
            lies -= 1;
            Fate::Lie(RejectionReason::TicketRefused)
        }
        _ => Fate::Pass,
    }));
    let before = sim.terminals[terminal].acknowledged();
    sim.power_cycle(terminal);
    sim.run_until(30_000, |sim| sim.terminals[terminal].acknowledged() > before);
}

#[test]
fn a_liar_who_refuses_the_tickets_of_an_activation_does_not_make_it_a_flood() {
    let mut sim = Sim::new(29);
    sim.settings.backoff_max = 300_000;
    let terminal = sim.add_terminal();
    sim.terminals[terminal].code = Some(sim.cluster.issue_code());
    sim.censor = Some(Box::new(|kind| match kind {
        TransmitKind::Activation => Fate::LieInstead(RejectionReason::TicketRefused),
        _ => Fate::Pass,
    }));
    sim.boot(terminal);
    sim.run_for(3_600_000);
    let activations = sim.captured_of(TransmitKind::Activation).count();
    assert!((8..60).contains(&activations), "{activations} activations in an hour");
    sim.censor = None;
    sim.run_until(900_000, |sim| sim.terminals[terminal].acknowledged() > 0);
}
