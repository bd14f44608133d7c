//! The container suite: three nodes, NATS and agents, each a container of the images that are shipped, on networks of
//! their own. `./ops/test containers` builds the images and runs it.
//!
//! ```text
//!     terminals ──────┬──── agents; the crowd (in the test's process)
//!                   nats
//!     bus ────────────┴──── node 1, node 2, node 3
//!     peers ─────────────── node 1, node 2, node 3     (what a partition takes away)
//! ```

#![allow(clippy::unwrap_used, reason = "a story that meets an error has failed")]

mod bring_up;
mod docker;
mod faults;
mod world;
