//! A disk on which one file is already replaced by another, for who reads: so that it can be judged before it is.

use crate::storage::disk::{Disk, DiskFile, DiskLock};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) struct Instead {
    pub(super) disk: Arc<dyn Disk>,
    /// What is replaced; it may not be there.
    pub(super) path: PathBuf,
    pub(super) with: PathBuf,
}

fn refused<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for Instead {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = self.disk.list(dir)?;
        let name = self.path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|_| self.path.parent() == Some(dir)) {
            names.push(name.to_owned());
            names.sort_unstable();
            names.dedup();
        }
        Ok(names)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_read(if path == self.path { &self.with } else { path })
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn open_write(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        refused()
    }

    fn create_new(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        refused()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn DiskLock>> {
        refused()
    }
}
