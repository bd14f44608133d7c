//! The node's configuration: one TOML file, parsed once into types that cannot be wrong.
//!
//! ```text
//! file.rs   the words of the file, as serde reads them      check.rs, nats.rs, webhooks.rs   what must hold between them
//! error.rs  refusals that name file, line, field and what was expected
//! ```
//!
//! Relative paths are relative to the folder of the file. A file with an unknown field, a value out of range or a
//! keyring inside the data directory is refused as a whole.

pub mod access;
mod check;
mod error;
mod file;
mod nats;
mod secret;
mod webhooks;

pub use access::{AccessRole, ApiClient, ApiToken, Right, TokenDigest};
pub use error::ConfigError;
pub use nats::nats_server;
pub use secret::Secret;
pub use webhooks::WebhookConfig;

use events::identity::key::PublicKey;
use events::ids::{ClusterId, NodeId, RegionName};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The interval that devices may be granted, in milliseconds.
pub const HEARTBEAT_MS: RangeInclusive<u32> = 100..=86_400_000;

/// Everything that one node is told by its operator.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub name: String,
    pub region: RegionName,
    pub data_directory: PathBuf,
    pub keyring: PathBuf,
    pub peers: PeersConfig,
    /// Factory keys whose lots and stations are believed; none means that the operator who imports vouches for one.
    pub factory_keys: Vec<PublicKey>,
    /// Update keys that the terminals pin; none means that the operator who starts a rollout vouches for one.
    pub update_keys: Vec<PublicKey>,
    /// All voters, this node among them, by ascending id.
    pub members: Vec<MemberConfig>,
    pub nats: NatsConfig,
    pub api: ApiConfig,
    /// Who is told what changed.
    pub webhooks: Vec<WebhookConfig>,
    pub raft: RaftTimers,
    pub limits: Limits,
    /// None: the whole log stays on the node.
    pub retention: Option<RetentionConfig>,
    pub telemetry: TelemetryConfig,
}

/// Where this node listens for its peers, and the files of its mutual TLS (PEM).
#[derive(Debug, Clone)]
pub struct PeersConfig {
    pub listen: SocketAddr,
    /// The cluster's own authority; no other is trusted.
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// One voter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberConfig {
    pub id: NodeId,
    pub name: String,
    pub region: RegionName,
    /// `host:port` under which its peers reach it.
    pub address: String,
}

#[derive(Clone)]
pub struct NatsConfig {
    /// May hold a user and a password.
    pub urls: Vec<String>,
    pub login: NatsLogin,
    /// Whose certificates are believed; with it nothing is said in the clear. None means those of the system, where a
    /// server or a URL wants TLS.
    pub ca_file: Option<PathBuf>,
}

impl NatsConfig {
    /// The servers for people to read: without what stands before `@`.
    #[must_use]
    pub fn servers(&self) -> String {
        let server = |url: &String| match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, server))) => format!("{scheme}://{server}"),
            (None, Some((_, server))) => server.to_owned(),
            (_, None) => url.clone(),
        };
        self.urls.iter().map(server).collect::<Vec<_>>().join(", ")
    }
}

impl std::fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsConfig").field("urls", &self.servers()).field("login", &self.login).finish()
    }
}

/// How this node proves itself to NATS.
#[derive(Debug, Clone)]
pub enum NatsLogin {
    Anonymous,
    Password {
        user: String,
        password: Secret,
    },
    /// The seed of an nkey user.
    Nkey {
        seed: Secret,
    },
}

/// The operators' HTTPS.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    pub listen: SocketAddr,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Who may come with a bearer token; only digests are kept.
    pub tokens: Vec<ApiToken>,
    /// Whose certificates are believed; none means that nobody comes with a certificate.
    pub client_authority: Option<PathBuf>,
    /// Who may come with a certificate whose name does not tell the role.
    pub clients: Vec<ApiClient>,
    pub limits: ApiLimits,
}

/// Bounds of the operators' API, so that it never slows what devices send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiLimits {
    /// Connections at one time, half of them from one address; one more takes the place of the one that was used longest
    /// ago.
    pub connections: usize,
    /// Requests under way at one time; more are refused as `BUSY`, and above a quarter of one caller as `SHARE_TAKEN`.
    pub requests: usize,
    /// Watchers of live changes at one time; the same holds for them.
    pub watchers: usize,
    /// A request is answered or refused within this time, in milliseconds; ten times as long for a manifest.
    pub request_ms_max: u64,
    /// A node whose applied index is further behind is not ready, in entries.
    pub ready_lag_entries: u64,
}

impl Default for ApiLimits {
    fn default() -> Self {
        ApiLimits {
            connections: 512,
            requests: 64,
            watchers: 32,
            request_ms_max: 15_000,
            ready_lag_entries: 1_000,
        }
    }
}

/// Timers of raft, in milliseconds. Members wait `election_ms_max` after a leader's last word, and then a random time
/// from `election_ms_min` to `election_ms_max`, before one of them asks for votes. The defaults suit a LAN: within a
/// second of a leader's death there is another. Across regions take an election timeout of at least ten round trips.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftTimers {
    pub heartbeat_ms: u64,
    pub election_ms_min: u64,
    pub election_ms_max: u64,
    /// A proposal not answered within this time is unknown.
    pub proposal_ms_max: u64,
    /// A snapshot is made after so many entries.
    pub snapshot_entries: u64,
    /// So many entries stay readable to a peer that lags, after a snapshot.
    pub keep_entries: u64,
}

/// Where history is archived, and how much of it stays on the node. Without a limit everything stays, and the archive is a
/// copy of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Each node writes to a folder of its own in it.
    pub archive_directory: PathBuf,
    /// A segment whose last entry is older than this is removed once it is archived, in milliseconds.
    pub age_millis_max: Option<u64>,
    /// The oldest archived segments are removed while the log is larger than this, in bytes.
    pub bytes_max: Option<u64>,
    /// How often it is looked after, in seconds.
    pub check_seconds: u64,
}

impl RetentionConfig {
    /// The folder of one node's segments and their manifest.
    #[must_use]
    pub fn archive_of(&self, node: NodeId) -> PathBuf {
        self.archive_directory.join(format!("node-{node}"))
    }
}

/// Bounds of what this node takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The interval that devices are granted when nothing else speaks, in milliseconds. Read once, when the
    /// cluster is created.
    pub heartbeat_ms: u32,
    /// Messages that wait for admission; what comes above is refused as `UNAVAILABLE`.
    pub queue_messages: usize,
    /// Messages of one source that wait for this node to catch up (protocol.md rule 9).
    pub parked_per_source: usize,
    /// P-384 operations at one time (protocol.md rule 15).
    pub activations_parallel: usize,
    /// With less room than this on the disk the node takes nothing in, in bytes.
    pub disk_reserve_bytes: u64,
    /// A leader has the head of the log signed this often, in milliseconds; 0 is never.
    pub checkpoint_ms: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryConfig {
    /// Where traces go by OTLP over gRPC; none means nowhere.
    pub otlp_endpoint: Option<String>,
    /// Whose certificates are believed at an `https://` endpoint; none means those of the system.
    pub ca_file: Option<PathBuf>,
    /// The share of traces that is exported, 0 to 1, of those that begin here and of those that a sender wants told; one
    /// that its sender does not want told is not.
    pub trace_ratio: f64,
    pub format: LogFormat,
    /// Directives as in `RUST_LOG`; that variable comes first where it is set.
    pub filter: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

impl NodeConfig {
    /// Reads, parses and checks the file and the secrets that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError::Unreadable { file: path.to_owned(), why: e.to_string() })?;
        NodeConfig::parse(path, &text)
    }

    /// Parses the text of the file at `path`; secrets are read from the files that it names.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let file: file::NodeFile =
            toml::from_str(text).map_err(|e| ConfigError::from_toml(path, text, &e))?;
        check::Checker { path, text }.check(file)
    }

    /// The member that this node is.
    #[must_use]
    pub fn own_member(&self) -> &MemberConfig {
        // `check` refused a file whose members lack this node.
        self.members.iter().find(|m| m.id == self.node).unwrap_or(&self.members[0])
    }
}
