//! Puts rebuilt segments where the damaged ones are. Whenever the power goes, it is done again from the mark in the
//! need: what still lies in the workshop is new, and what has its name in the log is old.

use super::need::Need;
use super::{WORKSHOP, owner};
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::json_file::remove_if_there;
use crate::storage::log::LogOptions;
use crate::storage::newest::Newest;
use crate::storage::recover::recover;
use crate::storage::segment_file::{SegmentFile, last_segment, read_range, segment_path};
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
    name_newest(disk, options, through)?;
    match recover(disk, dir, &owner(options), 0, options.needs_history) {
        Ok(recovered) if reaches(&recovered, &need) => {
            Need::clear(disk, dir)?;
            Ok(None)
        }
        // A new segment was lost or damaged on the way: it is all done again.
        Ok(_) | Err(StorageError::Corrupt(_)) => {
            tracing::warn!("the rebuilt log is not whole: it is rebuilt again");
            need.rebuilt_through = None;
            need.generation += 1;
            need.persist(disk, dir, &owner(options))?;
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
            rename_damaged(disk, &path, &names)?;
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

/// The last one that was rebuilt is the last one of the log. What lies there may not be readable, if it was lost on the
/// way: then the open that follows says so.
fn name_newest(disk: &dyn Disk, options: &LogOptions, through: u64) -> Result<(), StorageError> {
    let (path, owner) = (segment_path(&options.dir, through), owner(options));
    let Ok(file) = disk.open_read(&path) else { return Ok(()) };
    let Ok(Ok((_, header))) = SegmentFile::open(path, file, through, &owner) else { return Ok(()) };
    Newest::of(&header).persist(disk, &options.dir, &owner)
}

fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StorageError> {
    disk.rename(from, to).map_err(StorageError::io("renaming to", to))
}

/// Writes what a damaged file holds beside it, since the file itself must stay until another is in its place. What lies
/// there already is not written again, however often somebody tries.
pub(in crate::storage) fn keep_damaged(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
) -> Result<(), StorageError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let names = disk.list(dir).map_err(StorageError::io("listing", dir))?;
    let is_held = holds_it(disk, path, &names, bytes);
    let Some(aside) = free_name(path, &names).filter(|_| !is_held) else { return Ok(()) };
    let write = || {
        let file = disk.create_new(&aside).map_err(StorageError::io("creating", &aside))?;
        file.write_at(0, bytes).map_err(StorageError::write(&aside, 0))?;
        file.sync_data().map_err(StorageError::io("syncing", &aside))
    };
    if let Err(error) = write() {
        // A disk that is full would stay so.
        let _ = remove_if_there(disk, &aside);
        return Err(error);
    }
    disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))
}

/// Whether just that was set aside under this file's number before.
fn holds_it(disk: &dyn Disk, path: &Path, names: &[String], bytes: &[u8]) -> bool {
    let dir = path.parent().unwrap_or(Path::new("."));
    let before = path.file_name().map(|name| format!("{}.damaged", name.display())).unwrap_or_default();
    names.iter().filter(|name| name.starts_with(&before)).any(|name| {
        let held = disk.open_read(&dir.join(name)).and_then(|file| read_range(&*file, 0, bytes.len() + 1));
        held.is_ok_and(|held| held == bytes)
    })
}

/// Sets a file aside beside those that were set aside under its number before; `names` are those in its folder.
pub(super) fn rename_damaged(disk: &dyn Disk, path: &Path, names: &[String]) -> Result<(), StorageError> {
    free_name(path, names).map_or(Ok(()), |aside| rename(disk, path, &aside))
}

/// `….log.damaged`, `….log.damaged.2`, and so on: the first that none of `names` is.
fn free_name(path: &Path, names: &[String]) -> Option<PathBuf> {
    let is_free = |aside: &PathBuf| {
        aside.file_name().is_some_and(|name| names.iter().all(|taken| name != taken.as_str()))
    };
    let later = (2u32..).map(|time| path.with_extension(format!("log.damaged.{time}")));
    std::iter::once(path.with_extension("log.damaged")).chain(later).find(is_free)
}
