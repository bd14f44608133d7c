//! Nodes in one process: members that elect, commit, fall behind, restart and refuse, with real disks and, where it
//! matters, real TLS.

#![allow(clippy::unwrap_used, reason = "a story that meets an error has failed")]

mod api;
mod automation;
mod clock;
mod cluster;
mod config;
mod identity;
mod poison;
mod processes;
mod snapshot;
mod support;
mod throughput;
mod whole;
