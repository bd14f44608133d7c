//! The words of the configuration file. Unknown ones are refused.

use super::{AccessRole, LogFormat};
use events::identity::key::PublicKey;
use events::ids::{ClusterId, NodeId, RegionName};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeFile {
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
    pub(super) name: String,
    pub(super) region: RegionName,
    pub(super) data_directory: PathBuf,
    pub(super) keyring: PathBuf,
    #[serde(default)]
    pub(super) factory_keys: Vec<PublicKey>,
    #[serde(default)]
    pub(super) update_keys: Vec<PublicKey>,
    pub(super) peers: PeersFile,
    pub(super) members: Vec<MemberFile>,
    pub(super) nats: NatsFile,
    pub(super) api: ApiFile,
    #[serde(default)]
    pub(super) webhooks: Vec<WebhookFile>,
    #[serde(default)]
    pub(super) raft: RaftFile,
    #[serde(default)]
    pub(super) limits: LimitsFile,
    pub(super) retention: Option<RetentionFile>,
    #[serde(default)]
    pub(super) telemetry: TelemetryFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeersFile {
    pub(super) listen: SocketAddr,
    pub(super) authority: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberFile {
    pub(super) id: NodeId,
    pub(super) name: String,
    pub(super) region: RegionName,
    pub(super) address: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NatsFile {
    pub(super) urls: Vec<String>,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) nkey_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiFile {
    pub(super) listen: SocketAddr,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) token_file: Option<PathBuf>,
    #[serde(default)]
    pub(super) tokens: Vec<TokenFile>,
    pub(super) client_authority: Option<PathBuf>,
    #[serde(default)]
    pub(super) clients: Vec<ClientFile>,
    pub(super) connections_max: Option<usize>,
    pub(super) requests_max: Option<usize>,
    pub(super) watchers_max: Option<usize>,
    pub(super) request_ms_max: Option<u64>,
    pub(super) ready_lag_entries: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenFile {
    pub(super) name: String,
    pub(super) role: AccessRole,
    pub(super) sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientFile {
    pub(super) name: String,
    pub(super) role: AccessRole,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookFile {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) secret_file: PathBuf,
    #[serde(default)]
    pub(super) events: Vec<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RaftFile {
    pub(super) heartbeat_ms: u64,
    pub(super) election_ms_min: u64,
    pub(super) election_ms_max: u64,
    pub(super) proposal_ms_max: u64,
    pub(super) snapshot_entries: u64,
    pub(super) keep_entries: u64,
}

impl Default for RaftFile {
    fn default() -> Self {
        RaftFile {
            heartbeat_ms: 60,
            election_ms_min: 200,
            election_ms_max: 400,
            proposal_ms_max: 5_000,
            snapshot_entries: 5_000,
            keep_entries: 10_000,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsFile {
    pub(super) heartbeat_ms: u32,
    pub(super) queue_messages: usize,
    pub(super) parked_per_source: usize,
    pub(super) activations_parallel: usize,
    pub(super) disk_reserve_bytes: u64,
    pub(super) checkpoint_ms: u64,
}

impl Default for LimitsFile {
    fn default() -> Self {
        LimitsFile {
            heartbeat_ms: 60_000,
            queue_messages: 16_384,
            parked_per_source: 256,
            activations_parallel: 2,
            disk_reserve_bytes: 268_435_456,
            checkpoint_ms: 300_000,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetentionFile {
    pub(super) archive_directory: PathBuf,
    pub(super) age_days_max: Option<u64>,
    pub(super) bytes_max: Option<u64>,
    #[serde(default = "retention_check_seconds")]
    pub(super) check_seconds: u64,
}

fn retention_check_seconds() -> u64 {
    60
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TelemetryFile {
    pub(super) otlp_endpoint: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) trace_ratio: Option<f64>,
    pub(super) format: LogFormat,
    pub(super) filter: Option<String>,
}
