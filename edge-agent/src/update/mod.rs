//! Software update: the only thing that a restricted terminal may do.
//!
//! ```text
//!   verdict, timer ─▶ desk.rs ─▶ NATS: the lot's offer ─▶ judge.rs ─▶ job.rs: Downloading ─▶ Verified ─▶ Installing ─▶ Installed
//!                        ▲                                   │             │ download.rs ◀─ http.rs     │ the vendor's hook
//!                        │                                   ▼             └────── journal.rs: each step on flash first
//!                 result.rs: what heartbeats tell       refused: told to nobody             consent.rs: is it still offered?
//! ```
//!
//! What comes is written by `sink.rs`, away from the agent's loop.
//!
//! Invariants:
//! - Nothing but a file whose size and digest are those of an offer under a pinned key reaches the hook.
//! - What the cluster took back before the hook began is not installed, if it could be asked, until it is offered again.
//! - Nothing is given up because of a clock that no sealed stamp of this boot vouches for.
//! - The floor rises only after the version offered has booted, and never goes down.
//! - Each step is durable before the next begins; after a power cut the work goes on from the last one.

mod config;
mod consent;
mod desk;
mod download;
mod event;
mod http;
mod job;
mod journal;
mod judge;
mod offer_time;
mod pace;
mod result;
mod sink;
mod worker;

pub use config::{OfferUrl, UpdateConfig};
pub use desk::{UpdateDesk, UpdateIdentity, Wanted, folder};
pub use download::{Download, Fetched};
pub use event::UpdateEvent;
pub use http::{HttpClient, HttpError};
pub use job::{Job, Settled, Source, Step};
pub use journal::{Installed, Journal, JournalError, Kept, Unsettled, read};
pub use judge::{Target, judge};
pub use offer_time::OfferTime;
