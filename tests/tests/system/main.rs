//! The whole system as its users meet it: real programs, real nats-server, real disks.

#![allow(clippy::unwrap_used, reason = "a story that meets an error has failed")]

mod command_line;
mod deploy;
mod development_cluster;
mod disk_full;
mod evidence;
mod factory_line;
mod garbage;
mod guides;
mod listing;
mod nats_confinement;
mod nats_tls;
mod node_start;
mod other_cluster;
mod restarts;
mod sales;
mod support;
mod trace;
mod update;
mod update_abort;
mod webhook_tls;
