//! A node keeps the end of its log only, because its operator limited it; the rest lies in its archive. With both, every
//! command about history says what it said while the log was whole.

use crate::author::Author;
use crate::evidence::signed;
use crate::story::provisioned;
use crate::{muster, muster_json, path};
use nodes::storage::disk::OsDisk;
use nodes::storage::retention::{MANIFEST_FILE, Retention};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The story of a fleet with its checkpoints, in several segments, the last of which raft still needs.
fn history(dir: &Path) -> Author {
    let mut author = signed(dir).fleet.author;
    author.restart_stopped();
    author.purge();
    author.restart();
    author.lead();
    author.stop();
    author
}

/// What a node with `[retention]` does when it looks after its log and nothing may stay; where its archive lies.
fn retire(author: &Author) -> PathBuf {
    let archive = author.dir.join("archive/node-1");
    let dirs = (author.data().join("log"), archive.clone());
    let keys = author.keyring.segment_keys().unwrap();
    let retention = Retention::new(Arc::new(OsDisk), dirs, (author.keyring.cluster, 1), keys);
    let shelved = retention.archive().unwrap().shelved;
    assert!(shelved.len() >= 2, "several segments go: {shelved:?}");
    retention.retire(shelved.last().unwrap().segment).unwrap();
    assert!(archive.join(MANIFEST_FILE).exists() && author.data().join("log/retired.json").exists());
    assert!(!author.segment(1).exists());
    archive
}

#[test]
fn log_and_archive_together_are_replayed_explained_proved_and_verified_as_the_whole_log_was() {
    let dir = tempfile::tempdir().unwrap();
    let author = history(dir.path());
    let device = provisioned(1).device.to_string();
    let (middle, last) = ((author.index() / 2).to_string(), author.index());
    let ask = |archive: Option<&Path>| -> Vec<Value> {
        let proof = muster_json(&with(&author, archive, &["log", "prove", &middle]));
        let replayed = muster_json(&with(&author, archive, &["replay"]));
        assert_eq!(replayed["digest"], author.digest(last));
        let until = muster_json(&with(&author, archive, &["replay", "--until", &middle]));
        assert_eq!(until["digest"], author.digest(author.index() / 2));
        let verified = muster_json(&with(&author, archive, &["log", "verify"]));
        assert_eq!(verified["ok"], true);
        let explained = muster_json(&with(&author, archive, &["device", "explain", &device]));
        vec![replayed["digest"].clone(), until["digest"].clone(), verified["heads"].clone(), explained, proof]
    };
    let before = ask(None);
    let archive = retire(&author);
    assert_eq!(before, ask(Some(&archive)));
}

#[test]
fn without_its_archive_a_log_says_what_it_lacks_and_where_that_may_lie() {
    let dir = tempfile::tempdir().unwrap();
    let author = history(dir.path());
    retire(&author);
    for command in [&["replay"][..], &["log", "verify"]] {
        let ran = muster(&with(&author, None, command));
        assert_ne!(ran.code, 0, "{command:?}: {}", ran.stdout);
        assert!(ran.stderr.contains("archive"), "{command:?}: {}{}", ran.stdout, ran.stderr);
    }
}

/// A command with the flags about this log, and about its archive.
fn with<'a>(author: &Author, archive: Option<&'a Path>, command: &[&'a str]) -> Vec<&'a str> {
    let flags = author.flags().map(|flag| &*flag.leak());
    let archive = archive.into_iter().flat_map(|archive| ["--data", path(archive)]);
    command.iter().copied().chain(flags).chain(archive).collect()
}
