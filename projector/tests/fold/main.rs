//! The fold, told as stories about a small fleet. After every committed entry the invariants are checked, and at the
//! end of every story its log is folded again, through a snapshot, to the same digest.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod activation;
mod attribution;
mod batches;
mod checkpoints;
mod clones;
mod factory;
mod heartbeats;
mod honest;
mod licenses;
mod nonsense;
mod operations;
mod ratchet;
mod restore;
mod spool;
mod terminal;
mod updates;
mod world;
