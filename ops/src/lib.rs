//! The `muster` program: what operators, factories and developers type, and the development cluster.
//!
//! ```text
//!   muster <noun> <verb> ──▶ cli/<noun>.rs ─┬─▶ api.rs ──HTTPS, token──▶ a running node   (nothing else reaches one)
//!                                           ├─▶ provisioning           the factory's files, offline
//!                                           ├─▶ offline.rs             a node's log, read-only
//!                                           ├─▶ made.rs                a log of a fleet that never was, to measure with
//!                                           └─▶ cluster/               files of a new cluster
//!   muster node ──▶ nodes::node      muster fleet ──▶ fleet/      muster dev ──▶ dev/: all of it on one machine
//! ```
//!
//! Every command answers people by default and programs with `--json`; an error says what to do, and its exit code
//! (see [`exit`]) what kind it is.

pub mod api;
pub mod cli;
pub mod cluster;
pub mod context;
pub mod dev;
pub mod exit;
pub mod files;
pub mod fleet;
pub mod listing;
pub mod made;
pub mod nats;
pub mod offline;
pub mod output;
pub mod spent;
pub mod tls;
mod unfinished;

/// What goes wrong in this room: a chain of causes for people, with an exit code where one was chosen.
pub type Error = anyhow::Error;
