//! Where the journal's bytes lie. A trait, so that tests can cut the power between any two writes.

use crate::files::{FileError, io_error, parent, sync_folder};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Append-only bytes. What was appended is safe only after [`Medium::sync`].
pub trait Medium: Send {
    fn read(&mut self) -> io::Result<Vec<u8>>;
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts a torn tail off, durably.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// For errors.
    fn path(&self) -> PathBuf;
}

/// The journal's file, locked against a second process.
#[derive(Debug)]
pub struct FileMedium {
    file: File,
    path: PathBuf,
}

impl FileMedium {
    /// Opens or creates the file; `None` if another process holds it.
    pub fn open(path: &Path) -> Result<Option<Self>, FileError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(io_error("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(io_error("lock", path)(e)),
        }
        sync_folder(&parent(path))?;
        Ok(Some(FileMedium { file, path: path.to_owned() }))
    }
}

impl Medium for FileMedium {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.sync_all()
    }

    fn path(&self) -> PathBuf {
        self.path.clone()
    }
}
