//! The program on the terminal: a pure protocol machine and a thin shell around it.
//!
//! ```text
//!   OTP, components ──▶ boot check ──▶ Machine ◀──▶ shell ◀──▶ NATS, state file, clock, entropy
//! ```
//!
//! [`machine`] decides and touches nothing; [`shell`] touches and decides nothing; [`cli`] is what people type.
//! [`license`] is how apps get the license token, [`hooks`] how the vendor's programs hear what the terminal may do,
//! [`update`] the only thing that a restricted terminal does.
//! `muster fleet` drives the same machine for many simulated terminals in one process.

pub mod cli;
pub mod doctor;
pub mod hooks;
pub mod license;
pub mod machine;
pub mod shell;
pub mod update;
