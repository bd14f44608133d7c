//! What leaves a node: verdicts, answers and refusals, sealed here and published in bursts.
//!
//! ```text
//!   outcomes ──▶ verdict / grant ──seal──▶ outbox ──bursts──▶ bus
//!   refusals (unsealed, one text per reason) ──▶ │
//! ```
//!
//! Invariants: whatever the cluster seals carries a fresh random 96-bit nonce (protocol.md rule 11); everything goes
//! to a [`crate::bus::subject::ReplyInbox`] and so nowhere else (rule 13).

pub mod nonces;
pub mod outbox;
pub mod refusal;
pub mod sealer;
pub mod verdict;

pub use outbox::Outbox;
pub use sealer::Sealer;
