//! Repair of a log that lost what was known durable: from its peers, before raft starts.
//!
//! ```text
//!   open ─ damage ─▶ survey.rs    what may have been acknowledged and voted, from all that is intact
//!                       └─▶ need.rs      persisted: until it is cleared, no open succeeds
//!   peers ─ entries ─▶ rebuild.rs        new segments beside the old ones, from the damaged one on
//!                       └─▶ install.rs   marked, renamed into place, opened once, and the need cleared
//! ```
//!
//! - What this node may have acknowledged is counted high, never low: it comes back only with a log that reaches a
//!   committed index at or above that, so no majority that it was part of is forgotten.
//! - A vote that may be lost is made up for by a vote in a term at or above every member's: see [`Need::vote_is_known`].
//! - Damaged files are kept beside the log, with `.damaged` after their name.
//!
//! A torn tail is not damage: it is cut, and needs no repair.

mod headless;
mod install;
mod need;
mod rebuild;
mod set_aside;
mod survey;

pub use need::{NEED_FILE, Need};
pub use rebuild::Rebuild;

pub(super) use install::keep_damaged;
pub(super) use need::refuse_if_needed;
pub(super) use set_aside::{salvage_set_aside, set_all_aside};

use super::disk::Disk;
use super::error::{Corruption, StorageError};
use super::log::{LogOptions, prepare};
use super::segment_file::Owner;

/// The folder, within the log's own, in which segments are rebuilt.
const WORKSHOP: &str = "repair";

/// What the log in `options` needs, after `damage` kept it from opening: notes it for good before it is returned.
/// Blocks on the disk, as everything here.
pub fn note_damage(disk: &dyn Disk, options: &LogOptions, damage: &Corruption) -> Result<Need, StorageError> {
    let _lock = prepare(disk, &options.dir)?;
    let need = survey::survey(disk, &options.dir, &owner(options), damage)?;
    need.persist(disk, &options.dir, &owner(options))?;
    Ok(need)
}

/// What was noted before. Segments that an earlier process rebuilt are put into place first; `None` if nothing is left
/// to do.
pub fn noted(disk: &dyn Disk, options: &LogOptions) -> Result<Option<Need>, StorageError> {
    let _lock = prepare(disk, &options.dir)?;
    let Some(need) = Need::read(disk, &options.dir, &owner(options))? else { return Ok(None) };
    install::install(disk, options, need)
}

fn owner(options: &LogOptions) -> Owner {
    let LogOptions { cluster, node, keys, .. } = options;
    Owner { cluster: Some(*cluster), node: Some(*node), keys: keys.clone() }
}
