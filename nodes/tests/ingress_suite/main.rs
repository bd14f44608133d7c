//! Ingress from the bus to the answer: a real fold, real envelopes, a log without raft.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod activation;
mod allocations;
mod fuzz;
mod heartbeat;
mod lacking;
mod lag;
mod membership;
mod nats;
mod neighbours;
mod refusals;
mod resume;
mod spool;
mod tamper;
mod terminal;
mod throughput;
mod trace;
mod update;
mod world;
