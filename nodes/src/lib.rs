//! One member of the control plane: consensus and every wire.
//!
//! ```text
//!   NATS ──▶ ingress/ ──batch──▶ proposer ──┬─ this node leads ──▶ raft/ ──▶ storage/   (fsync on a majority)
//!     ▲      admit, batch          ▲        └─ another leads ──▶ peers/ ──▶ its proposer
//!     │                            │                                │ committed
//!     │                        api/, leader/                        ▼
//!     └── egress/ ◀── outcomes ◀────────────────────────────── shared_projector   (the fold, on every node)
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | the node's TOML file, parsed once into types that cannot be wrong |
//! | [`node`] | puts one node together, and takes it apart in order |
//! | [`clock`], [`entropy`] | the only doors to time and randomness |
//! | [`crypto_engine`] | the P-384 arithmetic of nodes |
//! | [`storage`] | the disk: one ordered, checksummed log; the only fsync |
//! | [`raft`] | openraft: types, log, machine, network |
//! | [`peers`] | the wire between members: gRPC over mutual TLS, refused by identity first |
//! | [`proposer`] | the one way into the log: stamp and propose, or forward to who leads |
//! | [`leader`] | what only a leader does: tick, order what the fold wants, watch clocks and digests |
//! | [`shared_projector`] | the fold, shared by who reads it |
//! | [`bus`], [`ingress`], [`egress`] | NATS: messages in, verdicts and directives out |
//! | [`api`] | operators' HTTPS |
//! | [`feed`] | what changed, for those who watch live |
//! | [`webhooks`] | what changed, told to other systems |
//! | [`telemetry`] | logs, traces, metrics |

pub mod api;
pub mod bus;
pub mod clock;
pub mod config;
mod crowd;
pub mod crypto_engine;
pub mod egress;
pub mod entropy;
pub mod feed;
pub mod ingress;
pub mod leader;
pub mod node;
pub mod peers;
pub mod proposer;
pub mod raft;
mod rare_log;
pub mod shared_projector;
pub mod storage;
pub mod telemetry;
pub mod webhooks;
