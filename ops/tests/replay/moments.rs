//! The state at any moment is the one that the live node had.

use crate::author::Author;
use crate::bad_input::copy_log;
use crate::story::{fleet, found};
use crate::{muster, muster_json, path};
use events::time::Timestamp;

#[test]
fn the_digest_at_every_index_is_the_one_that_the_live_node_had_there() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let middle = [fleet.quiet, fleet.ordered, fleet.author.index()];
    for index in middle {
        let said = muster_json(&["replay", data, folder, keyring, file, "--until", &index.to_string()]);
        assert_eq!((&said["applied"], &said["digest"]), (&index.into(), &fleet.author.digest(index).into()));
    }
    let said = muster_json(&["replay", data, folder, keyring, file]);
    assert_eq!(said["digest"], fleet.author.digest(fleet.author.index()));
    let (events, heartbeats) = (said["events"].as_u64().unwrap(), said["heartbeats"].as_u64().unwrap());
    assert!(events > heartbeats && heartbeats > 10, "{said}");
    assert!(said["events_per_second"].as_f64().unwrap() > 0.0 && said["bytes"].as_u64().unwrap() > 1000);
}

#[test]
fn a_time_means_the_last_entry_that_is_not_later() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let ended = muster_json(&["replay", data, folder, keyring, file]);
    let quiet = muster_json(&["replay", data, folder, keyring, file, "--until", &fleet.quiet.to_string()]);
    let stamp = quiet["stamp"].as_u64().unwrap();
    for (time, digest) in [
        (Timestamp::from_millis(stamp).to_string(), &quiet["digest"]),
        (Timestamp::from_millis(stamp + 3_600_000).to_string(), &quiet["digest"]),
        ("2025-10-10 23:00".to_owned(), &ended["digest"]),
        ("2025-10-09T12:00:00+02:00".to_owned(), &quiet["digest"]),
    ] {
        let said = muster_json(&["replay", data, folder, keyring, file, "--until", &time]);
        assert_eq!(&said["digest"], digest, "{time}");
    }
}

#[test]
fn a_device_is_shown_as_it_stood_at_a_moment_and_not_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let device = fleet.cloned.device.to_string();
    let at = |moment: &str| {
        muster_json(&["replay", "at", moment, "device", &device, data, folder, keyring, file])["device"]
            .clone()
    };
    let before = at(&fleet.quiet.to_string());
    assert_eq!(
        (&before["summary"]["legitimacy"], &before["flags"]),
        (&"legitimate".into(), &serde_json::json!([]))
    );
    let after = at(&fleet.ordered.to_string());
    assert_eq!(after["summary"]["legitimacy"], "restricted");
    assert_eq!(
        (&after["flags"][0]["kind"], after["operations"][0]["settled"].is_null()),
        (&"clone".into(), true)
    );
    assert!(!at("now")["operations"][0]["settled"].is_null());

    let early = muster(&["replay", "at", "3", "device", &device, data, folder, keyring, file]);
    assert_eq!(early.code, 4, "{}", early.stderr);
    assert!(early.stderr.contains("is not in the log up to entry 3"), "{}", early.stderr);
    let whole = muster(&["replay", data, folder, keyring, file, "at", "2025-10-09"]);
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    let quiet = muster(&["replay", "at", &fleet.quiet.to_string(), data, folder, keyring, file]);
    assert!(quiet.stdout.contains("2 legitimate"), "{}", quiet.stdout);
}

#[test]
fn since_a_moment_only_what_happened_then_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let since = (fleet.ordered).to_string();
    let said = muster_json(&["replay", data, folder, keyring, file, "--since", &since]);
    let events = serde_json::json!({
        "OperationOrdered": 1, "OperationSettled": 1, "SessionResumed": 1, "HeartbeatObserved": 1
    });
    assert_eq!((&said["since"]["first"], &said["since"]["events"]), (&fleet.ordered.into(), &events));
    assert_eq!(said["digest"], fleet.author.digest(fleet.author.index()));

    let device = fleet.cloned.device.to_string();
    let said = muster_json(&["replay", data, folder, keyring, file, "--since", &since, "--device", &device]);
    let lines = said["story"]["lines"].as_array().unwrap();
    let ordered =
        lines.iter().any(|line| line["what"].as_str().unwrap().contains("restrict ordered by policy"));
    assert!(ordered, "{lines:?}");
    assert!(lines.iter().all(|line| line["index"].as_u64().unwrap() >= fleet.ordered), "{lines:?}");
}

#[test]
fn an_index_that_the_log_does_not_reach_has_no_state() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    let beyond = (fleet.author.index() + 1).to_string();
    let ran = muster(&["replay", data, folder, keyring, file, "--until", &beyond]);
    assert_eq!(ran.code, 5);
    let last = format!("the log ends at entry {}", fleet.author.index());
    assert!(ran.stderr.contains(&last), "{}", ran.stderr);
    let ran = muster(&["replay", data, folder, keyring, file, "--until", "soon"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("expected a log index") && ran.stderr.contains("yesterday 14:34"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_is_not_known_committed_is_counted_where_the_log_was_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::begin(&dir.path().join("log"));
    found(&mut author);
    author.restart();
    let copy = dir.path().join("copy");
    copy_log(&author, &copy);
    author.leave_open();
    author.stop();
    let [data, folder, keyring, file] = &author.flags();
    let said = muster_json(&["replay", data, folder, keyring, file]);
    assert_eq!((&said["applied"], &said["uncommitted"]), (&author.index().into(), &1.into()));
    let both = muster_json(&["replay", data, folder, data, path(&copy), keyring, file]);
    assert_eq!(both["uncommitted"], 1, "the other folder ends before it");
    let some = muster_json(&["replay", data, folder, keyring, file, "--until", "3"]);
    assert_eq!(some["uncommitted"], serde_json::Value::Null, "nobody looked how it ends");
}
