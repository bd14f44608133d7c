//! What a configuration file may say, and how it is refused.

use nodes::config::{ConfigError, NatsLogin, NodeConfig, TokenDigest};
use std::path::PathBuf;
use tempfile::TempDir;

const GOOD: &str = r#"cluster = "clu_0000000000000000000000000g"
node = 2
name = "node-2"
region = "home"
data_directory = "data"
keyring = "../keyring.json"

[peers]
listen = "127.0.0.1:7102"
authority = "ca.pem"
certificate = "node.pem"
key = "node.key"

[api]
listen = "127.0.0.1:8102"
certificate = "node.pem"
key = "node.key"
token_file = "token"

[nats]
urls = ["nats://127.0.0.1:4222"]
user = "nodes"
password_file = "password"

[[members]]
id = 2
name = "node-2"
region = "home"
address = "127.0.0.1:7102"

[[members]]
id = 1
name = "node-1"
region = "home"
address = "127.0.0.1:7101"
"#;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("token"), "0123456789abcdef0123456789abcdef\n").unwrap();
        std::fs::write(dir.path().join("password"), "se\"cret\n").unwrap();
        Folder(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("node.toml")
    }

    fn read(&self, text: &str) -> Result<NodeConfig, ConfigError> {
        std::fs::write(self.path(), text).unwrap();
        NodeConfig::load(&self.path())
    }

    /// (line, field, why) of the refusal.
    fn refusal(&self, text: &str) -> (usize, String, String) {
        match self.read(text).unwrap_err() {
            ConfigError::Field { file, line, field, why } => {
                assert_eq!(file, self.path());
                (line, field, why)
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_good_file_is_read_with_paths_relative_to_its_folder() {
    let folder = Folder::new();
    let config = folder.read(GOOD).unwrap();
    assert_eq!(config.data_directory, folder.0.path().join("data"));
    assert_eq!(config.members.iter().map(|member| member.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(config.own_member().address, "127.0.0.1:7102");
    let NatsLogin::Password { user, password } = &config.nats.login else { panic!("{:?}", config.nats) };
    assert_eq!((user.as_str(), password.expose()), ("nodes", "se\"cret"));
    assert!(!format!("{config:?}").contains("se\"cret"), "secrets are not printed");
}

#[test]
fn an_unknown_field_is_refused_by_file_line_field_and_what_was_expected() {
    let text = GOOD.replace("node = 2\n", "node = 2\nnodde = 3\n");
    let (line, field, why) = Folder::new().refusal(&text);
    assert_eq!((line, field.as_str()), (3, "nodde"));
    assert!(why.contains("unknown field `nodde`") && why.contains("`data_directory`"), "{why}");
}

#[test]
fn a_value_of_another_kind_is_refused_with_its_line_and_table() {
    let text = format!("{GOOD}\n[raft]\nheartbeat_ms = \"soon\"\n");
    let (line, field, why) = Folder::new().refusal(&text);
    assert_eq!((line, field.as_str()), (text.lines().count(), "raft.heartbeat_ms"));
    assert!(why.contains("expected u64"), "{why}");
}

#[test]
fn a_value_out_of_range_says_the_range() {
    let text = format!("{GOOD}\n[raft]\nheartbeat_ms = 100\nelection_ms_min = 120\n");
    let (line, field, why) = Folder::new().refusal(&text);
    assert_eq!((line, field.as_str()), (text.lines().count(), "raft.election_ms_min"));
    assert!(why.contains("expected 300 to"), "{why}");
}

#[test]
fn rule_19_a_keyring_within_the_data_directory_is_refused_however_it_is_spelt() {
    let folder = Folder::new();
    std::fs::create_dir(folder.0.path().join("data")).unwrap();
    std::fs::write(folder.0.path().join("data/keyring.json"), "{}").unwrap();
    std::os::unix::fs::symlink("data", folder.0.path().join("elsewhere")).unwrap();
    for keyring in
        ["data/keyring.json", "./data/../data/keyring.json", "elsewhere/keyring.json", "data/not/there"]
    {
        let (line, field, why) = folder.refusal(&GOOD.replace("../keyring.json", keyring));
        assert_eq!((line, field.as_str()), (6, "keyring"), "{keyring}");
        assert!(why.contains("within the data directory"), "{why}");
    }
}

#[test]
fn a_node_that_is_no_member_is_refused() {
    let (line, field, _) = Folder::new().refusal(&GOOD.replace("node = 2\n", "node = 5\n"));
    assert_eq!((line, field.as_str()), (2, "node"));
}

#[test]
fn a_short_token_is_refused() {
    let folder = Folder::new();
    std::fs::write(folder.0.path().join("token"), "hunter2").unwrap();
    let (_, field, why) = folder.refusal(GOOD);
    assert_eq!(field, "api.token_file");
    assert!(!why.contains("hunter2"), "{why}");
}

/// The reference of all fields: (field, default) of each row.
fn reference() -> Vec<(&'static str, &'static str)> {
    let rows = include_str!("../../CONFIG.md").lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[0].trim_end_matches('`'), cells[3])
    })
    .collect()
}

/// The fields that the code knows of a table, from what it says of an unknown one.
fn fields_of(table: &str) -> Vec<String> {
    let header = match table {
        "" => return fields_in(&format!("colour = 1\n{GOOD}"), ""),
        "members" | "api.tokens" | "api.clients" | "webhooks" => format!("[[{table}]]"),
        other => format!("[{other}]"),
    };
    let text = match GOOD.contains(&format!("{header}\n")) {
        true => GOOD.replacen(&format!("{header}\n"), &format!("{header}\ncolour = 1\n"), 1),
        false => format!("{GOOD}\n{header}\ncolour = 1\n"),
    };
    fields_in(&text, table)
}

fn fields_in(text: &str, table: &str) -> Vec<String> {
    let (_, _, why) = Folder::new().refusal(text);
    let (_, expected) = why.split_once("expected").unwrap_or_else(|| panic!("{table}: {why}"));
    let names = expected.split('`').skip(1).step_by(2);
    names.map(|name| if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") }).collect()
}

#[test]
fn the_reference_names_every_field_that_the_code_knows_and_no_other() {
    let tables = [
        "peers",
        "members",
        "nats",
        "api",
        "api.tokens",
        "api.clients",
        "webhooks",
        "raft",
        "limits",
        "retention",
        "telemetry",
    ];
    let mut known: Vec<String> = ["", "peers", "members", "nats", "api", "api.tokens", "api.clients"]
        .into_iter()
        .chain(["webhooks", "raft", "limits", "retention", "telemetry"])
        .flat_map(fields_of)
        .filter(|field| !tables.contains(&field.as_str()))
        .collect();
    let mut documented: Vec<String> = reference().into_iter().map(|(field, _)| field.to_owned()).collect();
    known.sort();
    documented.sort();
    assert_eq!(documented, known);
}

#[test]
fn the_defaults_of_the_reference_are_those_of_the_code() {
    let folder = Folder::new();
    std::fs::write(folder.0.path().join("pager.secret"), SECRET).unwrap();
    let config = folder.read(&format!("{GOOD}{WEBHOOK}")).unwrap();
    let (api, raft, limits, telemetry) =
        (&config.api.limits, &config.raft, &config.limits, &config.telemetry);
    let hook = &config.webhooks[0];
    let retaining = Folder::new().read(&format!("{GOOD}\n[retention]\narchive_directory = \"archive\"\n"));
    let retention = retaining.unwrap().retention.unwrap();
    let code = [
        ("retention.check_seconds", retention.check_seconds.to_string()),
        ("api.connections_max", api.connections.to_string()),
        ("api.requests_max", api.requests.to_string()),
        ("api.watchers_max", api.watchers.to_string()),
        ("api.request_ms_max", api.request_ms_max.to_string()),
        ("api.ready_lag_entries", api.ready_lag_entries.to_string()),
        ("raft.heartbeat_ms", raft.heartbeat_ms.to_string()),
        ("raft.election_ms_min", raft.election_ms_min.to_string()),
        ("raft.election_ms_max", raft.election_ms_max.to_string()),
        ("raft.proposal_ms_max", raft.proposal_ms_max.to_string()),
        ("raft.snapshot_entries", raft.snapshot_entries.to_string()),
        ("raft.keep_entries", raft.keep_entries.to_string()),
        ("webhooks.timeout_ms", hook.timeout_ms.to_string()),
        ("limits.heartbeat_ms", limits.heartbeat_ms.to_string()),
        ("limits.queue_messages", limits.queue_messages.to_string()),
        ("limits.parked_per_source", limits.parked_per_source.to_string()),
        ("limits.disk_reserve_bytes", limits.disk_reserve_bytes.to_string()),
        ("limits.activations_parallel", limits.activations_parallel.to_string()),
        ("limits.checkpoint_ms", limits.checkpoint_ms.to_string()),
        ("telemetry.trace_ratio", format!("{:?}", telemetry.trace_ratio)),
        ("telemetry.format", format!("{:?}", telemetry.format).to_lowercase()),
        ("telemetry.filter", telemetry.filter.clone()),
    ];
    let rows = reference();
    for (field, default) in &code {
        let row = rows.iter().find(|(name, _)| name == field).unwrap_or_else(|| panic!("no row of {field}"));
        assert_eq!(row.1, default, "{field}");
    }
    let others = rows.iter().filter(|(field, _)| !code.iter().any(|(name, _)| name == field));
    for (field, default) in others {
        assert!(
            ["required", "none"].contains(default),
            "{field} has the default {default}, which nothing checks"
        );
    }
}

#[test]
fn tokens_are_given_by_their_digests_and_a_malformed_one_is_refused() {
    let folder = Folder::new();
    let digest = nodes::config::TokenDigest::of("0123456789abcdef0123456789abcdef");
    let tokens = |sha256: &str| {
        format!("{GOOD}\n[[api.tokens]]\nname = \"support\"\nrole = \"viewer\"\nsha256 = \"{sha256}\"\n")
    };
    let config = folder.read(&tokens(&digest.to_string())).unwrap();
    assert_eq!(
        config.api.tokens.iter().map(|token| token.name.as_str()).collect::<Vec<_>>(),
        ["admin", "support"]
    );
    std::fs::write(folder.0.path().join("token"), digest.to_string()).unwrap();
    assert!(
        folder.read(GOOD).unwrap().api.tokens[0]
            .digest
            .equals(&TokenDigest::of("0123456789abcdef0123456789abcdef"))
    );
    let (_, field, why) = folder.refusal(&tokens("hunter2"));
    assert_eq!(field, "api.tokens.sha256");
    assert!(why.contains("sha256:") && !why.contains("hunter2"), "{why}");
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
const WEBHOOK: &str = r#"
[[webhooks]]
name = "pager"
url = "https://hooks.example.net/T0K3N"
secret_file = "pager.secret"
events = ["device.flagged", "license.*"]
"#;

#[test]
fn a_webhook_is_read_and_neither_its_url_nor_its_secret_is_printed() {
    let folder = Folder::new();
    std::fs::write(folder.0.path().join("pager.secret"), SECRET).unwrap();
    let config = folder.read(&format!("{GOOD}{WEBHOOK}")).unwrap();
    let hook = &config.webhooks[0];
    assert_eq!((hook.name.as_str(), hook.timeout_ms), ("pager", 10_000));
    let said = format!("{config:?}");
    assert!(!said.contains("T0K3N") && !said.contains("whsec"), "{said}");
}

#[test]
fn a_webhook_that_cannot_work_is_refused_by_its_field() {
    let folder = Folder::new();
    std::fs::write(folder.0.path().join("pager.secret"), SECRET).unwrap();
    std::fs::write(folder.0.path().join("weak.secret"), "hunter2").unwrap();
    for (good, bad, field, says) in [
        ("device.flagged", "device.flogged", "webhooks.events", "device.flagged"),
        ("https://hooks", "ftp://hooks", "webhooks.url", "https://"),
        ("pager.secret", "weak.secret", "webhooks.secret_file", "muster webhook secret"),
        ("pager.secret", "not.there", "webhooks.secret_file", "cannot be read"),
        ("\"pager\"", "\"the pager\"", "webhooks.name", "a-z"),
    ] {
        let (line, of, why) = folder.refusal(&format!("{GOOD}{}", WEBHOOK.replacen(good, bad, 1)));
        assert_eq!(of, field);
        assert!(why.contains(says) && !why.contains("hunter2") && !why.contains("T0K3N"), "{why}");
        assert!(line > GOOD.lines().count(), "{line}");
    }
    let (_, field, why) = folder.refusal(&format!("{GOOD}{WEBHOOK}{WEBHOOK}"));
    assert_eq!(field, "webhooks.name");
    assert!(why.contains("two are named"), "{why}");
}

#[test]
fn the_whole_log_stays_unless_an_archive_is_configured_and_nothing_is_removed_without_a_limit() {
    let folder = Folder::new();
    assert_eq!(folder.read(GOOD).unwrap().retention, None);
    let only_archive = format!("{GOOD}\n[retention]\narchive_directory = \"archive\"\n");
    let retention = folder.read(&only_archive).unwrap().retention.unwrap();
    assert_eq!((retention.age_millis_max, retention.bytes_max), (None, None));
    let limited = format!("{only_archive}age_days_max = 2\nbytes_max = 300000000\n");
    let retention = folder.read(&limited).unwrap().retention.unwrap();
    assert_eq!((retention.age_millis_max, retention.bytes_max), (Some(172_800_000), Some(300_000_000)));
    assert!(retention.archive_of(2).ends_with("archive/node-2"));
}

#[test]
fn retention_without_an_archive_with_one_among_the_data_or_with_a_limit_out_of_range_is_refused() {
    let folder = Folder::new();
    let refused = |lines: &str| {
        let (_, field, why) = folder.refusal(&format!("{GOOD}\n[retention]\n{lines}\n"));
        (field, why)
    };
    assert!(refused("age_days_max = 2").1.contains("archive_directory"));
    let (field, why) = refused("archive_directory = \"data/archive\"");
    assert_eq!(field, "retention.archive_directory");
    assert!(why.contains("outside of it"), "{why}");
    for (line, field) in [("age_days_max = 0", "age_days_max"), ("bytes_max = 1", "bytes_max")] {
        assert_eq!(refused(&format!("archive_directory = \"a\"\n{line}")).0, format!("retention.{field}"));
    }
}

#[test]
fn what_is_no_nats_server_is_refused_with_its_line_and_without_its_password() {
    let folder = Folder::new();
    for (urls, says) in [
        (r#"["http://x"]"#, "http"),
        (r#"["nats://good", "ws://x"]"#, "URL 2"),
        (r#"["nats://"]"#, "no host"),
        (r#"["nats://nodes:hunter2@x:port"]"#, "port"),
        (r#"["nats://a b"]"#, "expected nats://host:port"),
        ("[]", "at least one"),
    ] {
        let text = GOOD.replace("[\"nats://127.0.0.1:4222\"]", urls);
        let (line, field, why) = folder.refusal(&text);
        assert_eq!((line, field.as_str()), (21, "nats.urls"), "{urls}");
        assert!(why.contains(says) && !why.contains("hunter2"), "{urls}: {why}");
    }
    for good in
        [r#"["tls://a.example.net"]"#, r#"["a.example.net:4223"]"#, r#"["nats://nodes:hunter2@[::1]:4222"]"#]
    {
        folder.read(&GOOD.replace("[\"nats://127.0.0.1:4222\"]", good)).unwrap();
    }
}

/// A queue is bounded by what one batch takes: a greater number would do nothing, and say nothing of it.
#[test]
fn a_queue_that_no_batch_could_take_is_refused() {
    let text = format!("{GOOD}\n[limits]\nqueue_messages = 16385\n");
    let (line, field, why) = Folder::new().refusal(&text);
    assert_eq!((line, field.as_str()), (text.lines().count(), "limits.queue_messages"));
    assert!(why.contains("expected 1 to 16384"), "{why}");
}
