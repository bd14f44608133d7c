//! Boot checks that end restricted (protocol.md rule 25).

use crate::support::cluster::Life;
use crate::support::factory::component;
use crate::support::sim::{Fate, Sim};
use edge_agent::machine::{AgentEvent, Standing, TransmitKind};
use events::vocabulary::heartbeat::condition;
use events::vocabulary::rejection::{RejectionReason, TamperReason};
use events::vocabulary::shared::ComponentKind;

#[test]
fn rule_25_a_record_on_another_board_has_no_key_and_reports_itself_a_bounded_number_of_times() {
    let mut sim = Sim::new(71);
    let mut unit = sim.factory.burn(1, &mut sim.rng);
    unit.components[0] = component(ComponentKind::SocSerial, "another-board");
    let terminal = sim.add_unit(&unit);
    sim.boot(terminal);
    sim.run_for(3_600_000);
    assert_eq!(sim.terminals[terminal].machine.standing(), Standing::Restricted);
    let reports = &sim.cluster.tamper_reports;
    assert_eq!(reports.len(), sim.settings.tamper_attempts as usize);
    assert!(reports.iter().all(|report| report == &reports[0]), "a retry sends the same bytes");
    assert_eq!(reports[0].reason, TamperReason::RequiredHardware);
    assert_eq!(reports[0].record, sim.factory.check(&unit).record);
    assert!(sim.terminals[terminal].flash.is_none(), "a terminal without identity overwrites no state");
    sim.run_for(sim.settings.tamper_interval);
    assert_eq!(sim.cluster.tamper_reports.len(), 2 * sim.settings.tamper_attempts as usize);
}

#[test]
fn a_missing_record_and_a_forged_one_are_told_apart() {
    let mut sim = Sim::new(72);
    let mut unit = sim.factory.burn(1, &mut sim.rng);
    unit.record[200] ^= 1;
    let forged = sim.factory.check(&unit);
    assert_eq!(forged.reason, Some(TamperReason::RecordInvalid));
    unit.record.fill(0xff);
    assert_eq!(sim.factory.check(&unit).reason, Some(TamperReason::RecordMissing));
}

#[test]
fn one_optional_component_may_change_and_the_terminal_stays_full() {
    let mut sim = Sim::new(73);
    let mut unit = sim.factory.burn(1, &mut sim.rng);
    unit.components[1] = component(ComponentKind::MacAddress, "02:ff:ff:ff:ff:ff");
    let check = sim.factory.check(&unit);
    assert!(check.is_full());
    assert_eq!(check.mismatched, [ComponentKind::MacAddress]);
}

#[test]
fn too_many_changed_components_restrict_a_terminal_that_beats_on_under_its_session() {
    let mut sim = Sim::new(74);
    let mut unit = sim.factory.burn(1, &mut sim.rng);
    sim.cluster.import(&unit.seed);
    let whole = sim.add_unit(&unit);
    sim.terminals[whole].code = Some(sim.cluster.issue_code());
    sim.boot(whole);
    sim.run_until(120_000, |sim| sim.terminals[whole].acknowledged() > 0);

    unit.components.truncate(2);
    let check = sim.factory.check(&unit);
    assert_eq!(check.reason, Some(TamperReason::ComponentMismatch));
    assert_eq!(check.mismatched, [ComponentKind::EmmcCid, ComponentKind::BoardSerial]);
    let changed = sim.add_unit(&unit);
    sim.terminals[changed].flash = sim.terminals[whole].flash.clone();
    sim.terminals.swap(whole, changed);
    sim.boot(whole);
    sim.run_until(120_000, |sim| sim.terminals[whole].acknowledged() > 0);
    let device = sim.terminals[whole].device;
    let last = sim.cluster.device(device).bodies.last().unwrap();
    assert_eq!(last.condition & condition::RESTRICTED, condition::RESTRICTED);
    assert_eq!(sim.terminals[whole].machine.standing(), Standing::Restricted);
}

/// A terminal that was activated and whose boot check fails from here on: it has a session and may not re-key.
fn with_a_failed_check(sim: &mut Sim) -> usize {
    let mut unit = sim.factory.burn(1, &mut sim.rng);
    sim.cluster.import(&unit.seed);
    let whole = sim.add_unit(&unit);
    sim.terminals[whole].code = Some(sim.cluster.issue_code());
    sim.boot(whole);
    sim.run_until(120_000, |sim| sim.terminals[whole].acknowledged() > 0);
    unit.components.truncate(2);
    let changed = sim.add_unit(&unit);
    sim.terminals[changed].flash = sim.terminals[whole].flash.clone();
    sim.terminals.swap(whole, changed);
    // It is the same terminal: what it was does not go on beside it.
    sim.stop(changed);
    whole
}

#[test]
fn a_failed_boot_check_that_forbids_a_re_key_does_not_strand_a_terminal_on_a_dead_epoch() {
    let mut sim = Sim::new(76);
    let terminal = with_a_failed_check(&mut sim);
    // It speaks under its next epoch; nobody hears it, and the epoch dies.
    sim.censor = Some(Box::new(|kind| match kind {
        TransmitKind::Heartbeat => Fate::Lie(RejectionReason::Unavailable),
        _ => Fate::Pass,
    }));
    sim.boot(terminal);
    let spoke =
        |event: &AgentEvent| matches!(event, AgentEvent::Hinted { kind: TransmitKind::Heartbeat, .. });
    sim.run_until(120_000, |sim| sim.terminals[terminal].saw(spoke));
    let device = sim.terminals[terminal].device;
    let newest = *sim.cluster.device(device).sessions.keys().last().unwrap();
    sim.cluster.device_mut(device).sessions.get_mut(&newest).unwrap().life = Life::Gone;
    sim.censor = None;
    sim.power_cycle(terminal);
    sim.run_until(600_000, |sim| sim.terminals[terminal].acknowledged() > 0);
    assert_eq!(sim.cluster.device(device).rekeys_seen, 0);
}

/// Every heartbeat arrives and no verdict does, so that the next epoch is confirmed and stays unproven on flash.
fn confirm_without_a_verdict(sim: &mut Sim, terminal: usize) {
    let device = sim.terminals[terminal].device;
    let before = sim.cluster.device(device).current();
    sim.censor = Some(Box::new(|kind| match kind {
        TransmitKind::Heartbeat => Fate::LoseAnswer,
        _ => Fate::Pass,
    }));
    sim.boot(terminal);
    sim.run_until(120_000, |sim| sim.cluster.device(device).current() != before);
}

#[test]
fn rule_4_a_liar_who_drops_answers_makes_no_clone_of_a_terminal_that_may_not_re_key() {
    for seed in 77..87 {
        let mut sim = Sim::new(seed);
        let terminal = with_a_failed_check(&mut sim);
        let device = sim.terminals[terminal].device;
        confirm_without_a_verdict(&mut sim, terminal);
        sim.censor = Some(Box::new(|kind| match kind {
            TransmitKind::Resume => Fate::LieInstead(RejectionReason::NotAuthentic),
            _ => Fate::Pass,
        }));
        for _boot in 0..3 {
            sim.power_cycle(terminal);
            sim.run_for(600_000);
        }
        sim.censor = None;
        sim.run_until(600_000, |sim| sim.terminals[terminal].acknowledged() > 0);
        let device = sim.cluster.device(device);
        assert!(device.fork.is_some(), "seed {seed}: the terminal never went back, so nothing was tested");
        assert!(!device.cloned, "seed {seed}: an honest terminal was convicted");
        assert_eq!(device.rekeys_seen, 0);
    }
}

#[test]
fn rule_4_a_liar_who_stays_for_long_does_not_drive_a_terminal_to_an_epoch_that_the_cluster_forgot() {
    let mut sim = Sim::new(88);
    let terminal = with_a_failed_check(&mut sim);
    let device = sim.terminals[terminal].device;
    // Round by round a grant comes through, is spoken and confirmed, its verdict is lost, and all resumes are refused.
    for _round in 0..5 {
        confirm_without_a_verdict(&mut sim, terminal);
        sim.censor = Some(Box::new(|kind| match kind {
            TransmitKind::Resume => Fate::Lie(RejectionReason::NotAuthentic),
            _ => Fate::Pass,
        }));
        sim.run_for(1_200_000);
    }
    sim.censor = None;
    sim.run_until(600_000, |sim| sim.terminals[terminal].acknowledged() > 0);
    assert!(!sim.cluster.device(device).cloned);
    assert_eq!(sim.cluster.device(device).rekeys_seen, 0);
}

#[test]
fn a_restricted_boot_check_redeems_no_code() {
    let mut sim = Sim::new(75);
    let mut unit = sim.factory.burn(1, &mut sim.rng);
    sim.cluster.import(&unit.seed);
    unit.components.truncate(2);
    let terminal = sim.add_unit(&unit);
    sim.boot(terminal);
    let code = sim.cluster.issue_code();
    sim.activate(terminal, code.clone());
    sim.run_for(600_000);
    assert!(sim.terminals[terminal].saw(|event| matches!(event, AgentEvent::CommandRefused { .. })));
    assert_eq!(sim.cluster.owner_of(&code), None);
    assert!(!sim.cluster.tamper_reports.is_empty());
}
