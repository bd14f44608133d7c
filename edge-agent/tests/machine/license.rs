//! License tokens: checked before they are kept, and again before an app gets one (protocol.md rule 20).

use crate::support::rng::SeededRng;
use crate::support::sim::Sim;
use edge_agent::machine::{AgentEvent, Now, StateSummary};
use events::identity::key::SigningKey;
use events::ids::AppName;
use events::license::{LicenseRefusal, ProofStatement, token};
use events::time::Timestamp;

const HOUR: u64 = 3_600_000;

fn player() -> AppName {
    "player".parse().unwrap()
}

/// What the terminal's clocks say after `uptime` milliseconds, its wall clock at `wall`.
fn clocks(uptime: u64, wall: Timestamp) -> Now {
    Now { monotonic_millis: uptime, wall }
}

#[test]
fn an_app_gets_a_token_that_verifies_and_a_proof_for_its_own_nonce() {
    let mut sim = Sim::new(1);
    let terminal = sim.add_beating_terminal();
    let now = clocks(120_000, sim.cluster.stamp);
    let handed = sim.terminals[terminal].machine.hand_out_license(&player(), [7; 32], now).unwrap();
    let claims = token::verify(&sim.cluster.keyring.license_key.public(), &handed.token, handed.at).unwrap();
    assert_eq!(claims.device, sim.terminals[terminal].device);
    let (app, at) = (player(), handed.at);
    let statement = ProofStatement { app: &app, nonce: [7; 32], at, token: &handed.token };
    assert_eq!(statement.verify(&handed.device_key, &handed.proof), Ok(()));
    assert_eq!(handed.device_key.device_id(), claims.device);
}

#[test]
fn a_token_of_a_key_that_is_not_pinned_is_not_kept_and_the_one_held_stays() {
    let mut sim = Sim::new(2);
    let terminal = sim.add_beating_terminal();
    let stranger = SigningKey::generate(&mut SeededRng::new(99));
    sim.cluster.license_key = Some(stranger);
    sim.terminals[terminal].events.clear();
    sim.power_cycle(terminal);
    sim.run_until(60_000, |sim| {
        sim.terminals[terminal].saw(|event| matches!(event, AgentEvent::LicenseTokenRefused { .. }))
    });
    assert!(!sim.terminals[terminal].saw(|event| *event == AgentEvent::LicenseRenewed));
    let now = clocks(60_000, sim.cluster.stamp);
    let handed = sim.terminals[terminal].machine.hand_out_license(&player(), [7; 32], now).unwrap();
    token::verify(&sim.cluster.keyring.license_key.public(), &handed.token, handed.at).unwrap();
}

#[test]
fn the_first_token_of_a_stranger_is_never_handed_out() {
    let mut sim = Sim::new(3);
    sim.cluster.license_key = Some(SigningKey::generate(&mut SeededRng::new(98)));
    let terminal = sim.add_beating_terminal();
    let now = clocks(60_000, sim.cluster.stamp);
    let handed = sim.terminals[terminal].machine.hand_out_license(&player(), [7; 32], now);
    assert_eq!(handed, Err(LicenseRefusal::NoLicense));
}

#[test]
fn a_terminal_that_is_cut_off_loses_its_lease_with_the_uptime_whatever_its_clock_is_set_to() {
    let mut sim = Sim::new(4);
    let terminal = sim.add_beating_terminal();
    let stamp = sim.cluster.stamp;
    let machine = &sim.terminals[terminal].machine;
    let set_back = Timestamp::ZERO;
    assert!(machine.license(clocks(71 * HOUR, set_back)).is_ok());
    assert_eq!(machine.license(clocks(73 * HOUR, set_back)), Err(LicenseRefusal::Expired));
    // The cluster was heard in this boot: a clock in the next century ends nothing early.
    let next_century = stamp.plus_millis(80 * 365 * 24 * HOUR);
    assert!(machine.license(clocks(71 * HOUR, next_century)).is_ok());
}

#[test]
fn a_token_survives_a_reboot_without_network_and_expires_by_floor_and_uptime() {
    let mut sim = Sim::new(5);
    let terminal = sim.add_beating_terminal();
    sim.outage = true;
    sim.power_cycle(terminal);
    sim.run_for(10_000);
    let machine = &sim.terminals[terminal].machine;
    assert!(machine.license(clocks(HOUR, Timestamp::ZERO)).is_ok());
    assert_eq!(machine.license(clocks(73 * HOUR, Timestamp::ZERO)), Err(LicenseRefusal::Expired));
    // Nobody was heard in this boot, so the wall clock may end the lease, never lengthen it.
    let later = sim.cluster.stamp.plus_millis(100 * HOUR);
    assert_eq!(machine.license(clocks(HOUR, later)), Err(LicenseRefusal::Expired));
}

#[test]
fn a_lease_ends_also_for_a_terminal_that_is_rebooted_in_time_and_has_no_clock() {
    let mut sim = Sim::new(9);
    let terminal = sim.add_beating_terminal();
    sim.outage = true;
    let floor =
        |sim: &Sim| StateSummary::parse(sim.terminals[terminal].flash.as_ref().unwrap()).unwrap().time_floor;
    let before = floor(&sim);
    // Each boot is shorter than the lease; together they are longer.
    for _boot in 0..3 {
        sim.power_cycle(terminal);
        sim.run_for(30 * HOUR);
    }
    let none = clocks(30 * HOUR, Timestamp::ZERO);
    assert_eq!(sim.terminals[terminal].machine.license(none), Err(LicenseRefusal::Expired));
    assert_eq!(floor(&sim), before, "what is told to the cluster is what sealed answers said");
    let state = StateSummary::parse(sim.terminals[terminal].flash.as_ref().unwrap()).unwrap();
    assert!(state.time_reached <= sim.cluster.stamp, "never later than it is");
    assert!(state.time_reached > before.plus_millis(72 * HOUR), "{} after {before}", state.time_reached);
}

#[test]
fn a_restricted_terminal_hands_out_nothing() {
    use events::vocabulary::shared::Legitimacy;
    let mut sim = Sim::new(6);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    sim.cluster.device_mut(device).legitimacy = Legitimacy::Restricted;
    sim.run_until(60_000, |sim| {
        let restricted = AgentEvent::LegitimacyChanged { legitimacy: Legitimacy::Restricted };
        sim.terminals[terminal].saw(|event| *event == restricted)
    });
    let now = clocks(60_000, sim.cluster.stamp);
    let handed = sim.terminals[terminal].machine.hand_out_license(&player(), [7; 32], now);
    assert_eq!(handed, Err(LicenseRefusal::Restricted));
}

#[test]
fn a_resume_that_brings_no_token_leaves_the_one_held_and_asks_for_no_other() {
    let mut sim = Sim::new(7);
    let terminal = sim.add_beating_terminal();
    sim.cluster.withholds_tokens = true;
    sim.terminals[terminal].events.clear();
    sim.power_cycle(terminal);
    sim.run_until(600_000, |sim| sim.terminals[terminal].acknowledged() > 5);
    assert!(!sim.terminals[terminal].saw(|event| matches!(event, AgentEvent::StartedOver { .. })));
    let now = clocks(60_000, sim.cluster.stamp);
    assert!(sim.terminals[terminal].machine.license(now).is_ok());
}

#[test]
fn a_suspended_license_is_gone_at_once_and_its_token_is_asked_for_again_when_it_is_given_back() {
    use events::envelope::Directive;
    use events::vocabulary::shared::{DirectiveId, OperationKind};
    let mut sim = Sim::new(8);
    let terminal = sim.add_beating_terminal();
    let device = sim.terminals[terminal].device;
    let id = DirectiveId { generation: 1, index: 900, ordinal: 0 };
    let suspended = Directive { id, kind: OperationKind::SuspendLicense, expires: Timestamp::ZERO };
    sim.cluster.device_mut(device).directive = Some(suspended);
    sim.terminals[terminal].events.clear();
    sim.run_until(600_000, |sim| {
        sim.terminals[terminal].saw(|event| matches!(event, AgentEvent::DirectiveObeyed { .. }))
    });
    // The model names the same lease in every verdict: as if the license were given back at once.
    sim.run_until(600_000, |sim| sim.terminals[terminal].saw(|event| *event == AgentEvent::LicenseRenewed));
}
