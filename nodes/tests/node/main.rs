//! Nodes in one process: members that elect, commit, fall behind, restart and refuse, with real disks and, where it
//! matters, real TLS.

#![allow(clippy::unwrap_used, reason = "a story that meets an error has failed")]

mod api;
mod api_access;
mod api_document;
mod api_evidence;
mod api_factory;
mod api_health;
mod api_licenses;
mod api_limits;
mod api_live;
mod api_pages;
mod api_roles;
mod api_updates;
mod automation;
mod checkpoints;
mod clock;
mod cluster;
mod config;
mod false_history;
mod identity;
mod key_rotation;
mod levels;
mod lines;
mod majority;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the storage tests, each of which uses its own part"
)]
#[path = "../storage_support/mem_disk.rs"]
mod mem_disk;
mod mended_history;
mod mixed_versions;
mod poison;
mod processes;
mod refused_snapshot;
mod repair;
mod restored;
mod snapshot;
mod support;
mod throughput;
mod trace;
mod transfers;
mod unknown_kind;
mod webhooks;
mod whole;
mod without_nats;
