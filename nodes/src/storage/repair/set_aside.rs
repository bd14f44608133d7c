//! Segments that were set aside because they, or one before them, are damaged: what is intact of them is still there.

use super::install::rename_damaged;
use super::owner;
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::log::{LogOptions, prepare};
use crate::storage::newest::Newest;
use crate::storage::salvage::{Salvage, Salvaged};
use crate::storage::segment_file::{SegmentFile, numbers_of_segments, segment_number_of, segment_path};
use crate::storage::suspect::Suspect;
use crate::storage::view::LogEntry;
use bytes::Bytes;
use events::ids::LogIndex;
use events::log::record::Record;
use std::path::{Path, PathBuf};

/// Sets the whole log aside: it begins anew where it is opened next.
pub(in crate::storage) fn set_all_aside(disk: &dyn Disk, options: &LogOptions) -> Result<(), StorageError> {
    let dir = &options.dir;
    let _lock = prepare(disk, dir)?;
    let names = disk.list(dir).map_err(StorageError::io("listing", dir))?;
    for number in numbers_of_segments(disk, dir)? {
        rename_damaged(disk, &segment_path(dir, number), &names)?;
    }
    Newest::forget(disk, dir)?;
    Suspect::clear(disk, dir)
}

/// Entries of segments that were set aside, from `from` on until one is missing or it is the end of a segment.
pub(in crate::storage) fn salvage_set_aside(
    disk: &dyn Disk,
    options: &LogOptions,
    from: LogIndex,
) -> Result<Vec<LogEntry>, StorageError> {
    let (dir, owner, mut found) = (&options.dir, owner(options), Vec::new());
    for (number, path) in files_set_aside(disk, dir)? {
        let Ok(file) = disk.open_read(&path) else { continue };
        let Ok(Ok((opened, _))) = SegmentFile::open(path, file, number, &owner) else { continue };
        let bytes = opened.read_readable()?;
        for piece in Salvage::new(&opened, &bytes) {
            let Salvaged::Record(record) = piece else { continue };
            let next = from + found.len() as u64;
            match record.map_body(Bytes::from) {
                Record::Entry { at, body } if at.index == next => found.push(LogEntry { at, body }),
                _ => {}
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// All that was set aside, by number, however often one was.
fn files_set_aside(disk: &dyn Disk, dir: &Path) -> Result<Vec<(u64, PathBuf)>, StorageError> {
    let names = disk.list(dir).map_err(StorageError::io("listing", dir))?;
    let file = |name: &String| {
        let (segment, _) = name.split_once(".damaged")?;
        Some((segment_number_of(Path::new(segment))?, dir.join(name)))
    };
    let mut files: Vec<(u64, PathBuf)> = names.iter().filter_map(file).collect();
    files.sort_unstable();
    Ok(files)
}
