//! One node: put together in order, taken apart in the reverse.
//!
//! ```text
//!   start   keyring ─▶ core (disk, fold, raft) ─▶ peers' wire ─▶ run ─▶ bus, ingress ─▶ API
//!   stop    ingress drained ─▶ leadership handed over ─▶ API ─▶ raft ─▶ peers' wire ─▶ disk closed
//! ```
//!
//! A node whose storage or raft failed stops at once and says why: it neither answers nor retries.

pub mod core;
mod error;
mod form;
mod keyring;

pub use error::NodeError;
