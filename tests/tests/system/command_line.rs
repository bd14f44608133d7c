//! What people type, and what they get for a mistake.

use crate::support::{muster, muster_json};
use std::path::Path;

const NOUNS: [&str; 19] = [
    "node",
    "cluster",
    "keys",
    "lot",
    "station",
    "manifest",
    "code",
    "license",
    "device",
    "flag",
    "operation",
    "source",
    "update",
    "webhook",
    "fleet",
    "log",
    "replay",
    "dev",
    "manual",
];

fn here() -> &'static Path {
    Path::new("/")
}

/// A cluster of three nodes on paper; nothing runs.
fn laid_out(dir: &Path) -> serde_json::Value {
    muster_json(dir, &["cluster", "init", "--dir", "c", "--nats", "nats://127.0.0.1:4222"])
}

#[test]
fn every_noun_and_verb_has_a_help_that_says_more_than_its_name() {
    for noun in NOUNS {
        let help = muster(here(), &[noun, "--help"]);
        assert_eq!(help.code, 0, "{noun}: {}", help.stderr);
        let listed = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
        // A verb stands two columns in; what stands further in goes on with its explanation.
        let is_verb =
            |line: &&str| line.starts_with("  ") && !line.starts_with("   ") && !line.starts_with("  help ");
        for verb in listed.take_while(|line| !line.is_empty()).filter(is_verb) {
            let name = verb.split_whitespace().next().unwrap();
            assert!(verb.split_whitespace().count() > 2, "`{noun} {name}` explains nothing: {verb}");
            assert_eq!(muster(here(), &[noun, name, "--help"]).code, 0, "{noun} {name}");
        }
    }
}

#[test]
fn the_help_names_every_noun_that_this_test_looks_at_and_every_exit_code() {
    let help = muster(here(), &["--help"]).stdout;
    for code in ["0  it held", "1  ", "2  ", "3  ", "4  ", "5  ", "6  ", "7  ", "130  "] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(code)), "`{code}` is missing:\n{help}");
    }
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let is_noun = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let listed: Vec<&str> = listed
        .take_while(|line| !line.is_empty())
        .filter(is_noun)
        .filter_map(|line| line.split_whitespace().next())
        .filter(|noun| *noun != "help")
        .collect();
    for noun in &listed {
        assert!(NOUNS.contains(noun), "no test looks at the help of `{noun}`");
    }
    assert_eq!(listed.len(), NOUNS.len(), "{listed:?}");
}

#[test]
fn a_command_without_a_cluster_says_how_to_name_one() {
    let ran = muster(here(), &["device", "list"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--context") && ran.stderr.contains("muster cluster init"), "{}", ran.stderr);
    let ran = muster(here(), &["device", "list", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(error["exit_code"], 2, "{error}");
    let ran = muster(here(), &["log", "verify", "--data", "/nowhere"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--keyring"), "a log is read without a cluster: {}", ran.stderr);
}

#[test]
fn a_cluster_that_does_not_answer_is_told_from_one_that_refuses() {
    let dir = tempfile::tempdir().unwrap();
    laid_out(dir.path());
    let ran = muster(dir.path(), &["device", "list", "--context", "c/context.json"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("127.0.0.1:7500"), "names whom it asked: {}", ran.stderr);
}

#[test]
fn wrong_ids_and_numbers_are_refused_before_anything_is_asked() {
    for arguments in [
        &["device", "show", "lic_00"][..],
        &["device", "show", "dev_00"],
        &["dev", "--devices", "1"],
        &["dev", "--once", "--nodes", "2"],
        &["station", "certify", "--lot", "l", "--station", "s", "--quota", "1", "--until", "soon"],
        &["lot", "create", "--sku", "x", "--require", "nose"],
    ] {
        let ran = muster(here(), arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("expected") || ran.stderr.contains("--nodes 3"), "{}", ran.stderr);
    }
}

#[test]
fn a_configuration_with_an_unknown_field_is_refused_with_file_line_and_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    laid_out(dir.path());
    let config = dir.path().join("c/nodes/1/node.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    assert_eq!(muster(dir.path(), &["node", "--check", "--config", "c/nodes/1/node.toml"]).code, 0);

    std::fs::write(&config, good.replacen("region = ", "reggion = ", 1)).unwrap();
    let line = 1 + good.lines().position(|line| line.starts_with("region = ")).unwrap();
    let ran = muster(dir.path(), &["node", "--config", "c/nodes/1/node.toml"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    for word in ["node.toml", "reggion", &line.to_string(), "expected"] {
        assert!(ran.stderr.contains(word), "`{word}` is missing in: {}", ran.stderr);
    }
}

#[test]
fn a_check_reads_every_file_that_the_configuration_names_and_says_which_one_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    laid_out(dir.path());
    let config = dir.path().join("c/nodes/1/node.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    let check = || muster(dir.path(), &["node", "--check", "--config", "c/nodes/1/node.toml"]);
    assert_eq!(check().code, 0);
    for file in ["keyring.json", "ca.pem", "nodes/1/node.pem", "nodes/1/node.key"] {
        let (there, away) = (dir.path().join("c").join(file), dir.path().join("away"));
        std::fs::rename(&there, &away).unwrap();
        let ran = check();
        assert_eq!(ran.code, 2, "{file}: {}", ran.stderr);
        assert!(ran.stderr.contains(file.rsplit('/').next().unwrap()), "{file}: {}", ran.stderr);
        std::fs::rename(&away, &there).unwrap();
    }
    let collector = "\n[telemetry]\notlp_endpoint = \"https://localhost:4317\"\n";
    for (text, field) in [
        (good.replacen("[nats]\n", "[nats]\nca_file = \"none.pem\"\n", 1), "nats.ca_file"),
        (good.clone() + collector + "ca_file = \"none.pem\"\n", "telemetry.ca_file"),
        (good.replacen("[api]\n", "[api]\nclient_authority = \"none.pem\"\n", 1), "API"),
    ] {
        std::fs::write(&config, text).unwrap();
        let ran = check();
        assert_eq!(ran.code, 2, "{field}: {}", ran.stderr);
        assert!(ran.stderr.contains(field) && ran.stderr.contains("none.pem"), "{field}: {}", ran.stderr);
    }
}

#[test]
fn a_check_says_that_the_archive_cannot_be_written_and_keeps_nobody_from_starting_for_it() {
    let dir = tempfile::tempdir().unwrap();
    laid_out(dir.path());
    let config = dir.path().join("c/nodes/1/node.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, good + "\n[retention]\narchive_directory = \"archive\"\n").unwrap();
    let check = || muster_json(dir.path(), &["node", "--check", "--config", "c/nodes/1/node.toml"]);
    let warned = check();
    assert_eq!(warned["ok"], true);
    let warning = warned["warnings"][0].as_str().unwrap();
    assert!(warning.contains("archive cannot be written") && warning.contains("ReadWritePaths"), "{warning}");

    let archive = dir.path().join("c/nodes/1/archive");
    std::fs::create_dir(&archive).unwrap();
    assert_eq!(check()["warnings"], serde_json::json!([]));
    assert_eq!(std::fs::read_dir(&archive).unwrap().count(), 0, "the check leaves nothing behind");
}

#[test]
fn a_members_certificate_is_made_anew_and_its_node_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    laid_out(dir.path());
    let pem = dir.path().join("c/nodes/2/node.pem");
    let first = std::fs::read(&pem).unwrap();
    let certify =
        ["cluster", "certify", "--dir", "c", "--node", "2", "--host", "b.example", "--out", "c/nodes/2"];
    muster_json(dir.path(), &certify);
    assert_ne!(std::fs::read(&pem).unwrap(), first);
    assert_eq!(std::fs::read(pem.with_extension("pem.old")).unwrap(), first, "the old one is kept");
    assert_eq!(muster(dir.path(), &["node", "--check", "--config", "c/nodes/2/node.toml"]).code, 0);

    std::fs::remove_file(dir.path().join("c/ca.key")).unwrap();
    let ran = muster(dir.path(), &certify);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("ca.key"), "{}", ran.stderr);
}

#[test]
fn a_configuration_out_of_range_or_with_its_keyring_among_the_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    laid_out(dir.path());
    let config = dir.path().join("c/nodes/1/node.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    let wrong = [
        (good.replace("heartbeat_ms = 60000", "heartbeat_ms = 5"), "limits.heartbeat_ms"),
        (good.replace("data_directory = \"data\"", "data_directory = \"../..\""), "keyring"),
        (good.replace("node = 1\n", "node = 9\n"), "node"),
        (good.replace("cluster = \"clu_", "cluster = \"dev_"), "clu_"),
    ];
    for (text, word) in wrong {
        assert_ne!(text, good, "{word}: the file holds what is spoiled");
        std::fs::write(&config, text).unwrap();
        let ran = muster(dir.path(), &["node", "--config", "c/nodes/1/node.toml"]);
        assert_eq!(ran.code, 2, "{word}: {}", ran.stderr);
        assert!(ran.stderr.contains(word) && ran.stderr.contains("node.toml"), "{word}: {}", ran.stderr);
    }
}

#[test]
fn a_second_cluster_is_never_laid_out_over_a_first() {
    let dir = tempfile::tempdir().unwrap();
    laid_out(dir.path());
    let keyring = std::fs::read(dir.path().join("c/keyring.json")).unwrap();
    let ran = muster(dir.path(), &["cluster", "init", "--dir", "c", "--nats", "nats://127.0.0.1:4222"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("already holds a cluster"), "{}", ran.stderr);
    assert_eq!(std::fs::read(dir.path().join("c/keyring.json")).unwrap(), keyring);
}

#[test]
fn with_json_a_failure_too_is_one_document() {
    let dir = tempfile::tempdir().unwrap();
    laid_out(dir.path());
    // The status itself says that nobody answers; nothing needs to be said twice.
    let ran = muster(dir.path(), &["cluster", "status", "--json", "--context", "c/context.json"]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (3, 1), "{}", ran.stdout);
    let status: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 3);
}

#[test]
fn every_command_has_a_man_page_and_every_shell_its_completions() {
    let dir = tempfile::tempdir().unwrap();
    let said = muster_json(dir.path(), &["manual", "--dir", "manual"]);
    let man = dir.path().join("manual/man1");
    for page in ["muster.1", "muster-device-explain.1", "muster-station-burn.1", "muster-agent-run.1"] {
        let text = std::fs::read_to_string(man.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".TH muster"), "{page}");
    }
    assert_eq!(std::fs::read_dir(&man).unwrap().count() as u64, said["man_pages"].as_u64().unwrap());
    for file in ["muster.bash", "_muster", "muster.fish", "muster-agent.bash"] {
        assert!(dir.path().join("manual/completions").join(file).exists(), "{file}");
    }
}
