//! Doctor finds what is wrong with a terminal, by code, and changes nothing.

use crate::agent::Terminal;
use crate::bus::{Bus, StrictServer};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_behind_what_was_sealed_and_beside_what_a_ticket_says_is_found() {
    let bus = Bus::start(38).await;
    {
        let mut cluster = bus.cluster.lock().unwrap();
        cluster.stamp = cluster.stamp.plus_millis(30 * 86_400_000);
    }
    let terminal = healthy(&bus, 38).await;
    let (codes, exit) = ailments(&terminal, &[]).await;
    assert!(codes.contains("CLOCK_BEHIND") && codes.contains("CLOCK_DIFFERS"), "{codes:?}");
    assert_eq!(exit, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_otp_that_is_blank_or_cannot_be_read_is_found_by_its_own_code() {
    let bus = Bus::start(39).await;
    let terminal = healthy(&bus, 39).await;
    let burned = std::fs::read(terminal.path("otp.bin")).unwrap();
    for blank in [0, 0xff] {
        std::fs::write(terminal.path("otp.bin"), vec![blank; burned.len()]).unwrap();
        let (codes, exit) = ailments(&terminal, &[]).await;
        assert!(codes.contains("OTP_BLANK") && exit == 7, "{codes:?}");
    }
    std::fs::remove_file(terminal.path("otp.bin")).unwrap();
    let (codes, exit) = ailments(&terminal, &[]).await;
    assert!(codes.contains("OTP_UNREADABLE") && exit == 7, "{codes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_copy_of_the_state_is_a_warning_and_two_are_a_loss() {
    let bus = Bus::start(40).await;
    let terminal = healthy(&bus, 40).await;
    for copy in ["state/state.a", "state/state.b"] {
        assert!(terminal.path(copy).exists(), "{copy}");
    }
    terminal.write("state/state.a", "torn");
    let (codes, exit) = ailments(&terminal, &[]).await;
    assert!(codes.contains("STATE_DAMAGED") && !codes.contains("STATE_LOST") && exit == 0, "{codes:?}");
    terminal.write("state/state.b", "torn too");
    let (codes, exit) = ailments(&terminal, &[]).await;
    assert!(codes.contains("STATE_LOST") && exit == 7, "{codes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_file_that_is_none_and_a_license_that_its_keys_do_not_verify_are_found() {
    let bus = Bus::start(41).await;
    let terminal = healthy(&bus, 41).await;
    let mut other = bus.cluster.lock().unwrap().keyring.public();
    other.license_key = SigningKey::from_bytes(&[1; 48]).unwrap().public();
    terminal.write("cluster.json", &serde_json::to_string(&other).unwrap());
    let (codes, exit) = ailments(&terminal, &[]).await;
    assert!(codes.contains("LICENSE_NOT_AUTHENTIC") && exit == 7, "{codes:?}");
    terminal.write("cluster.json", "{}");
    let (codes, exit) = ailments(&terminal, &[]).await;
    assert!(codes.contains("CLUSTER_FILE_INVALID") && exit == 7, "{codes:?}");
}

const CONFINED: &str = r#"
authorization { users: [
  { user: terminal, password: right, permissions: { publish: "elsewhere.>", subscribe: "_INBOX_>" } }
] }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_nats_refuses_is_told_apart_from_one_that_may_not_speak_and_from_a_password_that_nobody_reads()
 {
    let bus = Bus::start(42).await;
    let terminal = healthy(&bus, 42).await;
    let server = StrictServer::start(CONFINED).await;
    let login = |password: &str| format!("url = \"{}\"\nuser = \"terminal\"\n{password}", server.url);
    terminal.with_nats(&login("password = \"hunter2\""));
    let (codes, exit) = ailments(&terminal, &[]).await;
    assert!(codes.contains("NATS_REFUSED") && exit == 7, "{codes:?}");
    let config = std::fs::read_to_string(terminal.path("agent.toml")).unwrap();
    terminal.write("agent.toml", &config.replace("password = \"hunter2\"", "password = \"right\""));
    let (codes, exit) = ailments(&terminal, &[]).await;
    assert!(codes.contains("NATS_FORBIDDEN") && exit == 7, "{codes:?}");
    terminal.write("agent.toml", &config.replace("password = \"hunter2\"", "password_file = \"not-there\""));
    let (codes, exit) = ailments(&terminal, &[]).await;
    assert!(codes.contains("NATS_PASSWORD_UNREADABLE") && exit == 7, "{codes:?}");
    assert!(!codes.contains("NATS_UNREACHABLE"), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_server_is_looked_at_and_one_that_is_gone_is_no_problem_while_another_answers() {
    let bus = Bus::start(43).await;
    let terminal = healthy(&bus, 43).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    terminal.with_nats(&format!("url = [\"nats://{gone}\", \"{}\"]", bus.url));
    let output = terminal.command(&["doctor"]).await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |code: &str| {
        let findings = report["findings"].as_array().unwrap().iter();
        findings.filter(|finding| finding["code"] == code).cloned().collect::<Vec<_>>()
    };
    let (unreachable, answered) = (of("NATS_UNREACHABLE"), of("NATS_ANSWERED"));
    assert_eq!((unreachable.len(), answered.len()), (1, 1), "{report}");
    assert_eq!(unreachable[0]["level"], "warning");
    assert!(unreachable[0]["about"].as_str().unwrap().contains(&gone.to_string()), "{report}");
    assert_eq!(output.status.code(), Some(0), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_agent_writes_for_others_and_where_offers_lie_is_looked_at() {
    let bus = Bus::start(44).await;
    let terminal = healthy(&bus, 44).await;
    terminal.configure_top("traces_file = \"spans.jsonl\"\nstanding_file = \"not-there/standing.json\"");
    let key = SigningKey::from_bytes(&[1; 48]).unwrap().public();
    let key: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    terminal.configure(&format!(
        "[update]\nkeys = [\"{key}\"]\noffer_url = \"http://{gone}/offer\"\ninstall = {{ raw = [\"/bin/true\"] }}\n"
    ));
    let (codes, exit) = ailments(&terminal, &[]).await;
    assert!(codes.contains("FILE_UNWRITABLE") && exit == 7, "{codes:?}");
    assert!(codes.contains("UPDATE_OFFER_UNREACHABLE"), "{codes:?}");
    std::fs::create_dir(terminal.path("not-there")).unwrap();
    let (codes, _) = ailments(&terminal, &[]).await;
    assert!(!codes.contains("FILE_UNWRITABLE"), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_that_ran_and_was_never_activated_has_no_license_and_is_told_how_it_gets_one() {
    let bus = Bus::start(47).await;
    let terminal = Terminal::new(&bus, 47);
    let mut running = terminal.run();
    running.until("code-needed").await;
    running.terminate().await;
    let (codes, _) = ailments(&terminal, &[]).await;
    assert!(codes.contains("NOT_ACTIVATED") && codes.contains("LICENSE_NONE"), "{codes:?}");
}
