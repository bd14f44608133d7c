//! One log under two settings: what would have been, for whom, and why.

use crate::author::Author;
use crate::story::{Fleet, Unit, by_hand, fleet, found};
use crate::{muster, muster_json, path};
use events::vocabulary::rejection::{RejectionCount, RejectionReason};
use events::vocabulary::shared::{FlagKind, OperationKind};
use events::vocabulary::{FlagCleared, RejectionSummary};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn settings(dir: &Path, text: &str) -> PathBuf {
    let file = dir.join("other.toml");
    std::fs::write(&file, text).unwrap();
    file
}

fn diff(author: &Author, from: &str, to: &str) -> Value {
    let [data, folder, keyring, file] = &author.flags();
    muster_json(&["replay", "diff", from, to, data, folder, keyring, file])
}

pub(crate) fn replayed(author: &mut Author, count: u32) {
    let entry = RejectionCount {
        source: "shop-7".parse().unwrap(),
        reason: RejectionReason::Replayed,
        device: None,
        count,
    };
    let now = events::time::Timestamp::from_millis(author.now);
    author.accept(RejectionSummary { node: 1, from: now, until: now, entries: vec![entry], overflow: 0 });
}

#[test]
fn the_settings_that_are_printed_are_those_of_live_nodes_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Fleet { author, .. } = fleet(dir.path());
    let printed = muster(&["replay", "settings"]).stdout;
    assert!(printed.contains("restrict_clones = true") && printed.contains("[breaker]"), "{printed}");
    let file = settings(dir.path(), &printed);
    let said = diff(&author, "default", path(&file));
    assert_eq!(said["from"]["digest"], author.digest(author.index()));
    assert_eq!((&said["devices"], &said["from"]), (&serde_json::json!([]), &said["to"]), "{said}");
    assert_eq!(said["flags_only"], serde_json::json!({ "from": [], "to": [] }));
}

#[test]
fn without_the_rule_a_clone_would_not_have_been_restricted_and_the_flag_stands_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let Fleet { author, cloned, ordered, .. } = fleet(dir.path());
    let file = settings(dir.path(), "restrict_clones = false\n");
    let said = diff(&author, "default", path(&file));
    let devices = said["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 1, "{said}");
    assert_eq!(devices[0]["device"], cloned.device.to_string());
    let legitimacy = devices[0]["changes"].as_array().unwrap().iter().find(|at| at["what"] == "legitimacy");
    let legitimacy = legitimacy.unwrap();
    assert_eq!((&legitimacy["from"], &legitimacy["to"]), (&"restricted".into(), &"suspect".into()), "{said}");
    assert!(legitimacy["index"].as_u64().unwrap() <= ordered, "{said}");
    assert_eq!(said["flags_only"], serde_json::json!({ "from": [], "to": [] }));

    let other_way = diff(&author, path(&file), "default");
    let changes = other_way["devices"][0]["changes"].as_array().unwrap();
    let legitimacy = changes.iter().find(|at| at["what"] == "legitimacy").unwrap();
    assert_eq!((&legitimacy["from"], &legitimacy["to"]), (&"suspect".into(), &"restricted".into()));
    let cause = legitimacy["cause"].as_str().unwrap();
    assert!(cause.contains("OperationOrdered") || cause.contains("would have been ordered"), "{cause}");
}

#[test]
fn a_lower_threshold_raises_a_flag_earlier_and_what_people_did_about_later_flags_still_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::begin(dir.path());
    found(&mut author);
    let mut unit = Unit::alive(&mut author, 1);
    replayed(&mut author, 5);
    let ordered = unit.be_cloned(&mut author);
    unit.obey(&mut author, ordered);
    let clone = author.fold.flags().find(|flag| flag.kind == FlagKind::Clone).unwrap().id;
    author.accept(FlagCleared { flag: clone, by: "ada".into(), reason: "a spare board".into() });
    let _ = author.commit(&[by_hand(OperationKind::Reinstate, unit.device, "a spare board")], &[]);
    author.stop();
    let file = settings(dir.path(), "replay = { capacity = 3, leak_every_ms = 6000 }\n");
    let said = diff(&author, "default", path(&file));
    assert_eq!(said["flags_only"]["from"], serde_json::json!([]), "{said}");
    let only = said["flags_only"]["to"].as_array().unwrap();
    assert_eq!((only.len(), &only[0]["kind"]), (1, &"replay".into()), "{said}");
    assert_eq!(said["devices"], serde_json::json!([]), "the clone's case is closed under both: {said}");
}

#[test]
fn a_fleet_that_automation_did_not_want_to_restrict_would_have_been() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::begin(dir.path());
    found(&mut author);
    let mut unit = Unit::alive(&mut author, 1);
    let ordered = unit.be_cloned(&mut author);
    unit.obey(&mut author, ordered);
    author.stop();
    // The breaker of the first stops everything, so that nothing is restricted; the second is as live nodes are.
    let file = settings(dir.path(), "[breaker]\nalways_allowed = 0\nfleet_permille = 0\n");
    let said = diff(&author, path(&file), "default");
    let changes = said["devices"][0]["changes"].as_array().unwrap();
    let legitimacy = changes.iter().find(|at| at["what"] == "legitimacy").unwrap();
    assert_eq!((&legitimacy["from"], &legitimacy["to"]), (&"suspect".into(), &"restricted".into()), "{said}");
}

#[test]
fn settings_that_are_none_are_refused_by_file_and_field() {
    let dir = tempfile::tempdir().unwrap();
    let Fleet { author, .. } = fleet(dir.path());
    let [data, folder, keyring, file] = &author.flags();
    for (text, word) in
        [("restrict_clone = true\n", "restrict_clone"), ("replay = 3\n", "replay"), ("x = [", "TOML")]
    {
        let other = settings(dir.path(), text);
        let ran = muster(&["replay", "diff", "default", path(&other), data, folder, keyring, file]);
        assert_eq!(ran.code, 2, "{text}: {}", ran.stdout);
        assert!(ran.stderr.contains(path(&other)) && ran.stderr.contains(word), "{text}: {}", ran.stderr);
    }
    let other = settings(dir.path(), "");
    let ran = muster(&["replay", "diff", "4", path(&other), data, folder, keyring, file]);
    assert_eq!(ran.code, 2, "a moment and settings: {}", ran.stdout);
}
