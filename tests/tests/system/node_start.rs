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

/// Asks again and again until the answer is yes: nodes serve operators without NATS.
async fn until_held(dir: &std::path::Path, arguments: &[&str]) {
    let held = async {
        while muster(dir, arguments).code != 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.expect("a node that runs must come to say yes");
}

#[tokio::test]
async fn somebody_with_a_certificate_of_the_cluster_asks_without_a_token_what_the_role_may() {
    let dir = tempfile::tempdir().unwrap();
    let config = laid_out(dir.path());
    let text = std::fs::read_to_string(&config).unwrap();
    let believes = text.replacen("[api]\n", "[api]\nclient_authority = \"../../ca.pem\"\n", 1);
    assert_ne!(text, believes, "{text}");
    std::fs::write(&config, believes).unwrap();
    let mut node = Command::new(tests::muster());
    node.args(["node", "--config"]).arg(&config);
    let mut node = children::spawn("node", node, &dir.path().join("log")).unwrap();
    let enrol = ["cluster", "enrol", "--dir", "c", "--until", "2099-12-31"];
    muster_json(dir.path(), &[&enrol[..], &["--name", "kim", "--role", "viewer", "--out", "kim"]].concat());
    let context = std::fs::read_to_string(dir.path().join("kim/context.json")).unwrap();
    assert!(!context.contains("token") && !context.contains("keyring"), "{context}");

    let kim = ["--context", "kim/context.json"];
    until_held(dir.path(), &[&["cluster", "status"][..], &kim].concat()).await;
    let clear = ["flag", "clear", "fla_0000000000000", "--reason", "r"];
    let refused = muster(dir.path(), &[&clear[..], &kim].concat());
    assert!(refused.code == 4 && refused.stderr.contains("kim has the role viewer"), "{}", refused.stderr);

    let nobody = ["--context", "nobody.json"];
    let without = context.lines().filter(|line| !line.contains("operator.")).collect::<Vec<_>>().join("\n");
    let without = without.replace("\"client\": {\n  },\n", "");
    std::fs::write(dir.path().join("nobody.json"), without).unwrap();
    let unsaid = muster(dir.path(), &[&["cluster", "status"][..], &nobody].concat());
    assert!(unsaid.code == 2 && unsaid.stderr.contains("needs `token`, or `client`"), "{}", unsaid.stderr);
    let over =
        [&enrol[..4], &["--until", "2020-01-01", "--name", "kim", "--role", "admin", "--out", "k"]].concat();
    assert_eq!(muster(dir.path(), &over).code, 2);
    assert!(node.stop(PATIENCE).await.unwrap().success());
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
    until_held(dir.path(), &["node", "health", "--api", "--config", "c/nodes/1/node.toml"]).await;
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
