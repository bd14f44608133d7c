//! Doctor finds what is wrong with a terminal, by code, and changes nothing.

use crate::agent::Terminal;
use crate::bus::Bus;
use events::identity::key::SigningKey;
use events::time::Timestamp;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

/// Codes of everything that is not fine, and the exit code.
async fn ailments(terminal: &Terminal, extra: &[&str]) -> (BTreeSet<String>, i32) {
    let output = terminal.command(&[&["doctor"], extra].concat()).await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let findings = report["findings"].as_array().unwrap().iter();
    let ill = findings.filter(|finding| finding["level"] != "fine");
    let codes = ill.map(|finding| {
        assert!(!finding["advice"].as_str().unwrap().is_empty(), "{finding}");
        finding["code"].as_str().unwrap().to_owned()
    });
    (codes.collect(), output.status.code().unwrap())
}

fn chmod(terminal: &Terminal, name: &str, mode: u32) {
    std::fs::set_permissions(terminal.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
}

fn set(codes: &[&str]) -> BTreeSet<String> {
    codes.iter().map(|code| (*code).to_owned()).collect()
}

/// A terminal on which nothing is wrong but that it is a folder on a developer's machine.
async fn healthy(bus: &Bus, seed: u64) -> Terminal {
    let terminal = Terminal::new(bus, seed);
    for name in ["lot.firmware.json", "cluster.json", "agent.toml"] {
        chmod(&terminal, name, 0o600);
    }
    terminal.activate(bus).await;
    terminal
}

/// Where a test's folder lies is the machine's business.
fn without_place(mut codes: BTreeSet<String>) -> BTreeSet<String> {
    for place in ["STATE_IN_IMAGE", "STATE_VOLATILE", "STATE_IN_SLOT"] {
        codes.remove(place);
    }
    codes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_terminal_has_no_ailment_but_those_of_a_development_machine() {
    let bus = Bus::start(31).await;
    let terminal = healthy(&bus, 31).await;
    let mut running = terminal.run();
    running.until("acknowledged").await;
    let (codes, _) = ailments(&terminal, &[]).await;
    assert_eq!(without_place(codes), set(&["OTP_IS_A_FILE", "UPDATE_OFF"]));
    running.terminate().await;
    let (codes, _) = ailments(&terminal, &[]).await;
    assert_eq!(without_place(codes), set(&["OTP_IS_A_FILE", "UPDATE_OFF", "AGENT_NOT_RUNNING"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_of_another_terminal_and_state_that_was_copied_are_found() {
    let bus = Bus::start(32).await;
    let (one, other) = (healthy(&bus, 32).await, healthy(&bus, 33).await);
    for name in ["state.a", "state.b", "home"] {
        let (from, to) = (one.path(&format!("state/{name}")), other.path(&format!("state/{name}")));
        let _ = std::fs::remove_file(&to);
        if from.exists() {
            std::fs::copy(from, to).unwrap();
        }
    }
    let (codes, exit) = ailments(&other, &[]).await;
    assert!(codes.contains("STATE_OTHER_DEVICE") && codes.contains("STATE_COPIED"), "{codes:?}");
    assert_eq!(exit, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_hardware_open_rights_missing_hooks_and_retired_keys_are_found_by_their_codes() {
    let bus = Bus::start(34).await;
    let terminal = healthy(&bus, 34).await;
    let mut newest = bus.cluster.lock().unwrap().keyring.public();
    newest.cluster_key.id += 1;
    terminal.write("newest.json", &serde_json::to_string(&newest).unwrap());
    chmod(&terminal, "lot.firmware.json", 0o644);
    terminal.write("soc-serial", "another board");
    std::fs::remove_file(terminal.path("board-serial")).unwrap();
    let key = SigningKey::from_bytes(&[1; 48]).unwrap().public();
    let key: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    terminal.configure(&format!(
        "[hooks]\nfull = [\"/nonexistent/hook\"]\n[update]\nkeys = [\"{key}\"]\nca_file = \"/nonexistent/ca.pem\"\n\
         install = {{ raw = [\"/nonexistent/install\"] }}\n"
    ));
    let newest = terminal.path("newest.json");
    let (codes, exit) = ailments(&terminal, &["--newest-cluster", newest.to_str().unwrap()]).await;
    for expected in [
        "PERMISSIONS_TOO_WIDE",
        "BOOT_CHECK_RESTRICTED",
        "COMPONENT_UNREADABLE",
        "HOOK_UNUSABLE",
        "UPDATE_HOOK_UNUSABLE",
        "UPDATE_CERTIFICATES",
        "CLUSTER_KEY_RETIRED",
    ] {
        assert!(codes.contains(expected), "{expected} is not among {codes:?}");
    }
    assert_eq!(exit, 7);
    terminal.write("agent.toml", "region = 7");
    assert_eq!(ailments(&terminal, &[]).await, (set(&["CONFIG_INVALID"]), 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_and_a_region_without_nodes_are_told_apart() {
    let mut bus = Bus::start(35).await;
    let terminal = healthy(&bus, 35).await;
    let config = std::fs::read_to_string(terminal.path("agent.toml")).unwrap();
    terminal.write("agent.toml", &config.replace("region = \"eu\"", "region = \"mars\""));
    let (codes, _) = ailments(&terminal, &[]).await;
    assert!(codes.contains("NATS_NO_NODE"), "{codes:?}");
    bus.stop_server();
    let (codes, exit) = ailments(&terminal, &[]).await;
    assert!(codes.contains("NATS_UNREACHABLE"), "{codes:?}");
    assert_eq!(exit, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_root_left_in_the_agents_state_is_found_also_by_root_and_the_agents_own_files_are_no_ailment() {
    let bus = Bus::start(36).await;
    let terminal = healthy(&bus, 36).await;
    let give_away = |name: &str| std::os::unix::fs::chown(terminal.path(name), Some(54_321), None);
    if give_away("state").is_err() {
        // Only root can build this story.
        return;
    }
    for file in std::fs::read_dir(terminal.path("state")).unwrap() {
        give_away(&format!("state/{}", file.unwrap().file_name().display())).unwrap();
    }
    let (codes, _) = ailments(&terminal, &[]).await;
    assert!(!codes.contains("PERMISSIONS_TOO_WIDE") && !codes.contains("STATE_OTHER_OWNER"), "{codes:?}");
    std::os::unix::fs::chown(terminal.path("state/lock"), Some(0), None).unwrap();
    let (codes, exit) = ailments(&terminal, &[]).await;
    assert!(codes.contains("STATE_OTHER_OWNER"), "{codes:?}");
    assert_eq!(exit, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_ended_by_the_terminals_clock_is_told_as_the_agent_tells_it() {
    let bus = Bus::start(37).await;
    // The cluster's time is that of its first day; this machine's clock is later by more than a lease.
    bus.cluster.lock().unwrap().stamp = Timestamp::from_millis(1_700_000_000_000);
    let terminal = healthy(&bus, 37).await;
    let (codes, _) = ailments(&terminal, &[]).await;
    assert!(codes.contains("LICENSE_EXPIRED"), "{codes:?}");
}
