//! Logs that versions of muster have written: every later one reads them, and gives them the same meaning.
//!
//! `MUSTER_WRITE_GOLDEN=1 cargo nextest run -p ops golden` writes a log for this version if there is none; one that is
//! there is never touched. Its keyring guards nothing else. A digest may only change together with the state's level
//! (`Projector::level`); then the digest of the new level is written beside the log.

use crate::author::Author;
use crate::story::{LOT, STATION, Unit, by_hand, code, found, record};
use crate::{muster, muster_json, path};
use events::identity::key::SigningKey;
use events::ids::{DeviceId, RolloutId};
use events::time::Timestamp;
use events::update::{Offer, UpdateScope};
use events::vocabulary::provisioning::{RewrappedDevice, RewrappedLot};
use events::vocabulary::rejection::{RejectionCount, RejectionReason, TamperReason};
use events::vocabulary::shared::{OperationKind, Wrapped};
use events::vocabulary::update::{RolloutPhase, RolloutRules};
use events::vocabulary::{
    BreakerReset, CodeVoided, Event, FlagCleared, LicenseReissued, LicenseRenewed, LicenseResumed,
    LicenseSuspended, LicenseTransferred, RejectionSummary, RequestKeyed, SecretsRewrapped, StationRevoked,
    TamperReported, Tick, UpdateAborted, UpdateCreated, UpdatePaused, UpdateResumed,
};
use projector::Outcome;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay/golden").join(version)
}

/// A log with every kind of event that this version knows, in several segments and terms.
fn write_log(dir: &Path) -> Value {
    let mut author = Author::begin(dir);
    found(&mut author);
    let mut honest = Unit::alive(&mut author, 1);
    let mut cloned = Unit::alive(&mut author, 2);
    let owner = Unit::alive(&mut author, 3);
    let heir = Unit::burned(&mut author, 4);
    for _ in 0..3 {
        let rows = [honest.row(&author), cloned.row(&author)];
        let _ = author.commit(&[], &rows);
    }
    author.restart();
    let ordered = cloned.be_cloned(&mut author);
    cloned.obey(&mut author, ordered);
    author.be_overruled();
    let flag = author.fold.flags().next().unwrap().id;
    author.accept(FlagCleared { flag, by: "ada".into(), reason: "a spare board".into() });
    let _ = author.commit(&[by_hand(OperationKind::Reinstate, cloned.device, "a spare board")], &[]);
    author.accept(BreakerReset { by: "ada".into(), reason: "looked at".into() });
    honest.resume(&mut author);
    honest.observed(&mut author);
    honest.drain(&mut author, 5);
    // Its own code again, which level 7 takes for a root that nothing demands.
    honest.activate(&mut author, code(1));
    honest.observed(&mut author);
    move_licenses(&mut author, &owner, &heir);
    refuse(&mut author);
    update(&mut author);
    author.checkpoint();
    rewrap(&mut author, honest.device);
    author.restart();
    author.accept(StationRevoked { station: STATION, reason: "lost".into() });
    author.now += 400 * 86_400_000;
    author.accept(Tick {});
    author.checkpoint();
    author.stop();
    json!({ "index": author.index(), "level": author.fold.level(), "digest": author.digest(author.index()) })
}

fn move_licenses(author: &mut Author, owner: &Unit, heir: &Unit) {
    let license = author.fold.device(owner.slot).unwrap().license().unwrap();
    let (by, reason) = (|| "ada".to_owned(), || "a dispute".to_owned());
    author.accept(LicenseSuspended { license, by: by(), reason: reason() });
    author.accept(LicenseResumed { license, by: by(), reason: reason() });
    let expires = Timestamp::from_millis(author.now + 800 * 86_400_000);
    author.accept(LicenseRenewed { license, expires, by: by(), reason: reason() });
    let keyed = RequestKeyed { key: [1; 16], content: [2; 16] };
    let (from, to) = (owner.device, heir.device);
    let transferred = LicenseTransferred { license, from, to, by: by(), reason: "exchange".into() };
    let applied = author.commit(&[keyed.into(), transferred.into()], &[]);
    assert_eq!(applied.outcomes.events, [Outcome::Accepted, Outcome::Accepted]);
    author.accept(LicenseReissued { license, code: code(99), by: by(), reason: reason() });
    author.accept(CodeVoided { code: code(7), reason: "refund".into() });
}

fn refuse(author: &mut Author) {
    let (at, source) = (Timestamp::from_millis(author.now), || "eu.attic-9".parse().unwrap());
    let forged =
        RejectionCount { source: source(), reason: RejectionReason::NotAuthentic, device: None, count: 40 };
    // More than level 5 let pass before it raised a flag, and fewer than level 6 does.
    let guessed =
        RejectionCount { source: source(), reason: RejectionReason::CodeRefused, device: None, count: 9 };
    let entries = vec![forged, guessed];
    author.accept(RejectionSummary { node: 1, from: at, until: at, entries, overflow: 2 });
    let reason = TamperReason::ComponentMismatch;
    author.accept(TamperReported { lot: LOT, record: record(3), reason, mismatched: 4, source: source() });
}

fn update(author: &mut Author) {
    let rollout = RolloutId::from_bytes([6; 16]);
    let offer = Offer {
        rollout,
        scope: UpdateScope::Lots(vec![LOT]),
        firmware: 2,
        floor: 1,
        not_after: Timestamp::from_millis(author.now + 86_400_000),
        size: 10,
        digest: [1; 48],
        kind: "rauc".into(),
        urls: vec!["https://updates.example/2".into()],
    };
    let signed = offer.sign(&SigningKey::from_bytes(&[7; 48]).unwrap()).unwrap().encode();
    let rules = RolloutRules {
        phases: vec![RolloutPhase { permille: 1000, seconds: 60 }],
        success_permille: 800,
        failure_permille: 300,
        sample_min: 3,
        per_minute_max: 1_000,
    };
    let (by, reason) = (|| "ada".to_owned(), || "fix".to_owned());
    author.accept(UpdateCreated { offer: signed, rules, by: by(), reason: reason() });
    author.accept(UpdatePaused { rollout, by: by(), reason: reason() });
    author.accept(UpdateResumed { rollout, by: by(), reason: reason() });
    author.accept(UpdateAborted { rollout, by: by(), reason: reason() });
}

fn flags(dir: &Path) -> [String; 4] {
    let flag = |name: &str| path(&dir.join(name)).to_owned();
    ["--data".into(), flag("data"), "--keyring".into(), flag("keyring.json")]
}

/// A device's and a lot's secret under the next key.
fn rewrap(author: &mut Author, device: DeviceId) {
    let anew = |byte| Wrapped { key: 2, salt: [byte; 16], sealed: vec![byte; 48] };
    author.accept(SecretsRewrapped {
        devices: vec![RewrappedDevice { device, pre_shared_key: anew(1) }],
        lots: vec![RewrappedLot { lot: LOT, tamper_key: anew(2) }],
    });
}

/// Kinds that came with level 5.
const OF_LEVEL_5: [&str; 2] = ["CheckpointSigned", "SecretsRewrapped"];
const OF_LEVEL_6: [&str; 1] = ["BreakerReset"];

#[test]
fn golden_log_of_version_0_1_replays_to_its_pinned_digest() {
    replays_to_its_pinned_digest("0.1");
}

#[test]
fn golden_log_of_level_5_replays_to_its_pinned_digest() {
    replays_to_its_pinned_digest("0.1-level-5");
}

#[test]
fn golden_log_of_level_6_replays_to_its_pinned_digest() {
    replays_to_its_pinned_digest("0.1-level-6");
}

#[test]
fn golden_log_of_level_7_replays_to_its_pinned_digest() {
    replays_to_its_pinned_digest("0.1-level-7");
}

#[test]
fn golden_log_of_level_5_holds_checkpoints_that_its_key_alone_verifies() {
    let [data, folder, keyring, file] = &flags(&golden("0.1-level-5"));
    let verified = muster_json(&["log", "verify", data, folder, keyring, file]);
    let heads: Vec<_> = verified["heads"].as_array().unwrap().iter().map(|head| &head["holds"]).collect();
    assert_eq!(heads, [&Value::from(true), &Value::from(true)], "{verified}");
}

#[track_caller]
fn replays_to_its_pinned_digest(version: &str) {
    let dir = golden(version);
    if !dir.exists() && std::env::var_os("MUSTER_WRITE_GOLDEN").is_some() {
        let digest = write_log(&dir);
        let _ = std::fs::remove_file(dir.join("data/log/lock"));
        std::fs::write(dir.join("digest.json"), format!("{digest:#}\n")).unwrap();
    }
    let pinned: Value = serde_json::from_slice(&std::fs::read(dir.join("digest.json")).unwrap()).unwrap();
    let [data, folder, keyring, file] = &flags(&dir);
    let said = muster_json(&["replay", data, folder, keyring, file]);
    let level = projector::SNAPSHOT_VERSION;
    let is_of_this_level = pinned["level"].as_u64() == Some(u64::from(level));
    let digest = if is_of_this_level { &pinned["digest"] } else { &pinned["later"][&level.to_string()] };
    assert_eq!((&said["applied"], &said["digest"]), (&pinned["index"], digest));
    let verified = muster_json(&["log", "verify", data, folder, keyring, file]);
    assert_eq!((&verified["ok"], &verified["torn_tail_bytes"]), (&true.into(), &0.into()));
}

#[test]
fn golden_log_of_version_0_1_holds_every_kind_that_the_version_knew() {
    holds_every_kind_but("0.1", &[&OF_LEVEL_5[..], &OF_LEVEL_6].concat());
}

#[test]
fn golden_log_of_level_5_holds_every_kind_that_the_version_knew() {
    holds_every_kind_but("0.1-level-5", &OF_LEVEL_6);
}

#[test]
fn golden_log_of_level_6_holds_every_kind_that_the_version_knew() {
    holds_every_kind_but("0.1-level-6", &[]);
}

#[test]
fn golden_log_of_level_7_holds_every_kind_that_the_version_knew() {
    holds_every_kind_but("0.1-level-7", &[]);
}

/// Kinds that come with a later version belong into that version's golden log.
#[track_caller]
fn holds_every_kind_but(version: &str, later: &[&str]) {
    let [data, folder, keyring, file] = &flags(&golden(version));
    let stat = muster_json(&["log", "stat", data, folder, keyring, file]);
    let held: Vec<_> = stat["events"].as_object().unwrap().keys().cloned().collect();
    let missing = Event::NAMES.iter().filter(|name| !held.iter().any(|held| held == *name));
    let missing: Vec<_> = missing.filter(|name| !later.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let exported = muster(&["replay", "export", data, folder, keyring, file]);
    assert_eq!(exported.code, 0, "{}", exported.stderr);
    for line in exported.stdout.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let outcome = row["outcome"].as_str().unwrap();
        assert!(!outcome.contains("refused") && !outcome.contains("declined"), "each was applied: {row}");
    }
}

#[test]
fn the_writer_of_golden_logs_writes_what_replays_to_the_digest_that_it_saw() {
    let dir = tempfile::tempdir().unwrap();
    let live = write_log(dir.path());
    let [data, folder, keyring, file] = &flags(dir.path());
    let said = muster_json(&["replay", data, folder, keyring, file]);
    assert_eq!((&said["applied"], &said["digest"]), (&live["index"], &live["digest"]));
}
