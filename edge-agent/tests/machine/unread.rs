//! Hardware that could not be read: it restricts, and accuses nobody.

use crate::support::factory::component;
use crate::support::sim::Sim;
use crate::support::terminal::Terminal;
use edge_agent::machine::{AgentEvent, HardwareSource, Standing};
use events::vocabulary::shared::ComponentKind::{self, BoardSerial, EmmcCid, MacAddress, SocSerial};
use std::sync::Arc;

fn unread(kinds: &[ComponentKind]) -> Vec<HardwareSource> {
    kinds.iter().map(|kind| HardwareSource::Component(*kind)).collect()
}

#[test]
fn a_terminal_whose_hardware_cannot_be_read_is_restricted_and_reports_nothing() {
    for missing in [vec![HardwareSource::Record], unread(&[SocSerial]), unread(&[MacAddress, BoardSerial])] {
        let mut sim = Sim::new(91);
        let unit = sim.factory.burn(1, &mut sim.rng);
        let check = sim.factory.check_without(&unit, &missing);
        assert!(check.awaits_hardware(), "{missing:?}");
        let public = Arc::new(sim.cluster.keyring.public());
        let terminal = sim.add(Terminal::with_check(check, sim.settings.clone(), public));
        sim.boot(terminal);
        sim.run_for(24 * 3_600_000);
        assert_eq!(sim.terminals[terminal].machine.standing(), Standing::Restricted, "{missing:?}");
        let code = sim.cluster.issue_code();
        sim.activate(terminal, code.clone());
        sim.run_for(600_000);
        assert_eq!(sim.cluster.owner_of(&code), None, "who unplugs a part gains nothing: {missing:?}");
        assert!(!sim.terminals[terminal].saw(|event| *event == AgentEvent::TamperReported), "{missing:?}");
        assert!(sim.cluster.tamper_reports.is_empty(), "{missing:?}");
    }
}

#[test]
fn what_was_read_and_differs_is_evidence_whatever_else_could_not_be_read() {
    let mut sim = Sim::new(92);
    let unit = sim.factory.burn(1, &mut sim.rng);
    let mut other = unit.clone();
    other.components[0] = component(SocSerial, "another-board");
    let other_board = sim.factory.check_without(&other, &unread(&[EmmcCid]));
    assert!(!other_board.is_full() && !other_board.awaits_hardware());
    // Two of three optional components must match: two that differ are too many, one that differs and one unread are not.
    let mut two = unit.clone();
    two.components[1] = component(MacAddress, "02:ff:ff:ff:ff:ff");
    let one_and_unread = sim.factory.check_without(&two, &unread(&[BoardSerial]));
    assert!(!one_and_unread.is_full() && one_and_unread.awaits_hardware());
    two.components[2] = component(BoardSerial, "another");
    let both = sim.factory.check_without(&two, &unread(&[EmmcCid]));
    assert!(!both.is_full() && !both.awaits_hardware());
    let mut forged = unit.clone();
    forged.record[200] ^= 1;
    assert!(!sim.factory.check_without(&forged, &unread(&[SocSerial])).awaits_hardware());
    let mut blank = unit.clone();
    blank.record.fill(0);
    assert!(!sim.factory.check_without(&blank, &unread(&[SocSerial])).awaits_hardware());
}

#[test]
fn a_component_that_the_lot_can_do_without_is_not_waited_for() {
    let mut sim = Sim::new(93);
    let unit = sim.factory.burn(1, &mut sim.rng);
    let check = sim.factory.check_without(&unit, &unread(&[MacAddress]));
    assert!(check.is_full() && !check.awaits_hardware());
    assert_eq!(check.mismatched, [MacAddress]);
}
