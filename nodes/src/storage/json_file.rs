//! Small files that say one thing and are replaced as a whole.

use super::disk::Disk;
use super::error::StorageError;
use super::segment_file::read_range;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::Path;

const BYTES_MAX: usize = 64 * 1024;

/// Writes beside the file, syncs, renames: when this returns the new text is durable, and at no moment is there half of one.
pub(crate) fn persist<T: Serialize>(disk: &dyn Disk, path: &Path, value: &T) -> Result<(), StorageError> {
    let temporary = path.with_extension("tmp");
    remove_if_there(disk, &temporary)?;
    let text = serde_json::to_vec_pretty(value).map_err(|e| StorageError::io("encoding", path)(e.into()))?;
    let file = disk.create_new(&temporary).map_err(StorageError::io("creating", &temporary))?;
    file.write_at(0, &text).map_err(StorageError::write(&temporary, 0))?;
    file.sync_data().map_err(StorageError::io("syncing", &temporary))?;
    disk.rename(&temporary, path).map_err(StorageError::io("renaming to", path))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))
}

/// What the file says; `None` without a file.
pub(crate) fn read<T: DeserializeOwned>(disk: &dyn Disk, path: &Path) -> Result<Option<T>, StorageError> {
    let file = match disk.open_read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("opening", path)(error)),
    };
    let bytes = read_range(&*file, 0, BYTES_MAX).map_err(StorageError::io("reading", path))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| StorageError::io("reading", path)(e.into()))
}

pub(super) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    match disk.remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StorageError::io("removing", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
