//! The protocol machine against a model cluster: stories of honest terminals in trouble, and of thieves.

#![allow(clippy::unwrap_used, reason = "a test: a panic is the failure")]
#![allow(unreachable_pub, reason = "the parts of one test program")]

mod activation;
mod clock;
mod clones;
mod directives;
mod license;
mod network;
mod power_cuts;
mod restarts;
mod restricted;
mod spool;
mod support;
mod unread;
