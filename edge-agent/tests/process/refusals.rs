//! What a wrong config, foreign hardware and a damaged state get.

use crate::agent::Terminal;
use crate::bus::Bus;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_with_an_unknown_field_is_refused_with_file_and_line() {
    let bus = Bus::start(3).await;
    let terminal = Terminal::new(&bus, 3);
    let config = std::fs::read_to_string(terminal.path("agent.toml")).unwrap();
    terminal.write("agent.toml", &config.replace("firmware = 7", "firmware = 7\nfrimware = 8"));
    let refused = terminal.command(&["run"]).await;
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("agent.toml`: line 4, column 1: unknown field `frimware`, expected one of"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_copied_onto_other_hardware_ends_restricted_and_the_cluster_learns_of_it() {
    let bus = Bus::start(4).await;
    let terminal = Terminal::new(&bus, 4);
    terminal.write("soc-serial", "another board");
    let check = terminal.command(&["boot-check"]).await;
    assert_eq!(check.status.code(), Some(5), "{check:?}");
    let report: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(report["reason"], "REQUIRED_HARDWARE");
    assert!(report["device"].is_null());

    let mut running = terminal.run();
    running.until("tamper-reported").await;
    while bus.cluster.lock().unwrap().tamper_reports.is_empty() {
        tokio::task::yield_now().await;
    }
    let redeem = terminal.command(&["activate", "--code", &bus_code(&bus)]).await;
    assert_eq!(redeem.status.code(), Some(4), "a restricted terminal redeems nothing: {redeem:?}");
    running.terminate().await;
    assert!(!terminal.path("state/state.a").exists(), "a terminal without identity writes no state");
}

fn bus_code(bus: &Bus) -> String {
    bus.cluster.lock().unwrap().issue_code().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_damaged_copy_of_the_state_costs_nothing_and_two_cost_a_re_key() {
    let bus = Bus::start(5).await;
    let terminal = Terminal::new(&bus, 5);
    let activated = terminal.command(&["activate", "--code", &bus_code(&bus)]).await;
    assert_eq!(activated.status.code(), Some(0), "{activated:?}");
    let mut running = terminal.run();
    running.until("acknowledged").await;
    running.terminate().await;

    terminal.write("state/state.a", "torn");
    let mut running = terminal.run();
    let granted = running.until("granted").await;
    assert_eq!(granted["origin"], "resume");
    running.until("acknowledged").await;
    running.terminate().await;

    terminal.write("state/state.a", "torn");
    terminal.write("state/state.b", "");
    let mut running = terminal.run();
    let granted = running.until("granted").await;
    assert_eq!(granted["origin"], "rekey");
    running.until("acknowledged").await;
    running.terminate().await;
    let cluster = bus.cluster.lock().unwrap();
    assert!(!cluster.device(terminal.device).cloned);
}

/// A user that is not the one who runs this test.
const SOMEBODY: u32 = 54_321;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_the_owner_of_the_state_directory_is_sent_away_before_he_leaves_a_lock_behind() {
    let bus = Bus::start(6).await;
    let terminal = Terminal::new(&bus, 6);
    let state = terminal.path("state");
    std::fs::create_dir(&state).unwrap();
    if std::os::unix::fs::chown(&state, Some(SOMEBODY), None).is_err() {
        // Only root may give a folder away; whoever is not root finds one of root's.
        let config = std::fs::read_to_string(terminal.path("agent.toml")).unwrap();
        terminal.write("agent.toml", &config.replace("state_dir = \"state\"", "state_dir = \"/usr\""));
    }
    terminal.write("offer", "anything");
    let (code, offer) = (bus_code(&bus), terminal.path("offer").display().to_string());
    for command in [&["run"][..], &["activate", "--code", &code], &["update", "--offer", &offer]] {
        let refused = terminal.command(command).await;
        assert_eq!(refused.status.code(), Some(4), "{command:?}: {refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("run this as ") && said.contains("sudo -u "), "{said}");
    }
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0, "nothing is left behind");
}
