//! Who may connect to NATS, and as what. Until a gate decides that at each connection, these are static users in the
//! server's configuration.
//!
//! Each source is a user that may publish below its own subjects only and listen in its own inboxes only: NATS
//! messages carry no sender, so this confinement *is* the sender. Allow-lists only, no deny rules. The nodes may
//! publish below the inboxes of the sources, and elsewhere answers to what they received (`allow_responses`).

mod config;
mod registry;

pub use config::{Permissions, ServerTls, User, config_text};
pub use registry::{Inbox, NODES, Registry, SourceEntry};
