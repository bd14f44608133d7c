//! How apps on the terminal get the license token: a Unix socket, one question and one answer a connection
//! (`events/PROTOCOL.md` 6.3).
//!
//! ```text
//!   app ──▶ socket.rs ──▶ gate.rs (uid, app, rate) ──▶ the agent's loop ──▶ Machine::hand_out_license
//!                 ◀── wire.rs (JSON lines)                                  judges and signs
//! ```

pub mod client;
mod gate;
pub mod socket;
pub mod wire;
