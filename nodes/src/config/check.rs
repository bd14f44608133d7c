//! What must hold between the fields of a configuration.

use super::file::{
    ApiFile, LimitsFile, MemberFile, NodeFile, PeersFile, RaftFile, RetentionFile, TelemetryFile,
};
use super::{
    AccessRole, ApiClient, ApiConfig, ApiLimits, ApiToken, ConfigError, HEARTBEAT_MS, Limits, MemberConfig,
    NodeConfig, PeersConfig, RaftTimers, RetentionConfig, Secret, TelemetryConfig, TokenDigest,
};
use crate::peers::tls::roots;
use events::limits::{BATCH_HEARTBEATS_MAX, SEGMENT_BYTES_TARGET};
use std::path::{Component, Path, PathBuf};

/// A name of somebody who asks, in bytes.
const NAME_LENGTH_MAX: usize = 100;
/// A bearer token shorter than this could be guessed, in characters.
const TOKEN_LENGTH_MIN: usize = 32;
/// Members of one cluster; raft with more voters only gets slower.
const MEMBERS_MAX: usize = 9;

pub(super) struct Checker<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Checker<'_> {
    pub(super) fn check(&self, file: NodeFile) -> Result<NodeConfig, ConfigError> {
        let data_directory = self.resolve(&file.data_directory);
        let keyring = self.resolve(&file.keyring);
        if normal(&keyring).starts_with(normal(&data_directory)) {
            let why = format!(
                "the keyring {} lies within the data directory {}; expected a path outside of it: who copies the \
                 data must not get the keys",
                keyring.display(),
                data_directory.display()
            );
            return Err(self.refuse("keyring", why));
        }
        let members = self.members(file.members)?;
        if !members.iter().any(|m| m.id == file.node) {
            return Err(self.refuse("node", format!("expected one of the members' ids, got {}", file.node)));
        }
        let retention =
            file.retention.map(|retention| self.retention(retention, &data_directory)).transpose()?;
        Ok(NodeConfig {
            cluster: file.cluster,
            node: file.node,
            name: file.name,
            region: file.region,
            data_directory,
            keyring,
            factory_keys: file.factory_keys,
            update_keys: file.update_keys,
            peers: self.peers(file.peers),
            members,
            nats: self.nats(file.nats)?,
            api: self.api(file.api)?,
            webhooks: self.webhooks(file.webhooks)?,
            raft: self.raft(file.raft)?,
            limits: self.limits(file.limits)?,
            retention,
            telemetry: self.telemetry(file.telemetry)?,
        })
    }

    pub(super) fn refuse(&self, field: &str, why: impl Into<String>) -> ConfigError {
        ConfigError::at(self.path, self.text, field, why)
    }

    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The content of a file that holds one secret.
    pub(super) fn secret(&self, field: &str, path: &Path) -> Result<Secret, ConfigError> {
        let path = self.resolve(path);
        let text = std::fs::read_to_string(&path)
            .map_err(|e| self.refuse(field, format!("{} cannot be read: {e}", path.display())))?;
        let text = zeroize::Zeroizing::new(text);
        if text.trim().is_empty() {
            return Err(self.refuse(field, format!("{} is empty; expected a secret in it", path.display())));
        }
        Ok(Secret::new(text.trim().to_owned()))
    }

    /// The path of a file with authorities in it.
    pub(super) fn authorities(
        &self,
        field: &str,
        path: Option<&Path>,
    ) -> Result<Option<PathBuf>, ConfigError> {
        let Some(path) = path.map(|path| self.resolve(path)) else { return Ok(None) };
        roots(&path).map_err(|unfit| self.refuse(field, unfit.to_string()))?;
        Ok(Some(path))
    }

    fn members(&self, files: Vec<MemberFile>) -> Result<Vec<MemberConfig>, ConfigError> {
        let mut members: Vec<_> = files
            .into_iter()
            .map(|m| MemberConfig { id: m.id, name: m.name, region: m.region, address: m.address })
            .collect();
        members.sort_by_key(|m| m.id);
        if members.is_empty() || members.len() > MEMBERS_MAX {
            let why = format!("expected 1 to {MEMBERS_MAX} members, got {}", members.len());
            return Err(self.refuse("members", why));
        }
        for pair in members.windows(2) {
            if pair[0].id == pair[1].id {
                return Err(self.refuse("members.id", format!("two members have the id {}", pair[0].id)));
            }
        }
        for member in &members {
            let port = member.address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if member.id == 0 || port.is_none() {
                let why = format!("expected an id from 1 and an address `host:port`, got {member:?}");
                return Err(self.refuse("members.address", why));
            }
        }
        Ok(members)
    }

    fn peers(&self, file: PeersFile) -> PeersConfig {
        PeersConfig {
            listen: file.listen,
            authority: self.resolve(&file.authority),
            certificate: self.resolve(&file.certificate),
            key: self.resolve(&file.key),
        }
    }

    fn api(&self, file: ApiFile) -> Result<ApiConfig, ConfigError> {
        let limits = self.api_limits(&file)?;
        let mut tokens = Vec::new();
        if let Some(path) = &file.token_file {
            let digest = self.admin_token(path)?;
            tokens.push(ApiToken { name: "admin".to_owned(), role: AccessRole::Admin, digest });
        }
        for token in file.tokens {
            let digest = token.sha256.parse().map_err(|why: String| self.refuse("api.tokens.sha256", why))?;
            tokens.push(ApiToken {
                name: self.who("api.tokens.name", token.name)?,
                role: token.role,
                digest,
            });
        }
        if tokens.is_empty() && file.client_authority.is_none() {
            let why =
                "expected `token_file`, `[[api.tokens]]` or `client_authority`: nobody could ask this node";
            return Err(self.refuse("api.token_file", why));
        }
        if file.client_authority.is_none() && !file.clients.is_empty() {
            return Err(
                self.refuse("api.clients", "expected `client_authority` too: whose certificates count")
            );
        }
        let clients = file.clients.into_iter().map(|client| {
            Ok(ApiClient { name: self.who("api.clients.name", client.name)?, role: client.role })
        });
        Ok(ApiConfig {
            listen: file.listen,
            certificate: self.resolve(&file.certificate),
            key: self.resolve(&file.key),
            tokens,
            client_authority: file.client_authority.as_deref().map(|path| self.resolve(path)),
            clients: clients.collect::<Result<_, ConfigError>>()?,
            limits,
        })
    }

    /// The file holds the token's digest, or the token itself, of which only the digest is kept.
    fn admin_token(&self, path: &Path) -> Result<TokenDigest, ConfigError> {
        let token = self.secret("api.token_file", path)?;
        if let Ok(digest) = token.expose().parse() {
            return Ok(digest);
        }
        if token.expose().len() < TOKEN_LENGTH_MIN {
            let why = format!("expected a token of at least {TOKEN_LENGTH_MIN} characters, or its digest");
            return Err(self.refuse("api.token_file", why));
        }
        Ok(TokenDigest::of(token.expose()))
    }

    /// A name that the log may keep.
    fn who(&self, field: &str, name: String) -> Result<String, ConfigError> {
        if name.trim().is_empty() || name.len() > NAME_LENGTH_MAX {
            return Err(self.refuse(field, format!("expected 1 to {NAME_LENGTH_MAX} bytes, got `{name}`")));
        }
        Ok(name)
    }

    fn api_limits(&self, file: &ApiFile) -> Result<ApiLimits, ConfigError> {
        let usual = ApiLimits::default();
        let limits = ApiLimits {
            connections: file.connections_max.unwrap_or(usual.connections),
            requests: file.requests_max.unwrap_or(usual.requests),
            watchers: file.watchers_max.unwrap_or(usual.watchers),
            request_ms_max: file.request_ms_max.unwrap_or(usual.request_ms_max),
            ready_lag_entries: file.ready_lag_entries.unwrap_or(usual.ready_lag_entries),
        };
        self.within("api.connections_max", limits.connections as u64, 1, 65_536)?;
        self.within("api.requests_max", limits.requests as u64, 1, 4_096)?;
        self.within("api.watchers_max", limits.watchers as u64, 0, 4_096)?;
        self.within("api.request_ms_max", limits.request_ms_max, 100, 600_000)?;
        self.within("api.ready_lag_entries", limits.ready_lag_entries, 1, 10_000_000)?;
        Ok(limits)
    }

    fn raft(&self, file: RaftFile) -> Result<RaftTimers, ConfigError> {
        self.within("raft.heartbeat_ms", file.heartbeat_ms, 10, 10_000)?;
        self.within("raft.election_ms_min", file.election_ms_min, 3 * file.heartbeat_ms, 100_000)?;
        self.within("raft.election_ms_max", file.election_ms_max, file.election_ms_min + 1, 200_000)?;
        self.within("raft.proposal_ms_max", file.proposal_ms_max, file.heartbeat_ms, 60_000)?;
        self.within("raft.snapshot_entries", file.snapshot_entries, 1, 10_000_000)?;
        self.within("raft.keep_entries", file.keep_entries, 0, 10_000_000)?;
        Ok(RaftTimers {
            heartbeat_ms: file.heartbeat_ms,
            election_ms_min: file.election_ms_min,
            election_ms_max: file.election_ms_max,
            proposal_ms_max: file.proposal_ms_max,
            snapshot_entries: file.snapshot_entries,
            keep_entries: file.keep_entries,
        })
    }

    fn limits(&self, file: LimitsFile) -> Result<Limits, ConfigError> {
        let (shortest, longest) = (u64::from(*HEARTBEAT_MS.start()), u64::from(*HEARTBEAT_MS.end()));
        self.within("limits.heartbeat_ms", u64::from(file.heartbeat_ms), shortest, longest)?;
        // More would never be looked at: one batch takes no more.
        self.within("limits.queue_messages", file.queue_messages as u64, 1, BATCH_HEARTBEATS_MAX as u64)?;
        self.within("limits.parked_per_source", file.parked_per_source as u64, 0, 1 << 16)?;
        self.within("limits.activations_parallel", file.activations_parallel as u64, 1, 256)?;
        self.within("limits.disk_reserve_bytes", file.disk_reserve_bytes, 0, 1 << 50)?;
        self.within("limits.checkpoint_ms", file.checkpoint_ms, 0, 86_400_000)?;
        Ok(Limits {
            heartbeat_ms: file.heartbeat_ms,
            queue_messages: file.queue_messages,
            parked_per_source: file.parked_per_source,
            activations_parallel: file.activations_parallel,
            checkpoint_ms: file.checkpoint_ms,
            disk_reserve_bytes: file.disk_reserve_bytes,
        })
    }

    fn retention(&self, file: RetentionFile, data: &Path) -> Result<RetentionConfig, ConfigError> {
        let archive_directory = self.resolve(&file.archive_directory);
        if normal(&archive_directory).starts_with(normal(data)) {
            let why = format!(
                "the archive {} lies within the data directory {}; expected a path outside of it, best on another disk",
                archive_directory.display(),
                data.display()
            );
            return Err(self.refuse("retention.archive_directory", why));
        }
        if let Some(days) = file.age_days_max {
            self.within("retention.age_days_max", days, 1, 36_500)?;
        }
        if let Some(bytes) = file.bytes_max {
            self.within("retention.bytes_max", bytes, 4 * SEGMENT_BYTES_TARGET, 1 << 60)?;
        }
        self.within("retention.check_seconds", file.check_seconds, 1, 86_400)?;
        Ok(RetentionConfig {
            archive_directory,
            age_millis_max: file.age_days_max.map(|days| days * 86_400_000),
            bytes_max: file.bytes_max,
            check_seconds: file.check_seconds,
        })
    }

    fn telemetry(&self, file: TelemetryFile) -> Result<TelemetryConfig, ConfigError> {
        if let Some(endpoint) = &file.otlp_endpoint
            && !(endpoint.starts_with("http://") || endpoint.starts_with("https://"))
        {
            let why = format!("expected a URL such as http://127.0.0.1:4317, got `{endpoint}`");
            return Err(self.refuse("telemetry.otlp_endpoint", why));
        }
        let encrypted = file.otlp_endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("https://"));
        if file.ca_file.is_some() && !encrypted {
            let why = "expected an `otlp_endpoint` of https:// too: no other shows a certificate";
            return Err(self.refuse("telemetry.ca_file", why));
        }
        let ca_file = self.authorities("telemetry.ca_file", file.ca_file.as_deref())?;
        let trace_ratio = file.trace_ratio.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&trace_ratio) {
            let why = format!("expected 0 to 1, got {trace_ratio}");
            return Err(self.refuse("telemetry.trace_ratio", why));
        }
        let filter = file.filter.unwrap_or_else(|| "info".to_owned());
        Ok(TelemetryConfig {
            otlp_endpoint: file.otlp_endpoint,
            ca_file,
            trace_ratio,
            format: file.format,
            filter,
        })
    }

    pub(super) fn within(&self, field: &str, got: u64, min: u64, max: u64) -> Result<(), ConfigError> {
        if (min..=max).contains(&got) {
            return Ok(());
        }
        Err(self.refuse(field, format!("expected {min} to {max}, got {got}")))
    }
}

/// The path without `.` and `..`, made absolute; links are followed where the path exists already.
fn normal(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut normal = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => normal.push(part),
        }
    }
    normal
}
