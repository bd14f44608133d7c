//! The real `muster-agent` process over a real nats-server, in front of the model cluster of the machine's tests.

#![allow(clippy::unwrap_used, reason = "a test: a panic is the failure")]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "the parts of one test program; the model is shared with another"
)]

mod agent;
mod bus;
mod doctor;
mod failing_flash;
mod hooks;
mod license;
mod outage;
mod power_cuts;
mod refusals;
mod spool;
mod story;
mod supervisor;
#[path = "../machine/support/mod.rs"]
mod support;
mod unread;
mod update;
