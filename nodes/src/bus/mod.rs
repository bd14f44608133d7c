//! The bus: how messages of terminals reach a node and how its answers leave. NATS in a cluster, memory in tests.
//!
//! ```text
//!   terminal ──publish──▶ muster.v1.<region>.up.<source>.<device>.<kind> ──queue group──▶ one node of all
//!   terminal ◀─────────── _INBOX_<device>.<anything> ◀──────────────────publish────────── that node
//! ```
//!
//! A queue group serves locally first and fails over by itself; a node that cannot commit leaves it.

pub mod memory;
pub mod nats;
mod relay;
mod sanitize;
pub mod subject;
mod trust;

pub use async_nats::Subject;
pub use memory::MemBus;
pub use nats::{NatsBus, NatsOptions};
pub use trust::Trust;

use bytes::Bytes;
use futures::future::BoxFuture;
use std::task::{Context, Poll};
use tokio::sync::watch;

/// The queue group of all nodes.
pub const QUEUE_GROUP: &str = "muster-nodes";

/// A message as it came: nothing of it is trusted yet but that the server let it pass on this subject.
#[derive(Clone, Debug)]
pub struct Message {
    pub subject: Subject,
    pub reply: Option<Subject>,
    pub payload: Bytes,
    /// The sender's W3C `traceparent` header, unparsed.
    pub trace: Option<Box<str>>,
}

/// An answer on its way out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub subject: Subject,
    pub payload: Bytes,
}

/// Whether the bus carries messages now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusHealth {
    Connected,
    Disconnected,
    /// The server must not be used, or does not let this node in; says why.
    Refused(String),
}

/// Why the bus did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error(
        "nats-server `{server}` at {address} is version {version}, but {needed} or newer is needed: older ones \
         have known authorization bypasses; upgrade it"
    )]
    ServerTooOld { server: String, address: String, version: String, needed: &'static str },
    #[error("cannot use the NATS servers {servers}: {why}")]
    Connect { servers: String, why: String },
    #[error("cannot read {path}: {why}")]
    Credentials { path: String, why: String },
    #[error("the bus has no connection")]
    Disconnected,
    #[error("the bus is closed")]
    Closed,
}

/// Carries messages between terminals and nodes.
pub trait Bus: Send + Sync + 'static {
    /// Joins `group` on `pattern`: each message goes to one member of the group.
    fn subscribe<'a>(
        &'a self,
        pattern: &'a str,
        group: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, BusError>>;

    /// Sends all of `burst` in order and leaves it empty; waits while the connection is saturated, and refuses while
    /// there is none.
    fn publish<'a>(&'a self, burst: &'a mut Vec<Outgoing>) -> BoxFuture<'a, Result<(), BusError>>;

    fn health(&self) -> watch::Receiver<BusHealth>;
}

/// A place in a queue group. Dropping it leaves the group and discards what was not taken.
pub trait Subscription: Send {
    /// Ready once a message is there: takes what came, at most `max`, and says whether more can follow.
    /// Nothing is taken while it is pending, so that a caller may stop waiting at any moment.
    fn poll_burst(&mut self, cx: &mut Context<'_>, into: &mut Vec<Message>, max: usize) -> Poll<bool>;

    /// Leaves the group. What was already delivered can still be taken; then the subscription ends.
    fn leave(&mut self) -> BoxFuture<'_, Result<(), BusError>>;
}
