//! Puts rebuilt segments where the damaged ones are. Whenever the power goes, it is done again from the mark in the
//! need: what still lies in the workshop is new, and what has its name in the log is old.

use super::need::Need;
use super::{WORKSHOP, owner};
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::log::LogOptions;
use crate::storage::recover::recover;
use crate::storage::segment_file::{last_segment, segment_path};
use std::path::{Path, PathBuf};

/// `None` once the log is whole and the need is cleared; the need, if there is more to do than to install.
pub(super) fn install(
    disk: &dyn Disk,
    options: &LogOptions,
    mut need: Need,
) -> Result<Option<Need>, StorageError> {
    let Some(through) = need.rebuilt_through else { return Ok(Some(need)) };
    let dir = &options.dir;
    put_into_place(disk, dir, need.from_segment, through)?;
    match recover(disk, dir, &owner(options), 0) {
        Ok(recovered) if reaches(&recovered, &need) => {
            Need::clear(disk, dir)?;
            Ok(None)
        }
        // A new segment was lost or damaged on the way: it is all done again.
        Ok(_) | Err(StorageError::Corrupt(_)) => {
            tracing::warn!("the rebuilt log is not whole: it is rebuilt again");
            need.rebuilt_through = None;
            need.generation += 1;
            need.persist(disk, dir)?;
            Ok(Some(need))
        }
        Err(other) => Err(other),
    }
}

fn reaches(recovered: &crate::storage::recover::Recovered, need: &Need) -> bool {
    recovered.view.standing().last.map(|last| last.index) >= need.acknowledged
}

fn put_into_place(disk: &dyn Disk, dir: &Path, from: u64, through: u64) -> Result<(), StorageError> {
    let workshop = dir.join(WORKSHOP);
    let waiting = disk.list(&workshop).map_err(StorageError::io("listing", &workshop))?;
    let names = disk.list(dir).map_err(StorageError::io("listing", dir))?;
    let is_in = |names: &[String], path: &Path| {
        path.file_name().is_some_and(|name| names.iter().any(|other| name == other.as_str()))
    };
    for segment in from..=last_segment(disk, dir)?.max(through) {
        let (new, path) = (segment_path(&workshop, segment), segment_path(dir, segment));
        let is_waiting = is_in(&waiting, &new);
        if is_in(&names, &path) && (is_waiting || segment > through) {
            rename_damaged(disk, &path)?;
        }
    }
    // The old ones have their new names before new ones take theirs.
    disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))?;
    for segment in from..=through {
        let (new, path) = (segment_path(&workshop, segment), segment_path(dir, segment));
        if is_in(&waiting, &new) {
            rename(disk, &new, &path)?;
        }
    }
    disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))?;
    disk.sync_dir(&workshop).map_err(StorageError::io("syncing", &workshop))
}

fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StorageError> {
    disk.rename(from, to).map_err(StorageError::io("renaming to", to))
}

pub(super) fn rename_damaged(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    rename(disk, path, &damaged(path))
}

pub(super) fn damaged(path: &Path) -> PathBuf {
    path.with_extension("log.damaged")
}
