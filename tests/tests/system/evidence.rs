//! An auditor beside a running cluster: signed heads, proofs of one device, every node's files held against the others'.

use crate::support::{muster, muster_json};
use serde_json::Value;
use std::path::Path;

fn folders(staged: &tests::Staged) -> Vec<String> {
    let data = |node| staged.stage.cluster.data_directory(node).unwrap().display().to_string();
    (1..=3).map(data).collect()
}

/// The first checkpoint waits until the members were heard; then any node signs.
fn checkpoint(dir: &Path, context: &[&str], out: &str) -> u64 {
    for _ in 0..50 {
        let ran = muster(dir, &[&["log", "checkpoint", "--json", "--out", out], context].concat());
        if ran.code == 0 {
            let said: Value = serde_json::from_str(&ran.stdout).unwrap();
            return said["size"].as_u64().unwrap();
        }
        assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    }
    panic!("no checkpoint was signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_holds_a_running_cluster_to_what_it_signed() {
    let staged = tests::staged(10).await;
    let dir = staged.dir.path();
    let file = staged.stage.context_file.display().to_string();
    let context = ["--context", file.as_str()];
    let device = staged.stage.devices().next().unwrap().to_string();
    let first = checkpoint(dir, &context, "first.checkpoint");

    // One device's activation, from the running node, checked with the public key alone.
    let story = muster_json(dir, &[&["device", "explain", &device][..], &context].concat());
    let lines = story["lines"].as_array().unwrap();
    let activated =
        lines.iter().find(|line| line["what"].as_str().unwrap().starts_with("activated")).unwrap();
    let index = activated["index"].to_string();
    let second = checkpoint(dir, &context, "second.checkpoint");
    assert!(second > first);
    let public = staged.stage.cluster.context.public.display().to_string();
    muster_json(dir, &[&["log", "prove", &index, "--out", "entry.proof"][..], &context].concat());
    let shown = muster_json(dir, &["log", "check", "entry.proof", "--key", &public]);
    assert_eq!((&shown["shows"], shown["index"].to_string()), (&"entry".into(), index.clone()));

    // Of that entry this device's part, from a node's folder beside the running node.
    let data = folders(&staged);
    let prove = ["log", "prove", &index, "--device", &device, "--data", &data[1], "--out", "item.proof"];
    muster_json(dir, &[&prove[..], &context].concat());
    let shown = muster_json(dir, &["log", "check", "item.proof", "--key", &public]);
    assert_eq!(shown["event"]["event"], "DeviceActivated", "{shown}");
    assert_eq!(shown["event"]["data"]["device"], device);

    // The log only grew.
    let since = ["--since", "first.checkpoint"];
    muster_json(dir, &[&["log", "prove", "--out", "grown.proof"][..], &since, &context].concat());
    let check = ["log", "check", "grown.proof", "--key", &public];
    let shown = muster_json(dir, &[&check[..], &since].concat());
    assert_eq!((&shown["since"], shown["size"].as_u64()), (&first.into(), Some(second)));

    // Three folders of nodes that run, against each other, what was kept, and what the nodes say of their state.
    let mut verify = vec!["log", "verify", "--cluster", "--checkpoint", "first.checkpoint", "--data"];
    verify.extend(data.iter().map(String::as_str));
    let said = muster_json(dir, &[&verify[..], &context].concat());
    let heads = said["heads"].as_array().unwrap();
    assert!(heads.len() >= 3 && heads.iter().all(|head| head["holds"] == true), "{said}");
    let nodes = said["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    for node in nodes {
        assert!(node["compared"].as_u64().unwrap() > 0 && node["differs_at"].is_null(), "{said}");
    }
    let keys = muster_json(dir, &[&["keys", "status"][..], &context].concat());
    let devices = keys.as_array().unwrap().iter().find(|key| key["purpose"] == "device").unwrap();
    assert!(devices["secrets"].as_u64().unwrap() >= 10, "{keys}");
}
