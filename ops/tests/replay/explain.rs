//! The whole story of a device, from files.

use crate::author::Author;
use crate::story::{Unit, by_hand, fleet, found};
use crate::{muster, muster_json};
use events::vocabulary::shared::OperationKind;

#[test]
fn the_story_is_told_from_burn_to_the_last_operation_with_evidence_and_log_indices() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let device = fleet.cloned.device.to_string();
    let story = muster_json(&["device", "explain", &device, data, folder, keyring, file]);
    let lines = story["lines"].as_array().unwrap();
    let find = |words: &str| {
        let found = lines.iter().find(|line| line["what"].as_str().unwrap().contains(words));
        found.unwrap_or_else(|| panic!("nothing says `{words}`: {lines:#?}"))
    };
    for words in ["burned at", "activated", "spoke under epoch 1", "suspect → restricted", "restrict obeyed"]
    {
        find(words);
    }
    assert!(find("flag clone raised")["what"].as_str().unwrap().contains("evidence at log index"));
    let ordered = find("restrict ordered by policy");
    assert_eq!(ordered["index"], fleet.ordered);
    assert!(ordered["what"].as_str().unwrap().contains("because of flag"), "{ordered}");
    let indices: Vec<_> = lines.iter().map(|line| line["index"].as_u64().unwrap()).collect();
    assert!(indices.is_sorted(), "{indices:?}");

    let human = muster(&["device", "explain", &device, data, folder, keyring, file]);
    assert!(human.stdout.contains(" is restricted, as of log index"), "{}", human.stdout);
}

#[test]
fn no_line_of_a_long_story_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::begin(dir.path());
    found(&mut author);
    let mut unit = Unit::alive(&mut author, 1);
    for _ in 0..60 {
        unit.resume(&mut author);
        unit.observed(&mut author);
    }
    let kept = author.fold.story(&unit.device);
    assert!(kept.iter().any(|line| line.what.contains("left out")), "the state keeps a part only");
    author.stop();
    let [data, folder, keyring, file] = &author.flags();
    let story = muster_json(&["device", "explain", &unit.device.to_string(), data, folder, keyring, file]);
    let lines: Vec<_> =
        story["lines"].as_array().unwrap().iter().map(|line| line["what"].as_str().unwrap()).collect();
    for epoch in 2..=61 {
        let resumed = format!("resumed from epoch {}: epoch {epoch}", epoch - 1);
        assert!(lines.contains(&resumed.as_str()), "{resumed}");
        assert!(lines.contains(&format!("spoke under epoch {epoch}").as_str()));
    }
    assert!(!lines.iter().any(|line| line.contains("left out")));
}

#[test]
fn a_long_outage_is_told_whole_although_it_comes_in_many_heartbeats() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::begin(dir.path());
    found(&mut author);
    let mut unit = Unit::alive(&mut author, 1);
    unit.drain(&mut author, 32);
    let first = author.index();
    unit.drain(&mut author, 32);
    let _ = author.commit(&[by_hand(OperationKind::Notify, unit.device, "call us")], &[]);
    unit.drain(&mut author, 32);
    unit.drain(&mut author, 16);
    author.stop();
    let [data, folder, keyring, file] = &author.flags();
    let device = unit.device.to_string();
    let brought = |story: &serde_json::Value| -> Vec<_> {
        let lines = story["lines"].as_array().unwrap().iter();
        let lines = lines.map(|line| (line["index"].as_u64().unwrap(), line["what"].as_str().unwrap()));
        lines.filter_map(|(at, what)| Some((at, what.strip_prefix("brought ")?[..2].to_owned()))).collect()
    };
    let whole = muster_json(&["device", "explain", &device, data, folder, keyring, file]);
    let told = brought(&whole);
    assert_eq!(told.iter().map(|(_, bodies)| bodies.as_str()).collect::<Vec<_>>(), ["64", "48"], "{whole}");
    assert_eq!(told[0].0, first, "it began there");
    for since in [first, first + 1] {
        let since = since.to_string();
        let said =
            muster_json(&["replay", data, folder, keyring, file, "--since", &since, "--device", &device]);
        assert_eq!(brought(&said["story"]), told, "since {since}: {said}");
    }
}

#[test]
fn an_unknown_device_has_no_story() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let stranger = crate::story::provisioned(77).device.to_string();
    let ran = muster(&["device", "explain", &stranger, data, folder, keyring, file]);
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains(&stranger), "{}", ran.stderr);
}
