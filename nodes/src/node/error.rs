//! Why a node does not start, or cannot go on.

use crate::api::ApiError;
use crate::bus::BusError;
use crate::peers::tls::TlsError;
use crate::storage::error::StorageError;
use crate::telemetry::TelemetryError;
use crate::webhooks::ReceiverError;
use events::ids::ClusterId;
use events::keyring::KeyringError;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("the keyring {} cannot be read: {why}", file.display())]
    KeyringUnreadable { file: PathBuf, why: String },
    #[error("the keyring {} is refused: {source}", file.display())]
    Keyring {
        file: PathBuf,
        #[source]
        source: KeyringError,
    },
    #[error(
        "the keyring {} belongs to cluster {found}, and this node's configuration to cluster {expected}; \
         give it the keyring of {expected}, or the configuration of {found}",
        file.display()
    )]
    OtherKeyring { file: PathBuf, found: ClusterId, expected: ClusterId },
    #[error("the keyring {} holds no usable segment keys: {why}", file.display())]
    SegmentKeys { file: PathBuf, why: String },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("peers' TLS: {0}")]
    Tls(#[from] TlsError),
    #[error("NATS' TLS: {0}")]
    NatsTls(#[source] TlsError),
    #[error("cannot listen for {what} at {address}: {why}")]
    Listen { what: &'static str, address: SocketAddr, why: String },
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("operators' API: {0}")]
    Api(#[from] ApiError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Webhook(#[from] ReceiverError),
    #[error("raft's timers contradict each other: {0}")]
    Timers(String),
    #[error("cannot recover the state from disk: {0}")]
    Recovery(String),
    #[error("the node cannot go on: {0}")]
    DiskFailed(String),
    /// The next start repairs it.
    #[error("the node cannot go on: {0}")]
    Condemned(String),
    #[error("the node cannot go on: {0}")]
    Failed(String),
}

impl NodeError {
    #[allow(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
    pub(super) fn io(error: std::io::Error) -> Self {
        NodeError::Failed(error.to_string())
    }
}
