//! The wire between members: one call, answered once, over mutual TLS.
//!
//! ```text
//!   raft/network ─┐                                              ┌─▶ raft handlers
//!   proposer ─────┼─ PeerTransport::call ══ gRPC, mutual TLS ══▶ gate ─ PeerService::answer ─┼─▶ proposer (forwarded batches)
//!   watch ────────┘   (client.rs, line.rs)            (server.rs, identity.rs)               └─▶ status
//! ```
//!
//! Calls travel on *lines*: a stream of calls to a peer and of their answers back, opened when first needed and again
//! when it broke. Identity comes first. A peer's certificate is signed by the cluster's own authority and its name
//! carries cluster and node ([`certificate_name`]); every line names cluster, sender and receiver in its head. What
//! does not match is refused and counted before a byte of a call is read.
//!
//! [`PeerTransport`] and [`PeerService`] are the seam at which simulation takes the place of sockets.

mod client;
mod codec;
pub mod counters;
pub mod identity;
mod line;
mod lobby;
pub mod message;
mod server;
pub mod tls;
pub mod watch;

pub use client::TonicTransport;
pub use counters::PeerCounters;
pub use identity::certificate_name;
pub use message::{PeerReply, PeerRequest, PeerStatus};
pub use server::PeerServer;

use events::ids::NodeId;
use futures::future::BoxFuture;
use std::time::Duration;

/// Who is called, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddress {
    pub node: NodeId,
    /// `host:port`.
    pub address: String,
}

/// Why a call brought no reply. Whether the peer acted on it is unknown unless it refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("node {node} cannot be reached: {why}")]
    Unreachable { node: NodeId, why: String },
    #[error("node {node} did not answer within {} ms", after.as_millis())]
    Timeout { node: NodeId, after: Duration },
    #[error("node {node} refused this node: {why}")]
    Refused { node: NodeId, why: String },
    #[error("node {node} answered with what is no reply: {why}")]
    Malformed { node: NodeId, why: String },
}

/// Carries a call to a peer and its reply back.
pub trait PeerTransport: Send + Sync + 'static {
    fn call<'a>(
        &'a self,
        to: &'a PeerAddress,
        request: PeerRequest,
        within: Duration,
    ) -> BoxFuture<'a, Result<PeerReply, PeerError>>;
}

/// What a node does with a call of a peer whose identity was proven.
pub trait PeerService: Send + Sync + 'static {
    fn answer(&self, from: NodeId, request: PeerRequest) -> BoxFuture<'_, PeerReply>;
}

/// An error with its causes, since a transport hides the telling one at the bottom.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
