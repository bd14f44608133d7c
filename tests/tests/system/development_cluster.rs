//! `muster dev`: it must never leave a process behind, whatever ends it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Starts `muster dev` in `dir/run` and waits until it says that the cluster is up.
fn up(dir: &Path) -> Child {
    up_with(dir, &[])
}

/// The same with more arguments.
pub(crate) fn up_with(dir: &Path, more: &[&str]) -> Child {
    let programs = tests::programs();
    let mut command = Command::new(programs.muster);
    command.args(["dev", "--devices", "10", "--dir", "run"]).args(more).current_dir(dir);
    command.env("MUSTER_NATS_SERVER", programs.nats_server).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let up = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("The cluster is up"));
    assert!(up, "muster dev ended before its cluster was up");
    // Whoever goes on writing needs a reader.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// Processes that name `dir` on their command line.
fn processes_of(dir: &Path) -> Vec<String> {
    let dir = dir.canonicalize().unwrap().display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&dir) {
            found.push(line);
        }
    }
    found
}

fn wait_until_gone(dir: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while !processes_of(dir).is_empty() {
        assert!(Instant::now() < deadline, "left behind: {:#?}", processes_of(dir));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_development_cluster_leaves_no_process_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = up(dir.path());
    // nats-server, three nodes, three agents.
    assert_eq!(processes_of(dir.path()).len(), 7, "{:#?}", processes_of(dir.path()));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until_gone(dir.path());
}

#[test]
fn an_interrupted_development_cluster_ends_in_good_order_and_its_logs_are_sound() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = up(dir.path());
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert!(child.wait().unwrap().success());
    wait_until_gone(dir.path());
    for node in 1..=3 {
        let data = format!("run/cluster/nodes/{node}/data");
        let verify = ["log", "verify", "--data", &data, "--context", "run/context.json"];
        let report = crate::support::muster_json(dir.path(), &verify);
        assert_eq!((&report["ok"], &report["torn_tail_bytes"]), (&true.into(), &0.into()), "{report}");
    }
}
