//! Events of a version to come: a live node halts, who only reads may pass over them, counted.

use crate::author::Author;
use crate::story::{Unit, by_hand, found};
use crate::what_if::replayed;
use crate::{muster, muster_json, path};
use events::vocabulary::shared::OperationKind;
use events::vocabulary::{Event, FlagCleared};

#[test]
fn replay_halts_at_an_unknown_kind_and_passes_over_it_only_when_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::begin(dir.path());
    found(&mut author);
    let unit = Unit::alive(&mut author, 1);
    assert!(!Event::KINDS.contains(&60_000));
    let restrict = by_hand(OperationKind::Restrict, unit.device, "while we look");
    let index =
        author.commit_unknown(60_000, &restrict, &by_hand(OperationKind::Notify, unit.device, "call us"));
    author.stop();
    let [data, folder, keyring, file] = &author.flags();

    let ran = muster(&["replay", data, folder, keyring, file]);
    assert_eq!(ran.code, 5);
    for words in ["event kind 60000", "--skip-unknown", "segment-0000000000000001.log at offset"] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert!(ran.stderr.contains(&format!("--until {}", index - 1)), "{}", ran.stderr);

    let said = muster_json(&["replay", data, folder, keyring, file, "--skip-unknown"]);
    assert_eq!((&said["applied"], &said["skipped"]), (&index.into(), &serde_json::json!({ "60000": 1 })));
    let device = unit.device.to_string();
    let at = muster_json(&[
        "replay",
        "at",
        "now",
        "device",
        &device,
        data,
        folder,
        keyring,
        file,
        "--skip-unknown",
    ]);
    assert_eq!(at["device"]["summary"]["legitimacy"], "restricted", "the events around it count");
    let ordinals: Vec<_> = at["device"]["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|operation| operation["directive"]["id"]["ordinal"].as_u64().unwrap())
        .collect();
    assert_eq!(ordinals, [0, 2], "orders keep the place by which they are named");
    let human = muster(&["replay", data, folder, keyring, file, "--skip-unknown"]);
    assert!(human.stdout.contains("1 of kind 60000"), "{}", human.stdout);

    let stat = muster_json(&["log", "stat", data, folder, keyring, file]);
    assert_eq!(stat["events"]["unknown kind 60000"]["count"], 1);
}

/// A log with one event of a kind to come, in one entry with the end of a flag.
fn log_to_come(dir: &std::path::Path) -> Author {
    let mut author = Author::begin(dir);
    found(&mut author);
    let unit = Unit::alive(&mut author, 1);
    replayed(&mut author, 5);
    replayed(&mut author, 20);
    let flag = author.fold.flags().next().unwrap().id;
    let cleared = FlagCleared { flag, by: "ada".into(), reason: "our own test rig".into() };
    let notify = by_hand(OperationKind::Notify, unit.device, "call us");
    author.commit_unknown(60_000, &cleared.into(), &notify);
    author.stop();
    author
}

#[test]
fn every_answer_about_a_log_of_which_something_was_passed_over_says_how_much() {
    let dir = tempfile::tempdir().unwrap();
    let author = log_to_come(dir.path());
    let [data, folder, keyring, file] = &author.flags();
    let counted = serde_json::json!({ "60000": 1 });
    let ask = |verb: &[&str]| {
        let arguments = [verb, &[data, folder, keyring, file, "--skip-unknown"]].concat();
        (muster_json(&arguments), muster(&arguments))
    };
    let (said, human) = ask(&["replay", "at", "now"]);
    assert_eq!(said["skipped"], counted);
    assert!(human.stdout.contains("SKIPPED     1 of kind 60000"), "{}", human.stdout);

    let (said, human) = ask(&["replay", "diff", "3", "now"]);
    assert_eq!((&said["from"]["skipped"], &said["to"]["skipped"]), (&serde_json::Value::Null, &counted));
    assert!(human.stdout.contains("SKIPPED     1 of kind 60000"), "{}", human.stdout);

    let out = dir.path().join("events.csv");
    let (said, human) = ask(&["replay", "export", "--out", path(&out)]);
    assert_eq!(said["skipped"], counted);
    assert!(human.stdout.contains("SKIPPED     1 of kind 60000"), "{}", human.stdout);
    let rows = muster(&["replay", "export", data, folder, keyring, file, "--skip-unknown"]);
    assert!(rows.stderr.contains("skipped 1 of kind 60000"), "{}", rows.stderr);
    assert!(!rows.stdout.contains("SKIPPED"), "nothing but rows");
}

#[test]
fn under_other_settings_the_same_is_passed_over_and_what_stands_beside_it_still_counts() {
    let dir = tempfile::tempdir().unwrap();
    let author = log_to_come(dir.path());
    let [data, folder, keyring, file] = &author.flags();
    // The flag is raised earlier, and so has another id there.
    let other = dir.path().join("other.toml");
    std::fs::write(&other, "replay = { capacity = 3, leak_every_ms = 6000 }\n").unwrap();
    let said = muster_json(&[
        "replay",
        "diff",
        "default",
        path(&other),
        data,
        folder,
        keyring,
        file,
        "--skip-unknown",
    ]);
    let counted = serde_json::json!({ "60000": 1 });
    assert_eq!((&said["from"]["skipped"], &said["to"]["skipped"]), (&counted, &counted), "{said}");
    for side in ["from", "to"] {
        let flag = &said["flags_only"][side][0];
        assert_eq!(flag["cleared"]["by"], "ada", "it was cleared under both: {said}");
    }
}

#[test]
fn a_sound_log_of_a_newer_version_is_sound_and_can_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let author = log_to_come(dir.path());
    let [data, folder, keyring, file] = &author.flags();
    let verified = muster_json(&["log", "verify", data, folder, keyring, file]);
    assert_eq!((&verified["ok"], &verified["unknown"]), (&true.into(), &serde_json::json!({ "60000": 1 })));
    let human = muster(&["log", "verify", data, folder, keyring, file]).stdout;
    assert!(human.contains("The log is sound") && human.contains("1 of kind 60000"), "{human}");

    for verb in ["cat", "tail"] {
        let ran = muster(&["log", verb, data, folder, keyring, file, "--json"]);
        assert_eq!(ran.code, 0, "{verb}: {}", ran.stderr);
        let last: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
        assert_eq!(last["unknown"], serde_json::json!({ "60000": 1 }), "{last}");
        assert_eq!(last["events"].as_array().unwrap().len(), 2, "those around it are shown: {last}");
        let human = muster(&["log", verb, data, folder, keyring, file]).stdout;
        assert!(human.contains("1 of unknown kind 60000"), "{human}");
    }
}
