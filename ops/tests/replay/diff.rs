//! What changed, for whom, and by which entry.

use crate::author::Author;
use crate::story::{Unit, by_hand, code, fleet, found};
use crate::{muster, muster_json, path};
use events::vocabulary::shared::OperationKind;
use events::vocabulary::{CodeVoided, Tick};
use serde_json::Value;

fn change<'a>(said: &'a Value, device: &str, what: &str) -> &'a Value {
    let devices = said["devices"].as_array().unwrap();
    let device = devices.iter().find(|found| found["device"] == device).unwrap_or(&Value::Null);
    let changes = device["changes"].as_array();
    changes.and_then(|changes| changes.iter().find(|change| change["what"] == what)).unwrap_or(&Value::Null)
}

#[test]
fn between_two_moments_every_change_names_the_entry_that_caused_it() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let (from, to) = (fleet.quiet.to_string(), fleet.author.index().to_string());
    let said = muster_json(&["replay", "diff", &from, &to, data, folder, keyring, file]);
    assert_eq!(said["from"]["digest"], fleet.author.digest(fleet.quiet));
    assert_eq!(said["to"]["digest"], fleet.author.digest(fleet.author.index()));

    let cloned = fleet.cloned.device.to_string();
    let restricted = change(&said, &cloned, "legitimacy");
    assert_eq!((&restricted["from"], &restricted["to"]), (&"legitimate".into(), &"restricted".into()));
    let flags = change(&said, &cloned, "flags");
    assert_eq!((&flags["from"], &flags["to"]), (&"-".into(), &"clone".into()));
    let (index, cause) = (flags["index"].as_u64().unwrap(), flags["cause"].as_str().unwrap());
    assert!(index > fleet.quiet && index < fleet.ordered, "{flags}");
    assert!(cause.contains("flag clone raised, evidence at log index"), "{cause}");
    let by_order = restricted["cause"].as_str().unwrap();
    assert!(by_order.contains("OperationOrdered restrict, because of flag"), "{restricted}");
    assert_eq!(restricted["index"], fleet.ordered);

    let honest = fleet.honest.device.to_string();
    let epoch = change(&said, &honest, "epoch");
    assert_eq!((&epoch["to"], &epoch["index"]), (&"2".into(), &fleet.author.index().into()), "{said}");
    assert_eq!(change(&said, &honest, "legitimacy"), &Value::Null);
}

#[test]
fn a_moment_does_not_differ_from_itself_and_the_later_one_comes_second() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let same = muster(&["replay", "diff", "9", "9", data, folder, keyring, file]);
    assert!(same.stdout.contains("No device stands otherwise"), "{}{}", same.stdout, same.stderr);
    assert_eq!(muster(&["replay", "diff", "9", "8", data, folder, keyring, file]).code, 2);
    assert_eq!(muster(&["replay", "diff", "9", folder, data, folder, keyring, file]).code, 2);
}

#[test]
fn two_nodes_folders_that_hold_the_same_are_equal_and_others_part_at_a_named_entry() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Author::begin(&dir.path().join("1"));
    let mut second = Author::begin_with(&dir.path().join("2"), first.keyring.clone(), 2);
    let mut units = Vec::new();
    for author in [&mut first, &mut second] {
        found(author);
        units.push(Unit::alive(author, 1));
    }
    // Batches name the node that made them, so the same things done on two nodes are different entries.
    first.restart();
    second.restart();
    let keyring = first.dir.join("keyring.json");
    let copy = dir.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for segment in std::fs::read_dir(first.data().join("log")).unwrap() {
        let segment = segment.unwrap();
        std::fs::copy(segment.path(), copy.join(segment.file_name())).unwrap();
    }
    let (one, two) = (first.data(), second.data());
    let same = muster(&["replay", "diff", path(&one), path(&copy), "--keyring", path(&keyring)]);
    assert_eq!(same.code, 0, "{}", same.stderr);

    units[1].resume(&mut second);
    units[1].observed(&mut second);
    let (unlike, ended) = (units[0].device.to_string(), second.index());
    units[0].observed(&mut first);
    units[0].observed(&mut first);
    first.stop();
    second.stop();
    let ran = muster(&["replay", "diff", path(&one), path(&two), "--keyring", path(&keyring), "--json"]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(said["first_other_entry"]["index"], 2, "{said}");
    let epoch = change(&said, &unlike, "epoch");
    assert_eq!(
        (&epoch["from"], &epoch["to"], &epoch["index"]),
        (&"1".into(), &"2".into(), &ended.into()),
        "{said}"
    );

    let both = muster(&["replay", "--data", path(&one), "--data", path(&two), "--keyring", path(&keyring)]);
    assert_eq!(both.code, 5);
    assert!(both.stderr.contains("entry 2 differs"), "{}", both.stderr);
}

#[test]
fn the_later_moment_is_refused_as_the_first_whatever_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    for (from, to) in [("now", "9"), ("9", "2025-10-09"), ("2025-10-11", "9")] {
        let ran = muster(&["replay", "diff", from, to, data, folder, keyring, file]);
        assert_eq!(ran.code, 2, "{from} {to}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("give the earlier moment first"), "{}", ran.stderr);
    }
    let end = fleet.author.index().to_string();
    let same = muster(&["replay", "diff", "now", &end, data, folder, keyring, file]);
    assert_eq!(same.code, 0, "both name the end: {}", same.stderr);
}

#[test]
fn two_folders_that_part_in_what_is_not_in_the_state_are_not_equal() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Author::begin(&dir.path().join("1"));
    let mut second = Author::begin_with(&dir.path().join("2"), first.keyring.clone(), 1);
    for (author, reason) in [(&mut first, "a refund"), (&mut second, "a favour")] {
        found(author);
        author.accept(CodeVoided { code: code(7), reason: reason.into() });
        author.stop();
    }
    let (one, two) = (first.data(), second.data());
    let keyring = first.dir.join("keyring.json");
    let ran = muster(&["replay", "diff", path(&one), path(&two), "--keyring", path(&keyring), "--json"]);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(said["from"]["digest"], said["to"]["digest"], "no state keeps why a code was voided");
    assert_eq!((ran.code, &said["first_other_entry"]["index"]), (5, &first.index().into()), "{said}");
}

#[test]
fn of_what_moved_either_log_the_later_entry_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Author::begin(&dir.path().join("1"));
    let mut second = Author::begin_with(&dir.path().join("2"), first.keyring.clone(), 2);
    let [mut left, mut right] = [&mut first, &mut second].map(|author| {
        found(author);
        Unit::alive(author, 1)
    });
    right.resume(&mut second);
    right.observed(&mut second);
    second.accept(Tick {});
    left.resume(&mut first);
    left.resume(&mut first);
    left.observed(&mut first);
    assert_eq!(first.index(), second.index());
    first.stop();
    second.stop();
    let (one, two) = (first.data(), second.data());
    let keyring = first.dir.join("keyring.json");
    let ran = muster(&["replay", "diff", path(&one), path(&two), "--keyring", path(&keyring), "--json"]);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    let epoch = change(&said, &left.device.to_string(), "epoch");
    let last = first.index();
    assert_eq!((&epoch["from"], &epoch["to"], &epoch["index"]), (&"3".into(), &"2".into(), &last.into()));
}

#[test]
fn a_directive_that_a_terminal_ignored_is_explained_by_its_heartbeats() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::begin(dir.path());
    found(&mut author);
    let mut unit = Unit::alive(&mut author, 1);
    let _ = author.commit(&[by_hand(OperationKind::Rekey, unit.device, "a new key, please")], &[]);
    let ordered = author.index();
    while author.fold.device(unit.slot).unwrap().directive().is_some() {
        let row = unit.row(&author);
        let _ = author.commit(&[], &[row]);
        assert!(author.index() < ordered + 20, "nobody gives it up");
    }
    let settled = author.index();
    author.stop();
    let [data, folder, keyring, file] = &author.flags();
    let from = ordered.to_string();
    let said = muster_json(&["replay", "diff", &from, "now", data, folder, keyring, file]);
    let directive = change(&said, &unit.device.to_string(), "directive");
    assert_eq!((&directive["to"], &directive["index"]), (&"-".into(), &settled.into()), "{said}");
    let cause = directive["cause"].as_str().unwrap();
    assert!(cause.contains("which reports no directive as obeyed"), "{cause}");
}
