//! A node that is told to stop while it still starts.

use crate::support::{muster, muster_json};
use ops::dev::{children, ports};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// Whoever waits for a signal that nobody listens for is killed by it; the first process of a container is not even that.
#[tokio::test]
async fn a_node_that_waits_in_its_start_ends_in_order_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nats = format!("nats://{}", silent.local_addr().unwrap());
    let free = ports::free(2).unwrap();
    let [peers, api] = [0, 1].map(|at: usize| free[at].port().to_string());
    let ports = ["--peers-port", &peers, "--api-port", &api];
    let init = ["cluster", "init", "--dir", "c", "--nodes", "1", "--nats", &nats];
    muster_json(dir.path(), &[&init[..], &ports].concat());
    let mut node = Command::new(tests::muster());
    node.args(["node", "--config"]).arg(dir.path().join("c/nodes/1/node.toml"));
    let mut node = children::spawn("node", node, &dir.path().join("log")).unwrap();
    // It asks NATS before anything else, and waits for an answer.
    let _asked = tokio::time::timeout(PATIENCE, silent.accept()).await.expect("it starts").unwrap();
    let ended = node.stop(PATIENCE).await.unwrap();
    let log = std::fs::read_to_string(node.log()).unwrap();
    assert_eq!(ended.code(), Some(0), "{ended}: {log}");
    assert!(log.contains("stopping before the start is done") && !log.contains("the node runs"), "{log}");
}

/// A node that nobody runs NATS for, in a folder of its own.
fn laid_out(dir: &std::path::Path) -> std::path::PathBuf {
    let free = ports::free(2).unwrap();
    let [peers, api] = [0, 1].map(|at: usize| free[at].port().to_string());
    let ports = ["--peers-port", &peers, "--api-port", &api];
    let init = ["cluster", "init", "--dir", "c", "--nodes", "1", "--nats", "nats://127.0.0.1:1"];
    muster_json(dir, &[&init[..], &ports].concat());
    dir.join("c/nodes/1/node.toml")
}

#[tokio::test]
async fn a_log_in_json_is_one_document_a_line_from_the_first_to_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let config = laid_out(dir.path());
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n[telemetry]\nformat = \"json\"\nfilter = \"debug\"\n")).unwrap();
    let mut node = Command::new(tests::muster());
    node.args(["node", "--config"]).arg(&config).env_remove("RUST_LOG");
    let log = dir.path().join("log");
    let mut node = children::spawn("node", node, &log).unwrap();
    let ready = async {
        while muster(dir.path(), &["node", "health", "--api", "--config", "c/nodes/1/node.toml"]).code != 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("it serves operators without NATS");
    assert!(node.stop(PATIENCE).await.unwrap().success());
    let said = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let message = |line: &serde_json::Value| line["message"].as_str().map(str::to_owned);
    let messages: Vec<_> = lines.iter().filter_map(message).collect();
    for expected in ["the node runs", "stopping"] {
        assert!(messages.iter().any(|message| message == expected), "{expected}: {messages:?}");
    }
    for line in &lines {
        assert!(
            line["level"].is_string() && line["timestamp"].is_string() && line["target"].is_string(),
            "{line}"
        );
    }
}
