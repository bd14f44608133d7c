//! Boots, lost states, and clusters that forgot.

use crate::support::cluster::Life;
use crate::support::sim::{Fate, Sim};
use edge_agent::machine::{AgentEvent, SessionOrigin, StateSummary, TransmitKind};
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::Legitimacy;

fn epochs(sim: &Sim, terminal: usize) -> Vec<u32> {
    let granted = sim.terminals[terminal].events.iter().filter_map(|event| match event {
        AgentEvent::Granted { epoch, .. } => Some(*epoch),
        _ => None,
    });
    granted.collect()
}

#[test]
fn rule_8_every_start_is_a_boot_and_takes_a_new_epoch() {
    let mut sim = Sim::new(31);
    let terminal = sim.add_beating_terminal();
    for boot in 2..=4 {
        let before = sim.terminals[terminal].acknowledged();
        sim.power_cycle(terminal);
        sim.run_until(120_000, |sim| sim.terminals[terminal].acknowledged() > before);
        assert_eq!(epochs(&sim, terminal).len(), boot);
    }
    let epochs = epochs(&sim, terminal);
    assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
    let summary = StateSummary::parse(sim.terminals[terminal].flash.as_ref().unwrap()).unwrap();
    assert_eq!(summary.boot_count, 4);
    assert!(summary.epoch_proven);
    assert_eq!(summary.epoch, epochs.last().copied());
}

#[test]
fn rule_5_boots_that_end_before_their_first_heartbeat_make_no_fork_and_lock_nobody_out() {
    let mut sim = Sim::new(32);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    // Boots that end right after their grant was written: more successors of one epoch than the cluster keeps.
    for _ in 0..6 {
        let before = epochs(&sim, terminal).len();
        sim.power_cycle(terminal);
        sim.run_until(120_000, |sim| epochs(sim, terminal).len() > before);
    }
    let before = sim.terminals[terminal].acknowledged();
    sim.run_until(120_000, |sim| sim.terminals[terminal].acknowledged() > before);
    assert!(sim.cluster.device(device).fork.is_none());
    assert_eq!(sim.cluster.device(device).rekeys_seen, 0);
}

/// A terminal whose newest epoch was granted and is on flash, and under which nothing was said yet.
fn with_an_unspoken_epoch(sim: &mut Sim) -> usize {
    sim.cluster.interval_millis = 3_600_000;
    let terminal = sim.add_terminal();
    sim.cluster.interval_millis = 1_000;
    sim.terminals[terminal].code = Some(sim.cluster.issue_code());
    sim.boot(terminal);
    sim.run_until(120_000, |sim| sim.terminals[terminal].acknowledged() > 0);
    sim.cluster.interval_millis = 3_600_000;
    let before = epochs(sim, terminal).len();
    sim.power_cycle(terminal);
    sim.run_until(120_000, |sim| epochs(sim, terminal).len() > before);
    sim.cluster.interval_millis = 1_000;
    terminal
}

#[test]
fn rule_5_a_pending_epoch_that_died_unspoken_costs_one_resume_and_no_re_key() {
    let mut sim = Sim::new(131);
    let terminal = with_an_unspoken_epoch(&mut sim);
    let device = sim.terminals[terminal].device;
    let newest = *sim.cluster.device(device).sessions.keys().last().unwrap();
    sim.cluster.device_mut(device).sessions.get_mut(&newest).unwrap().life = Life::Gone;
    let before = sim.terminals[terminal].acknowledged();
    sim.power_cycle(terminal);
    sim.run_until(20_000, |sim| sim.terminals[terminal].acknowledged() > before);
    assert_eq!(sim.cluster.device(device).rekeys_seen, 0);
    assert!(sim.cluster.device(device).fork.is_none());
}

#[test]
fn a_root_that_was_granted_beside_a_dead_session_is_resumed_from_at_the_second_try() {
    let mut sim = Sim::new(132);
    let terminal = with_an_unspoken_epoch(&mut sim);
    let device = sim.terminals[terminal].device;
    // What the unspoken epoch succeeds is gone, the epoch itself is not: as a root beside a session that died.
    let parent = sim.cluster.device(device).current().unwrap();
    sim.cluster.device_mut(device).sessions.get_mut(&parent).unwrap().life = Life::Gone;
    let before = sim.terminals[terminal].acknowledged();
    sim.power_cycle(terminal);
    sim.run_until(30_000, |sim| sim.terminals[terminal].acknowledged() > before);
    assert_eq!(sim.cluster.device(device).rekeys_seen, 0);
}

#[test]
fn rule_9_lies_that_nobody_sealed_drive_no_terminal_to_a_quick_re_key() {
    let mut sim = Sim::new(133);
    sim.settings.unsealed_refusals_before_rekey = 600_000;
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    sim.censor = Some(Box::new(|kind| match kind {
        TransmitKind::Resume => Fate::Lie(RejectionReason::NotAuthentic),
        _ => Fate::Pass,
    }));
    sim.captured.clear();
    sim.power_cycle(terminal);
    sim.run_for(590_000);
    let hellos = sim.captured_of(TransmitKind::Hello).count();
    assert!(hellos > 20, "only {hellos} lies were told");
    assert_eq!(sim.cluster.device(device).rekeys_seen, 0);
    sim.run_until(900_000, |sim| sim.cluster.device(device).rekeys_seen == 1);
}

#[test]
fn a_re_key_that_comes_too_early_is_granted_in_the_end_even_if_flash_forgot_the_last_one() {
    let mut sim = Sim::new(134);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    for rekeys in 1..=3 {
        sim.terminals[terminal].flash = None;
        sim.terminals[terminal].code = None;
        let before = sim.terminals[terminal].acknowledged();
        sim.power_cycle(terminal);
        sim.run_until(900_000, |sim| sim.terminals[terminal].acknowledged() > before);
        assert_eq!(sim.cluster.device(device).rekeys_seen, rekeys);
    }
}

#[test]
fn the_hour_that_an_agent_rests_after_a_re_key_is_longer_than_what_the_cluster_demands() {
    let agent = edge_agent::machine::Settings::default().rekey_interval;
    // Slack for a message that was under way for as long as a few tickets count.
    assert!(agent >= events::limits::REKEY_REST_MILLIS + 10 * events::limits::TICKET_MILLIS_MAX);
    let (agent, cluster) = (Sim::new(1).settings.rekey_interval, Sim::new(1).cluster.rekey_rest_millis);
    assert!(agent > cluster, "the model is no more lenient than the cluster");
}

#[test]
fn flash_that_lied_about_its_last_writes_heals_and_convicts_nobody() {
    for lost_writes in 1..=5 {
        let mut sim = Sim::new(33);
        let terminal = sim.add_beating_terminal();
        let device = sim.terminals[terminal].device;
        for _ in 0..2 {
            let before = sim.terminals[terminal].acknowledged();
            sim.power_cycle(terminal);
            sim.run_until(120_000, |sim| sim.terminals[terminal].acknowledged() > before + 1);
        }
        let terminals = &mut sim.terminals[terminal];
        let kept = terminals.history.len() - lost_writes;
        terminals.flash = kept.checked_sub(1).map(|last| terminals.history[last].clone());
        let before = terminals.acknowledged();
        sim.power_cycle(terminal);
        sim.run_until(900_000, |sim| sim.terminals[terminal].acknowledged() > before + 3);
        assert!(!sim.cluster.device(device).cloned, "{lost_writes} lost writes convicted an honest terminal");
    }
}

#[test]
fn rule_8_a_grant_whose_memory_flash_lost_is_never_beaten_under_again() {
    let mut sim = Sim::new(39);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    sim.run_until(120_000, |sim| sim.terminals[terminal].acknowledged() >= 3);
    let is_pending = |state: &&Vec<u8>| StateSummary::parse(state).unwrap().activation_pending;
    sim.terminals[terminal].flash = sim.terminals[terminal].history.iter().rfind(is_pending).cloned();
    let first = epochs(&sim, terminal)[0];
    sim.power_cycle(terminal);
    // The cluster grants the same epoch for the same activation; its keys sealed sequences 1 to 3 already.
    sim.run_until(300_000, |sim| sim.terminals[terminal].acknowledged() >= 6);
    assert_eq!(epochs(&sim, terminal)[1], first);
    assert!(epochs(&sim, terminal)[2] > first);
    assert!(!sim.cluster.device(device).cloned);
    assert!(sim.cluster.device(device).fork.is_none());
}

#[test]
fn rule_4_refusals_of_a_liar_do_not_drive_a_terminal_back_to_an_epoch_whose_successor_was_confirmed() {
    let mut sim = Sim::new(40);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    // The next epoch is confirmed by a heartbeat whose verdict is lost: on flash it stays unproven.
    sim.censor = Some(Box::new(|kind| match kind {
        TransmitKind::Heartbeat => Fate::LoseAnswer,
        _ => Fate::Pass,
    }));
    sim.power_cycle(terminal);
    sim.run_until(60_000, |sim| {
        sim.cluster.device(device).current() == epochs(sim, terminal).get(1).copied()
    });
    let mut lies = 3;
    sim.censor = Some(Box::new(move |kind| match kind {
        TransmitKind::Resume if lies > 0 => {
            lies -= 1;
            Fate::Lie(RejectionReason::EpochStale)
        }
        _ => Fate::Pass,
    }));
    let before = sim.terminals[terminal].acknowledged();
    sim.power_cycle(terminal);
    sim.run_until(300_000, |sim| sim.terminals[terminal].acknowledged() > before);
    assert!(sim.cluster.device(device).fork.is_none(), "the liar made a fork");
}

#[test]
fn flash_that_forgot_everything_since_the_activation_was_sealed_re_keys_without_the_code() {
    let mut sim = Sim::new(38);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    for _ in 0..4 {
        let before = sim.terminals[terminal].acknowledged();
        sim.power_cycle(terminal);
        sim.run_until(120_000, |sim| sim.terminals[terminal].acknowledged() > before);
    }
    let is_pending = |state: &&Vec<u8>| StateSummary::parse(state).unwrap().activation_pending;
    let sealed = sim.terminals[terminal].history.iter().rfind(is_pending).cloned();
    assert!(sealed.is_some());
    sim.terminals[terminal].flash = sealed;
    sim.terminals[terminal].code = None;
    let before = sim.terminals[terminal].acknowledged();
    sim.power_cycle(terminal);
    sim.run_until(300_000, |sim| sim.terminals[terminal].acknowledged() > before);
    assert!(!sim.cluster.device(device).cloned);
    assert_eq!(sim.cluster.device(device).activations_seen, 1);
}

#[test]
fn a_licensed_terminal_whose_state_is_gone_re_keys_without_a_code() {
    let mut sim = Sim::new(34);
    let terminal = sim.add_beating_terminal();
    sim.terminals[terminal].flash = None;
    sim.terminals[terminal].code = None;
    let before = sim.terminals[terminal].acknowledged();
    sim.power_cycle(terminal);
    sim.run_until(120_000, |sim| sim.terminals[terminal].acknowledged() > before);
    let rekeyed =
        |event: &AgentEvent| matches!(event, AgentEvent::Granted { origin: SessionOrigin::Rekey, .. });
    assert!(sim.terminals[terminal].saw(rekeyed));
}

#[test]
fn rule_6_a_terminal_whose_resumes_keep_failing_re_keys_at_most_once_per_interval() {
    let mut sim = Sim::new(35);
    sim.settings.unsealed_refusals_before_rekey = 10_000;
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    sim.cluster.device_mut(device).forget_sessions();
    let before = sim.terminals[terminal].acknowledged();
    sim.run_until(900_000, |sim| sim.terminals[terminal].acknowledged() > before);
    assert_eq!(sim.cluster.device(device).rekeys_seen, 1);
    // It happens again and again: the re-keys keep their distance, over reboots too.
    let start = sim.millis;
    for _ in 0..40 {
        sim.cluster.device_mut(device).forget_sessions();
        sim.run_for(30_000);
        sim.power_cycle(terminal);
    }
    let intervals = (sim.millis - start) / sim.settings.rekey_interval;
    let rekeys = u64::from(sim.cluster.device(device).rekeys_seen) - 1;
    assert!(rekeys >= 1, "it never re-keyed again");
    assert!(rekeys <= intervals + 1, "{rekeys} re-keys in {intervals} intervals");
}

#[test]
fn rule_7_after_a_restore_from_a_backup_the_epoch_before_may_serve_again() {
    let mut sim = Sim::new(36);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    // The cluster grants a new epoch, loses it with its disks, and comes back from a backup under a new generation.
    let known: Vec<u32> = sim.cluster.device(device).sessions.keys().copied().collect();
    let before = epochs(&sim, terminal).len();
    sim.power_cycle(terminal);
    sim.run_until(120_000, |sim| epochs(sim, terminal).len() > before);
    let last = *known.last().unwrap();
    let restored = sim.cluster.device_mut(device);
    restored.sessions.retain(|epoch, _| known.contains(epoch));
    restored.sessions.get_mut(&last).unwrap().life = Life::Current;
    sim.cluster.generation += 1;
    sim.cluster.index -= 1;
    let before = sim.terminals[terminal].acknowledged();
    sim.run_until(900_000, |sim| sim.terminals[terminal].acknowledged() > before);
    assert_eq!(sim.cluster.device(device).rekeys_seen, 0, "a symmetric resume was enough");
    assert_eq!(sim.cluster.device(device).legitimacy, Legitimacy::Legitimate);
}

#[test]
fn rule_14_only_sealed_answers_raise_the_time_floor() {
    let mut sim = Sim::new(37);
    let terminal = sim.add_beating_terminal();
    let floor =
        |sim: &Sim| StateSummary::parse(sim.terminals[terminal].flash.as_ref().unwrap()).unwrap().time_floor;
    let stamp = sim.cluster.stamp;
    assert!(floor(&sim) <= stamp);
    // A false ticket from the year 2100 is unsealed: it raises nothing.
    sim.cluster.stamp = stamp.plus_millis(75 * 365 * 24 * 3_600_000);
    sim.outage = true;
    sim.run_for(120_000);
    sim.power_cycle(terminal);
    sim.run_for(60_000);
    assert!(floor(&sim) <= stamp);
}
