//! Folders that are no log, of another cluster, half-copied, damaged, or being written.

use crate::author::Author;
use crate::story::{Unit, fleet, found};
use crate::{muster, muster_json, path};
use events::ids::ClusterId;
use events::keyring::Keyring;
use nodes::entropy::{EntropyRng, OsEntropy};
use std::path::Path;

/// Changes one byte.
pub(crate) fn flip(file: &Path, offset: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[offset] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

pub(crate) fn copy_log(from: &Author, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from.data().join("log")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// The index that an error says can still be read.
fn readable(stderr: &str) -> u64 {
    let (_, rest) = stderr.split_once("--until ").unwrap_or_else(|| panic!("says nothing to do: {stderr}"));
    rest.split('.').next().unwrap().parse().unwrap()
}

#[test]
fn a_folder_without_a_log_is_refused_and_says_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(&dir.path().join("log"));
    let [_, _, keyring, file] = &fleet.author.flags();
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let device = fleet.cloned.device.to_string();
    for folder in [path(&empty), "/nowhere", path(&dir.path().join("log/keyring.json"))] {
        for verb in [&["replay"][..], &["log", "cat"], &["log", "stat"], &["device", "explain", &device]] {
            let mut arguments = verb.to_vec();
            arguments.extend(["--data", folder, keyring, file]);
            let ran = muster(&arguments);
            assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
            let said = ran.stderr.contains(folder) && ran.stderr.contains("expected a node's data directory");
            assert!(said, "{arguments:?}: {}", ran.stderr);
        }
    }
    assert_eq!(muster(&["replay", keyring, file]).code, 2, "no folder at all");
}

#[test]
fn a_log_without_its_keys_or_of_another_cluster_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(&dir.path().join("log"));
    let [data, folder, ..] = &fleet.author.flags();
    let (own, rng) = (fleet.author.keyring.cluster, &mut EntropyRng(&OsEntropy));
    let other_cluster = Keyring::generate(rng, ClusterId::from_bytes([8; 16]));
    let other_keys = Keyring::generate(rng, own);
    let file = dir.path().join("other.json");
    for (keyring, words) in [
        (&other_cluster, vec![own.to_string(), other_cluster.cluster.to_string(), "--keyring".into()]),
        (&other_keys, vec!["segment-0000000000000001.log cannot be opened".into(), "--keyring".into()]),
    ] {
        std::fs::write(&file, keyring.to_json().as_bytes()).unwrap();
        let ran = muster(&["replay", data, folder, "--keyring", path(&file)]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(words.iter().all(|word| ran.stderr.contains(word)), "{words:?}: {}", ran.stderr);
    }
    let ran = muster(&["replay", data, folder, "--keyring", "/nowhere/keyring.json"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("/nowhere/keyring.json"), "{}", ran.stderr);
}

#[test]
fn damage_is_named_by_file_and_offset_and_what_lies_before_it_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let damaged = fleet.author.segment(2);
    flip(&damaged, 700);
    let ran = muster(&["replay", data, folder, keyring, file]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(
        ran.stderr.contains(path(&damaged)) && ran.stderr.contains("corrupt at offset"),
        "{}",
        ran.stderr
    );
    let last = readable(&ran.stderr);
    let said = muster_json(&["replay", data, folder, keyring, file, "--until", &last.to_string()]);
    assert_eq!(said["digest"], fleet.author.digest(last));
    assert_eq!(muster(&["replay", data, folder, keyring, file, "--until", &(last + 1).to_string()]).code, 5);
    for verb in [&["cat"][..], &["stat"], &["tail", "-n", "1000"], &["verify"]] {
        let ran = muster(&[&["log"], verb, &[data, folder, keyring, file]].concat());
        assert_eq!(ran.code, 5, "{verb:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(path(&damaged)), "{verb:?}: {}", ran.stderr);
    }
    // The last entries lie behind it, and nothing else is read for them.
    let ran = muster(&["log", "tail", data, folder, keyring, file, "-n", "2"]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 2), "{}", ran.stderr);
}

#[test]
fn of_a_half_copied_log_the_part_before_the_missing_file_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let missing = fleet.author.segment(2);
    std::fs::remove_file(&missing).unwrap();
    let ran = muster(&["replay", data, folder, keyring, file]);
    assert_eq!(ran.code, 5);
    assert!(ran.stderr.contains(path(&missing)) && ran.stderr.contains("missing"), "{}", ran.stderr);
    let last = readable(&ran.stderr);
    let said = muster_json(&["replay", data, folder, keyring, file, "--until", &last.to_string()]);
    assert_eq!(said["digest"], fleet.author.digest(last));

    std::fs::remove_file(fleet.author.segment(1)).unwrap();
    let ran = muster(&["replay", data, folder, keyring, file]);
    assert_eq!(ran.code, 5);
    assert!(ran.stderr.contains("Nothing can be read before it"), "{}", ran.stderr);
}

#[test]
fn a_copy_that_was_cut_short_in_the_middle_of_the_log_is_damage_and_at_its_end_is_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let cut = |segment: u64| {
        let path = fleet.author.segment(segment);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    };
    let newest = (1..).take_while(|number| fleet.author.segment(*number).exists()).last().unwrap();
    cut(newest);
    let said = muster_json(&["replay", data, folder, keyring, file]);
    assert_eq!(said["digest"], fleet.author.digest(said["applied"].as_u64().unwrap()));
    cut(1);
    let ran = muster(&["replay", data, folder, keyring, file]);
    assert_eq!(ran.code, 5);
    assert!(ran.stderr.contains("segment-0000000000000001.log is corrupt at offset"), "{}", ran.stderr);
}

#[test]
fn what_one_folder_lacks_is_read_from_another_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(&dir.path().join("log"));
    let [data, folder, keyring, file] = &fleet.author.flags();
    let copy = dir.path().join("copy");
    copy_log(&fleet.author, &copy);
    let damaged = fleet.author.segment(2);
    flip(&damaged, 700);
    std::fs::remove_file(copy.join("segment-0000000000000003.log")).unwrap();
    let whole = muster(&["replay", data, path(&copy), data, folder, keyring, file]);
    assert_eq!(whole.code, 5, "both lack what lies behind: {}", whole.stdout);

    std::fs::copy(fleet.author.segment(3), copy.join("segment-0000000000000003.log")).unwrap();
    let said = muster_json(&["replay", data, path(&copy), data, folder, keyring, file]);
    assert_eq!(said["digest"], fleet.author.digest(fleet.author.index()));
    assert!(said["damaged"][0].as_str().unwrap().contains(path(&damaged)), "{said}");
}

#[test]
fn what_came_in_a_snapshot_is_a_gap_that_another_nodes_folder_fills() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Author::begin(&dir.path().join("1"));
    let mut late = Author::begin_with(&dir.path().join("2"), first.keyring.clone(), 2);
    found(&mut first);
    let mut unit = Unit::alive(&mut first, 1);
    let gap = late.take_snapshot_of(&mut first);
    unit.observed(&mut late);
    first.stop();
    late.stop();
    let [data, one, keyring, file] = &first.flags();
    let two = late.data();
    let ran = muster(&["replay", data, path(&two), keyring, file]);
    assert_eq!(ran.code, 5);
    assert!(ran.stderr.contains("came to this node in a snapshot"), "{}", ran.stderr);
    let said = muster_json(&["replay", data, one, data, path(&two), keyring, file]);
    assert_eq!(said["digest"], late.digest(late.index()));
    assert!(said["damaged"].is_null(), "a gap is no damage: {said}");

    let shown = || muster(&["log", "cat", data, path(&two), keyring, file]).stdout;
    assert!(
        shown().contains(&format!("entries {} to {} are not here", gap.from, gap.through)),
        "{}",
        shown()
    );

    late.fill(gap, &first);
    let said = muster_json(&["replay", data, path(&two), keyring, file]);
    assert_eq!(said["digest"], late.digest(late.index()), "what the node fetched since is read with its log");
    assert!(!shown().contains("are not here"), "{}", shown());
    let indices = shown()
        .lines()
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect::<Vec<u64>>();
    assert_eq!(indices, (0..=late.index()).collect::<Vec<_>>(), "each once, in order");
    let stat = muster_json(&["log", "stat", data, path(&two), keyring, file]);
    assert_eq!((&stat["first"], &stat["last"]), (&0.into(), &late.index().into()));
}

#[test]
fn a_log_is_read_while_its_node_writes_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::begin(dir.path());
    found(&mut author);
    let mut unit = Unit::alive(&mut author, 1);
    let [data, folder, keyring, file] = &author.flags();
    for round in 0..5 {
        unit.observed(&mut author);
        if round == 2 {
            author.restart();
        }
        let said = muster_json(&["replay", data, folder, keyring, file]);
        let applied = said["applied"].as_u64().unwrap();
        assert!(applied + 1 >= author.index(), "{applied} of {}", author.index());
        assert_eq!(said["digest"], author.digest(applied));
    }
}

#[test]
fn an_older_copy_does_not_end_the_history_where_a_damaged_folder_went_on() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(&dir.path().join("log"));
    let [data, folder, keyring, file] = &fleet.author.flags();
    let older = dir.path().join("older");
    copy_log(&fleet.author, &older);
    let later = (3..).map(|number| older.join(format!("segment-{number:016}.log")));
    for later in later.take_while(|later| later.exists()).chain([older.join("newest.json")]) {
        std::fs::remove_file(later).unwrap();
    }
    let ended = muster_json(&["replay", data, path(&older), keyring, file])["applied"].as_u64().unwrap();
    assert!(ended < fleet.author.index());
    let damaged = fleet.author.segment(2);
    flip(&damaged, 700);
    for threads in ["1", "2"] {
        let both = ["replay", data, path(&older), data, folder, keyring, file, "--threads", threads];
        let ran = muster(&both);
        assert_eq!(ran.code, 5, "entries behind {ended} are lost: {}", ran.stdout);
        assert!(ran.stderr.contains(path(&damaged)), "{}", ran.stderr);
        assert_eq!(readable(&ran.stderr), ended);
        let said = muster_json(&[&both[..], &["--until", &ended.to_string()]].concat());
        assert_eq!(said["digest"], fleet.author.digest(ended), "so far the older copy makes up for it");
    }
}

#[test]
fn that_two_folders_differ_is_said_beside_whatever_else_is_wrong_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Author::begin(&dir.path().join("1"));
    let mut second = Author::begin_with(&dir.path().join("2"), first.keyring.clone(), 2);
    for author in [&mut first, &mut second] {
        found(author);
        author.restart();
        Unit::alive(author, 1);
        author.stop();
    }
    let [data, one, keyring, file] = &first.flags();
    let two = second.data();
    let verify = || {
        let ran = muster(&["log", "verify", data, one, data, path(&two), keyring, file, "--json"]);
        assert_eq!(ran.code, 5, "{}", ran.stderr);
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()
    };
    std::fs::create_dir(two.join("snapshots")).unwrap();
    std::fs::write(two.join("snapshots/snapshot-00000000000000000003.snap"), b"no snapshot").unwrap();
    let said = verify();
    let (log, snapshots) = (said["faults"].to_string(), said["snapshot_faults"].to_string());
    assert!(log.contains("entry 2 differs") && !log.contains("snapshot-"), "{said}");
    assert!(snapshots.contains("snapshot-00000000000000000003.snap"), "{said}");

    let damaged = second.segment(2);
    flip(&damaged, 700);
    let said = verify();
    let faults = said["faults"].as_array().unwrap();
    let told = |words: &str| faults.iter().filter(|fault| fault.as_str().unwrap().contains(words)).count();
    assert_eq!((told(path(&damaged)), told("entry 2 differs"), faults.len()), (1, 1, 2), "{said}");

    let alone = muster(&["log", "verify", data, path(&two), keyring, file, "--json"]);
    let said: serde_json::Value = serde_json::from_str(&alone.stdout).unwrap();
    assert_eq!(said["faults"].as_array().unwrap().len(), 1, "one fault is told once: {said}");
}
