//! The disk as the state file needs it: five verbs, so that a test can cut the power between any two of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// One folder of small files. Nothing is durable before the matching `sync_…` returned.
pub trait Flash {
    /// The whole file; `None` if there is none.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Creates or truncates the file and writes all of it; not durable yet.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file's content durable.
    fn sync_file(&mut self, name: &str) -> io::Result<()>;
    /// Replaces `to` by `from` at once; not durable yet.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Makes the folder's names durable.
    fn sync_names(&mut self) -> io::Result<()>;
}

impl Flash for Box<dyn Flash + Send> {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        (**self).read(name)
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        (**self).write(name, bytes)
    }

    fn sync_file(&mut self, name: &str) -> io::Result<()> {
        (**self).sync_file(name)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        (**self).rename(from, to)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        (**self).sync_names()
    }
}

/// A real folder, mode 0700; its files are 0600, since they hold session secrets.
pub struct FolderFlash {
    folder: PathBuf,
}

impl FolderFlash {
    /// Opens the folder and creates it if it is not there.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(FolderFlash { folder: folder.to_owned() })
    }

    /// Opens a folder that must exist already; creates nothing.
    pub fn existing(folder: &Path) -> io::Result<Self> {
        fs::metadata(folder)?;
        Ok(FolderFlash { folder: folder.to_owned() })
    }
}

impl Flash for FolderFlash {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.folder.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(self.folder.join(name))?.write_all(bytes)
    }

    fn sync_file(&mut self, name: &str) -> io::Result<()> {
        File::open(self.folder.join(name))?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}
