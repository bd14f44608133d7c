//! What both ends of every wire agree on: words, formats and cryptography.
//!
//! ```text
//!   bytes from a wire or a disk ──▶ parse ──▶ types that cannot be wrong ──▶ projector, nodes, agent, factory
//!                                     │
//!                  identity/   who a device is: OTP record, fingerprint, device key
//!                  envelope/   how it speaks: ticket, activation, resume, heartbeat, verdict
//!                  license/    what it paid for: activation codes, license tokens
//!                  update/     what is offered: signed updates
//!                  vocabulary/ what happened: one file per family of events
//!                  batch.rs    what one raft entry carries
//!                  log/        how the log lies on disk (formats only; the disk is in `nodes`)
//! ```
//!
//! This room is pure: it knows no clock, entropy, file or network. Time arrives as a [`time::Timestamp`],
//! randomness as bytes or as an `rand_core::CryptoRng` of the caller.

pub mod batch;
pub mod envelope;
pub mod identity;
pub mod ids;
pub mod keyring;
pub mod license;
pub mod limits;
pub mod log;
#[cfg(feature = "schema")]
pub mod schema;
mod secret;
pub mod time;
pub mod update;
pub mod vocabulary;
