//! Nodes in one process: members that elect, commit, fall behind, restart and refuse, with real disks and, where it
//! matters, real TLS.

mod api;
mod clock;
mod cluster;
mod config;
mod identity;
mod snapshot;
mod support;
mod throughput;
