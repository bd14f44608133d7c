//! What stands below `ops/deploy` fits the program that it starts.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn text(file: &str) -> String {
    std::fs::read_to_string(tests::root().join(file)).unwrap()
}

/// The health check of each stage or image of a Dockerfile, by the program that it asks.
fn health_checks(file: &str) -> Vec<String> {
    let text = text(file);
    text.lines().filter(|line| line.starts_with("HEALTHCHECK")).map(ToOwned::to_owned).collect()
}

fn timeout_of(check: &str) -> Duration {
    let timeout = check.split("--timeout=").nth(1).and_then(|rest| rest.split('s').next()).unwrap();
    Duration::from_secs(timeout.parse().unwrap())
}

#[test]
fn both_ways_to_an_image_give_it_the_same_health_check() {
    let mut conventional = health_checks("Dockerfile");
    let mut own = ["muster", "muster-agent"]
        .map(|image| health_checks(&format!("ops/deploy/images/{image}.Dockerfile")))
        .concat();
    conventional.sort();
    own.sort();
    assert_eq!((conventional.len(), &conventional), (2, &own));
}

/// A status that only reads flash says nothing of an agent that hangs.
#[test]
fn an_agents_image_is_asked_for_an_answer_and_waits_for_it_longer_than_the_question_takes() {
    let check = health_checks("ops/deploy/images/muster-agent.Dockerfile").remove(0);
    assert!(check.contains("\"status\", \"--running\""), "{check}");
    assert!(timeout_of(&check) > edge_agent::shell::control::ALIVE_WITHIN, "{check}");
}

/// A node in the middle of its repair lives and is not ready: who would end it for that would end its repair, for ever.
#[test]
fn a_nodes_image_is_asked_whether_it_lives_and_waits_for_the_answer_longer_than_the_question_takes() {
    let check = health_checks("ops/deploy/images/muster.Dockerfile").remove(0);
    assert!(check.contains("\"--live\""), "{check}");
    assert!(timeout_of(&check) > ops::cli::HEALTH_WITHIN, "{check}");
}

#[test]
fn the_service_manager_starts_a_node_again_unless_its_disk_failed() {
    let unit = text("ops/deploy/systemd/muster-node.service");
    assert!(unit.contains("\nRestart=always\n"));
    let kept_down = unit.lines().filter(|line| line.starts_with("RestartPreventExitStatus="));
    let only = format!("RestartPreventExitStatus={}", ops::exit::DISK_FAILED);
    assert_eq!(kept_down.collect::<Vec<_>>(), [only.as_str()]);
}

/// The operator's token opens everything; a node knows its digest.
#[test]
fn no_guide_gives_the_operators_token_to_a_node() {
    let compose = text("ops/deploy/compose/compose.yaml");
    assert!(!compose.contains("operator.token"));
    for guide in ["nodes/OPERATING.md", "ops/deploy/systemd/muster-node.service"] {
        for line in text(guide).lines().filter(|line| line.contains("operator.token")) {
            assert!(line.contains("Keep off all nodes"), "{guide}: {line}");
        }
    }
}

/// Where a log is kept rather than looked at, escape codes make its lines hard to search.
#[test]
fn logs_of_containers_and_units_have_no_colours() {
    for (file, wanted) in [
        ("Dockerfile", "NO_COLOR=1\n"),
        ("ops/deploy/images/muster.Dockerfile", "NO_COLOR=1\n"),
        ("ops/deploy/images/muster-agent.Dockerfile", "NO_COLOR=1\n"),
        ("ops/deploy/systemd/muster-node.service", "\nEnvironment=NO_COLOR=1\n"),
        ("edge-agent/systemd/muster-agent.service", "\nEnvironment=NO_COLOR=1\n"),
    ] {
        assert!(text(file).contains(wanted), "{file}");
    }
}

/// Runs `muster` where the script would run it in a container; `broken` is the command that fails, if there is a file that
/// names it.
const DOCKER: &str = r#"#!/usr/bin/env bash
[[ $1 == image ]] && exit 0
while [[ $1 != muster:* ]]; do
  [[ $1 == --volume ]] && dir="${2%:/state}"
  shift
done
shift
[[ -e broken && $1 == "$(cat broken)" ]] && exit 9
cd "$dir" && exec "$MUSTER" "$@"
"#;

#[test]
fn what_prepares_the_compose_cluster_can_be_run_again_after_it_failed_and_never_over_a_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::copy(tests::root().join("ops/deploy/compose/prepare"), at("prepare")).unwrap();
    std::fs::create_dir(at("bin")).unwrap();
    std::fs::write(at("bin/docker"), DOCKER).unwrap();
    std::fs::set_permissions(at("bin/docker"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", at("bin").display(), std::env::var("PATH").unwrap());
    let prepare = || {
        let mut command = std::process::Command::new("bash");
        command.arg(at("prepare")).env("PATH", &path).env("MUSTER", tests::muster());
        let ran = command.output().unwrap();
        (ran.status.success(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    if std::process::Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: no openssl");
        return;
    }
    std::fs::write(at("broken"), "cluster").unwrap();
    assert!(!prepare().0);
    assert!(!at("state").exists(), "nothing half-made is called the state");
    std::fs::remove_file(at("broken")).unwrap();
    let (done, said) = prepare();
    assert!(done, "{said}");
    let token = std::fs::read(at("state/cluster/operator.token")).unwrap();
    assert!(
        at("state/nats/nats.conf").exists() && at("state/nats-tls/tls.pem").exists() && at(".env").exists()
    );
    assert!(!at("state.new").exists());
    let (done, said) = prepare();
    assert!(!done && said.contains("holds a cluster already"), "{said}");
    assert_eq!(std::fs::read(at("state/cluster/operator.token")).unwrap(), token);
}
