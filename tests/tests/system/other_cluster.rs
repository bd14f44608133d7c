//! A node refuses what belongs to another cluster, by name, before it does anything.

use crate::support::{muster, muster_json};
use std::path::Path;

/// Two clusters on paper, `one` and `two`; returns their ids.
fn two_clusters(dir: &Path) -> (String, String) {
    let lay_out = |name: &str, port: &str| {
        let at = ["--peers-port", port, "--api-port", &format!("{}1", &port[..4])];
        let init = ["cluster", "init", "--dir", name, "--nodes", "1", "--nats", "nats://127.0.0.1:4222"];
        let said = muster_json(dir, &[&init[..], &at[..]].concat());
        said["cluster"].as_str().unwrap().to_owned()
    };
    (lay_out("one", "17400"), lay_out("two", "17600"))
}

#[test]
fn a_node_with_another_clusters_keyring_refuses_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = two_clusters(dir.path());
    std::fs::copy(dir.path().join("two/keyring.json"), dir.path().join("one/keyring.json")).unwrap();
    let ran = muster(dir.path(), &["node", "--config", "one/nodes/1/node.toml"]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains(&one) && ran.stderr.contains(&two), "{}", ran.stderr);
    assert!(!dir.path().join("one/nodes/1/data/log").exists(), "nothing was written");
}

#[tokio::test]
async fn a_node_with_another_clusters_data_refuses_by_name() {
    let staged = tests::staged(10).await;
    let data = staged.stage.cluster.data_directory(1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (one, _) = two_clusters(dir.path());
    let taken = dir.path().join("one/nodes/1/data");
    std::fs::create_dir_all(taken.join("log")).unwrap();
    for segment in std::fs::read_dir(data.join("log")).unwrap() {
        let segment = segment.unwrap();
        std::fs::copy(segment.path(), taken.join("log").join(segment.file_name())).unwrap();
    }
    let ran = muster(dir.path(), &["node", "--config", "one/nodes/1/node.toml"]);
    assert_ne!(ran.code, 0);
    let theirs = staged.stage.cluster.files.cluster.to_string();
    assert!(ran.stderr.contains(&one) && ran.stderr.contains(&theirs), "{}", ran.stderr);
}

#[tokio::test]
async fn another_clusters_log_is_not_replayed_or_verified() {
    let staged = tests::staged(10).await;
    let data = staged.stage.cluster.data_directory(1).unwrap().display().to_string();
    let dir = tempfile::tempdir().unwrap();
    two_clusters(dir.path());
    for command in [&["replay"][..], &["log", "verify"]] {
        let arguments = [command, &["--data", &data, "--keyring", "one/keyring.json"]].concat();
        let ran = muster(dir.path(), &arguments);
        assert_ne!(ran.code, 0, "{}", ran.stdout);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains(&staged.stage.cluster.files.cluster.to_string()), "{said}");
    }
}
