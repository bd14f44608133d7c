//! The thin shell: everything of the agent that touches the world, one file per thing it touches.
//!
//! ```text
//!   run.rs, activate.rs ──▶ agent.rs ──┬─▶ machine/       what to do
//!                                      ├─▶ state_file.rs ──▶ flash.rs   fsync before going on
//!                                      ├─▶ bus.rs         NATS
//!                                      ├─▶ boot.rs ──▶ hardware.rs      OTP and components
//!                                      └─▶ clock.rs, entropy.rs
//! ```

pub mod activate;
pub mod agent;
pub mod announcer;
pub mod boot;
pub mod bus;
pub mod clock;
pub mod config;
pub mod control;
pub mod entropy;
pub mod flash;
pub mod hardware;
pub mod home;
pub mod lock;
pub mod owner;
pub mod replace;
pub mod run;
pub mod spans;
pub mod state_file;
pub mod supervisor;
pub mod traceparent;
