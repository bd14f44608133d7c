//! What a configuration file may say, and how it is refused.

use nodes::config::{ConfigError, NatsLogin, NodeConfig};
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
