//! The vendor's programs: told what the terminal may do, and what the cluster offers.
//!
//! ```text
//!   standing (the newest counts) ──┐
//!                                  ├─▶ desk.rs: one hook at a time ──▶ runner.rs ──▶ the vendor's program
//!   update, notify (each once) ────┘        retries `full`, `restricted`      argv, environment, time, output bounded
//! ```
//!
//! A hook never holds up the protocol: it runs beside the agent's loop.

mod desk;
mod occasion;
mod runner;

pub use desk::HookDesk;
pub use occasion::{Occasion, TerminalStanding};
pub use runner::{HookEnd, HookOutcome, run_hook};
