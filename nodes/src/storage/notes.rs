//! The small files beside a log's segments, as whoever checks a folder looks at them: each proves that nothing of it was
//! changed. What they say is for the node that wrote them.

use super::disk::Disk;
use super::error::StorageError;
use super::json_file;
use super::newest;
use events::log::keys::SegmentKeys;
use std::io::ErrorKind;
use std::path::Path;

/// What is wrong with those in `dir`, if it is there. The one that names the newest segment is the log reader's to judge.
pub fn examine(disk: &dyn Disk, dir: &Path, keys: &SegmentKeys) -> Result<Vec<StorageError>, StorageError> {
    let names = match disk.list(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.map_err(StorageError::io("listing", dir))?,
    };
    let notes = names.iter().filter(|name| name.ends_with(".json") && *name != newest::FILE);
    Ok(notes.filter_map(|name| json_file::examine(disk, &dir.join(name), keys).err()).collect())
}
