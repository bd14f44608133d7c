//! Logs that are made to measure with: what nodes would have written, and nothing half-written.

use crate::{command, muster, muster_json, path};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const DEVICES: &str = "300";
const HEARTBEATS: &str = "40000";

fn make(out: &Path, more: &[&str]) -> Value {
    let mut arguments = vec!["log", "make", "--out", path(out), "--batch", "64"];
    arguments.extend_from_slice(more);
    muster_json(&arguments)
}

fn replay(out: &Path, more: &[&str]) -> Value {
    let keyring = format!("{}.keyring.json", path(out));
    let mut arguments = vec!["replay", "--data", path(out), "--keyring", &keyring];
    arguments.extend_from_slice(more);
    muster_json(&arguments)
}

fn make_usual(out: &Path, seed: &str) -> Value {
    make(out, &["--devices", DEVICES, "--heartbeats", HEARTBEATS, "--seed", seed])
}

#[test]
fn a_made_log_is_read_as_a_nodes_and_the_fold_takes_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("fleet");
    let made = make_usual(&out, "1");
    let keyring = format!("{}.keyring.json", path(&out));
    let files = ["--data", path(&out), "--keyring", &keyring];
    let with = |words: &[&'static str]| -> Value { muster_json(&[words, &files[..]].concat()) };
    let verified = with(&["log", "verify"]);
    assert_eq!((&verified["ok"], &verified["entries"]), (&true.into(), &made["entries"]));
    let stat = with(&["log", "stat"]);
    assert_eq!(stat["heartbeats"], 40_000);
    let names: Vec<_> = stat["events"].as_object().unwrap().keys().cloned().collect();
    for name in ["DeviceActivated", "SessionResumed", "HeartbeatObserved", "SpoolDrained", "RejectionSummary"]
    {
        assert!(names.iter().any(|held| held == name), "{name} is missing among {names:?}");
    }
    let said = replay(&out, &[]);
    assert_eq!(said["applied"], made["last"]);
    assert_eq!(said["counts"]["legitimacy"], serde_json::json!({ "legitimate": 300 }), "nobody is suspected");
    assert_eq!(said["counts"]["flags"], serde_json::json!({}));
}

#[test]
fn every_event_of_a_made_log_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("fleet");
    make_usual(&out, "2");
    let keyring = format!("{}.keyring.json", path(&out));
    let export = |table| {
        let ran =
            muster(&["replay", "export", "--table", table, "--data", path(&out), "--keyring", &keyring]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    for line in export("events").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let outcome = row["outcome"].as_str().unwrap();
        for refused in ["refused", "declined", "raced", "duplicate", "evidence", "stale"] {
            assert!(!outcome.to_lowercase().contains(refused), "{row}");
        }
    }
    let beats = export("heartbeats");
    let outcome =
        |line: &str| serde_json::from_str::<Value>(line).unwrap()["outcome"].as_str().unwrap().to_owned();
    let committed = beats.lines().filter(|line| outcome(line) == "committed").count();
    let lines = beats.lines().count();
    assert!(
        committed < lines && committed * 1000 > lines * 999,
        "{committed} of {lines} are new, a few are repeated"
    );
}

#[test]
fn the_same_seed_means_the_same_under_other_keys_and_another_seed_another_fleet() {
    let dir = tempfile::tempdir().unwrap();
    let [first, again, other] = ["a", "b", "c"].map(|name| dir.path().join(name));
    make_usual(&first, "7");
    make_usual(&again, "7");
    make_usual(&other, "8");
    let keyring = |out: &Path| std::fs::read(format!("{}.keyring.json", path(out))).unwrap();
    assert_ne!(keyring(&first), keyring(&again));
    let digest = |out: &Path| replay(out, &[])["digest"].clone();
    assert_eq!(digest(&first), digest(&again));
    assert_ne!(digest(&first), digest(&other));
}

#[test]
fn one_core_and_all_cores_fold_to_the_same_state_also_up_to_a_moment_within() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("fleet");
    let made = make_usual(&out, "3");
    let middle = (made["last"].as_u64().unwrap() / 2).to_string();
    for until in [&[][..], &["--until", &middle]] {
        let said = |threads| replay(&out, &[until, &["--threads", threads]].concat());
        let (one, many) = (said("1"), said("4"));
        for key in ["digest", "applied", "entries", "events", "stamp"] {
            assert_eq!(one[key], many[key], "{key}");
        }
        assert_eq!((&one["threads"], &many["threads"]), (&1.into(), &4.into()));
        for key in ["events_per_second", "events_per_second_one_core", "cpu_seconds", "memory_peak_bytes"] {
            assert!(one[key].as_f64().unwrap() > 0.0, "{key}");
        }
    }
}

#[test]
fn what_is_there_is_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("fleet");
    std::fs::create_dir(&out).unwrap();
    let few = ["log", "make", "--devices", "1", "--heartbeats", "1", "--out", path(&out)];
    let ran = muster(&few);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("exists already"), "{}", ran.stderr);
    std::fs::remove_dir(&out).unwrap();
    let keyring = dir.path().join("fleet.keyring.json");
    std::fs::write(&keyring, "mine").unwrap();
    assert_eq!(muster(&few).code, 2);
    assert_eq!(std::fs::read_to_string(&keyring).unwrap(), "mine");
    let inside = path(&out.join("keyring.json")).to_owned();
    let ran = muster(&[&few[..], &["--keyring", &inside]].concat());
    assert!(ran.code == 2 && ran.stderr.contains("beside"), "{}", ran.stderr);
    assert_eq!(names_in(dir.path()), ["fleet.keyring.json"]);
}

#[test]
fn a_plan_that_cannot_be_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("fleet");
    let plan = ["--devices", "1", "--heartbeats", "1"];
    for (more, why) in [
        (&["--devices", "0", "--heartbeats", "1"][..], "--devices"),
        (&[&plan[..], &["--batch", "0"]].concat(), "--batch"),
        (&[&plan[..], &["--batch", "20000"]].concat(), "--batch"),
        (&[&plan[..], &["--interval", "0"]].concat(), "--interval"),
    ] {
        let ran = muster(&[&["log", "make", "--out", path(&out)], more].concat());
        assert!(ran.code == 2 && ran.stderr.contains(why), "{more:?}: {} {}", ran.code, ran.stderr);
    }
    assert!(names_in(dir.path()).is_empty());
}

#[test]
fn interrupted_it_leaves_nothing_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("fleet");
    let mut muster =
        command(&["log", "make", "--devices", "1000", "--heartbeats", "4000000000", "--progress"]);
    muster.args(["--out", path(&out)]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = muster.spawn().unwrap();
    let mut said = BufReader::new(running.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().contains("written"));
    assert_eq!(names_in(dir.path()).len(), 1, "it is writing beside");
    assert!(Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap().success());
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert!(names_in(dir.path()).is_empty());
}

fn names_in(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    std::fs::read_dir(dir).unwrap().map(name).collect()
}
