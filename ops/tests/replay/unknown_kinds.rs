//! Events of a version to come: a live node halts, who only reads may pass over them, counted.

use crate::author::Author;
use crate::story::{Unit, by_hand, found};
use crate::{muster, muster_json};
use events::vocabulary::Event;
use events::vocabulary::shared::OperationKind;

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
