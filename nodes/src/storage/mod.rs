//! The disk: one ordered, checksummed, encrypted stream for all that raft must not forget, and snapshots.
//!
//! ```text
//!   calls ──▶ log.rs ──┬─ view.rs          positions and recent bodies, at once
//!                      └─ writer.rs        one thread: take all that is queued, write, fdatasync, call back
//!                           └─ segment_writer.rs ──▶ disk.rs      frames into segments
//!   open  ──▶ recover.rs ──▶ scan.rs       believe, cut a torn tail, or refuse by file and offset
//!        └──▶ outline.rs                   headers held against each other: from where on to read
//!        └──▶ newest.rs                    which segment was begun last: so the loss of the last file is seen
//!        └──▶ birth.rs                     an empty log begins with a birth file, or not at all
//!        └──▶ unreadable.rs                what the device does not give back is damage there, and the rest is read
//!        └──▶ repair/                      damage below what was durable: made good from peers before raft starts
//!        └──▶ scrub.rs ─▶ suspect.rs      what an open does not read is checked beside it; damage is kept in mind, and
//!                        └─▶ mend.rs       such a segment is mended in its place, with entries of peers
//!   replay, verify ──▶ log_reader.rs       committed history, read-only, beside a running node; stream.rs: one segment of it
//!   a peer repairs ──▶ archive.rs          ranges of it, from the log that this node has open
//!   a snapshot came ─▶ gaps.rs             what the log lacks since; backfill.rs keeps what peers gave for it
//!                        └─▶ proven.rs     how much of it a signed checkpoint vouched for
//!   a segment is old ▶ retention/          copied to the archive, and removed where an operator said so
//! ```
//!
//! What is written here is never rewritten: a segment only grows, a truncation begins a new one, a purge moves a floor,
//! and what retention removes lies in the archive as it was. The formats are in `events::log`.

pub mod archive;
pub mod backfill;
pub mod birth;
pub mod disk;
pub mod error;
pub mod gaps;
mod history;
pub mod log;
pub mod log_reader;
pub mod mend;
pub mod notes;
pub mod poison;
pub mod repair;
pub mod retention;
pub mod scrub;
pub mod snapshot_file;
pub mod snapshot_on_disk;
pub mod snapshot_spill;
pub mod suspect;
pub mod view;
pub mod writer;

pub(crate) mod json_file;
mod newest;
mod outline;
mod proven;
mod recover;
mod salvage;
mod scan;
mod segment_file;
mod segment_writer;
pub(crate) mod snapshot_cores;
mod stream;
mod unreadable;

pub(crate) use segment_file::segment_number_of;
