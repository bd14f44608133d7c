//! `muster log`: entries one by one, the last ones, and all of them counted.

use crate::author::Author;
use crate::story::{Unit, fleet, found};
use crate::{command, muster, muster_json};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

fn indices(text: &str) -> Vec<u64> {
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap()).collect()
}

#[test]
fn cat_prints_every_entry_between_two_moments() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let all = muster(&["log", "cat", data, folder, keyring, file, "--json"]);
    assert_eq!(indices(&all.stdout), (0..=fleet.author.index()).collect::<Vec<_>>());
    let some = muster(&["log", "cat", data, folder, keyring, file, "--json", "--from", "4", "--until", "6"]);
    assert_eq!(indices(&some.stdout), [4, 5, 6]);
    let second_day = muster(&["log", "cat", data, folder, keyring, file, "--json", "--since", "2025-10-10"]);
    assert_eq!(indices(&second_day.stdout), (fleet.quiet + 1..=fleet.author.index()).collect::<Vec<_>>());
}

#[test]
fn tail_prints_the_last_entries() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let last = fleet.author.index();
    let ran = muster(&["log", "tail", data, folder, keyring, file, "--json", "-n", "3"]);
    assert_eq!(indices(&ran.stdout), [last - 2, last - 1, last]);
}

#[test]
fn tail_follows_a_running_node_across_its_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::begin(dir.path());
    found(&mut author);
    let mut unit = Unit::alive(&mut author, 1);
    // What was committed reaches the file for sure when the log is closed.
    author.restart();
    let [data, folder, keyring, file] = &author.flags();
    let mut child = command(&["log", "tail", data, folder, keyring, file, "--json", "--follow", "-n", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || indices(&said.next().unwrap().unwrap())[0];
    assert_eq!(next(), author.index());
    unit.observed(&mut author);
    assert_eq!(next(), author.index());
    author.restart();
    author.be_overruled();
    assert_eq!(next(), author.index());
    for _ in 0..3 {
        unit.observed(&mut author);
        assert_eq!(next(), author.index());
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn stat_counts_what_the_log_holds() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let stat = muster_json(&["log", "stat", data, folder, keyring, file]);
    assert_eq!(
        (&stat["entries"], &stat["last"]),
        (&(fleet.author.index() + 1).into(), &fleet.author.index().into())
    );
    assert_eq!((&stat["heartbeats"], &stat["events"]["DeviceActivated"]["count"]), (&10.into(), &2.into()));
    assert_eq!(stat["terms"], 3);
    assert_eq!(stat["bytes"], segment_bytes(&fleet.author.data().join("log")));
    let human = muster(&["log", "stat", data, folder, keyring, file]);
    assert!(human.stdout.contains("10 routine"), "{}", human.stdout);
}

#[test]
fn a_hole_is_told_in_its_place_to_people_and_to_programs() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Author::begin(&dir.path().join("1"));
    let mut late = Author::begin_with(&dir.path().join("2"), first.keyring.clone(), 2);
    found(&mut first);
    let mut unit = Unit::alive(&mut first, 1);
    let gap = late.take_snapshot_of(&mut first);
    unit.observed(&mut late);
    first.stop();
    late.stop();
    let [data, folder, keyring, file] = &late.flags();
    let hole = serde_json::json!({ "entry": "gap", "from": gap.from, "through": gap.through });
    for verb in [&["cat"][..], &["tail", "-n", "1000"]] {
        let arguments = [&["log"], verb, &[data, folder, keyring, file, "--json"]].concat();
        let lines: Vec<Value> =
            muster(&arguments).stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let at = lines.iter().position(|line| *line == hole);
        let at = at.unwrap_or_else(|| panic!("{verb:?} tells no hole: {lines:?}"));
        assert_eq!(lines[at + 1]["index"], gap.through + 1);
    }
    let stat = muster_json(&["log", "stat", data, folder, keyring, file]);
    assert_eq!(stat["gaps"], serde_json::json!([[gap.from, gap.through]]));
    let human = muster(&["log", "stat", data, folder, keyring, file]).stdout;
    assert!(human.contains(&format!("NOT HERE    entries {} to {}", gap.from, gap.through)), "{human}");

    late.fill(gap, &first);
    let stat = muster_json(&["log", "stat", data, folder, keyring, file]);
    assert_eq!((&stat["gaps"], &stat["entries"]), (&serde_json::json!([]), &(late.index() + 1).into()));
    let bytes = segment_bytes(&late.data().join("log")) + segment_bytes(&late.data().join("backfill"));
    assert_eq!(stat["bytes"], bytes, "what it fetched is on its disk too");
}

fn segment_bytes(folder: &std::path::Path) -> u64 {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap())
        .filter(|file| file.file_name().to_str().unwrap().starts_with("segment-"))
        .map(|file| file.metadata().unwrap().len())
        .sum()
}
