//! Key-encryption keys rotated in the keyring's file, while the log under the old ones stays as it is.

use crate::author::Author;
use crate::story::{Unit, found};
use crate::{muster, muster_json, path};
use events::keyring::Keyring;
use std::os::unix::fs::PermissionsExt as _;

fn numbers(file: &str) -> Vec<(String, u64, String)> {
    let said = muster_json(&["keys", "status", "--keyring", file]);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let keys = said.as_array().unwrap().iter();
    keys.map(|key| (text(&key["purpose"]), key["key"].as_u64().unwrap(), text(&key["role"]))).collect()
}

#[test]
fn segments_written_before_and_after_a_rotation_are_read_as_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::begin(dir.path());
    found(&mut author);
    let mut unit = Unit::alive(&mut author, 1);
    let [data, folder, keyring, file] = &author.flags();
    let segment = ["--purpose", "segment"];
    muster_json(&[&["keys", "stage", keyring, file][..], &segment].concat());
    assert_eq!(
        numbers(file)[2..],
        [("segment".into(), 1, "seals".into()), ("segment".into(), 2, "staged".into())]
    );
    muster_json(&[&["keys", "promote", keyring, file][..], &segment].concat());
    assert_eq!(
        numbers(file)[2..],
        [("segment".into(), 2, "seals".into()), ("segment".into(), 1, "opens".into())]
    );
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads it");

    author.stop();
    author.keyring = Keyring::from_json(&std::fs::read_to_string(file).unwrap()).unwrap();
    author.restart_stopped();
    unit.observed(&mut author);
    author.stop();
    let said = muster_json(&["replay", data, folder, keyring, file]);
    assert_eq!(said["digest"], author.digest(author.index()));
    assert_eq!(muster(&["log", "verify", data, folder, keyring, file]).code, 0);
}

#[test]
fn what_would_lose_history_or_lock_nodes_out_is_refused_and_the_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let author = Author::begin(dir.path());
    let [_, _, keyring, file] = &author.flags();
    muster_json(&["keys", "stage", keyring, file, "--purpose", "segment", "--purpose", "session"]);
    muster_json(&["keys", "promote", keyring, file, "--purpose", "segment", "--purpose", "session"]);
    let before = std::fs::read(file).unwrap();
    for (arguments, why) in [
        (&["promote", "--purpose", "device"][..], "no key is staged"),
        (&["promote", "--purpose", "session"], "no key is staged"),
        (&["retire", "--purpose", "segment", "--key", "1"], "history"),
        (&["retire", "--purpose", "session", "--key", "2"], "seals what is new"),
        (&["retire", "--purpose", "session", "--key", "9"], "no key 9"),
        // The second of two is refused: neither is done.
        (&["promote", "--purpose", "device", "--purpose", "session"], "no key is staged"),
    ] {
        let ran = muster(&[&["keys"][..], arguments, &[keyring, file]].concat());
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(why), "{arguments:?}: {}", ran.stderr);
        assert_eq!(std::fs::read(file).unwrap(), before, "{arguments:?}");
    }
    muster_json(&["keys", "retire", "--purpose", "session", "--key", "1", keyring, file]);
    assert!(!numbers(file).contains(&("session".into(), 1, "opens".into())));
    let ran = muster(&["keys", "status", "--keyring", path(&dir.path().join("none.json"))]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
}
