//! A data folder that appears under its name once it is whole; before that, and after any error, there is nothing.

use crate::exit::{USAGE, coded};
use crate::unfinished::Begun;
use anyhow::{Context as _, Result};
use events::keyring::Keyring;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder of its own beside the one that is to appear, which goes when this is dropped.
pub(super) struct Unfinished {
    folder: TempDir,
    _begun: Begun,
    data: PathBuf,
    keyring: PathBuf,
}

impl Unfinished {
    /// Refuses names that are taken: a log is never written over, nor a keyring.
    pub(super) fn beside(data: &Path, keyring: &Path) -> Result<Self> {
        for taken in [data, keyring] {
            if std::fs::symlink_metadata(taken).is_ok() {
                let what = format!("{} exists already; choose another name, or remove it", taken.display());
                return Err(coded(USAGE, what));
            }
        }
        if keyring.starts_with(data) {
            let what = "a keyring lies beside a data folder, never in it; give another --keyring";
            return Err(coded(USAGE, what));
        }
        let name =
            data.file_name().context("the folder needs a name").map_err(|e| coded(USAGE, e.to_string()))?;
        let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = tempfile::Builder::new()
            .prefix(&format!(".{}.", name.to_string_lossy()))
            .suffix(".unfinished")
            .tempdir_in(parent)
            .map_err(|error| coded(USAGE, format!("making a folder in {}: {error}", parent.display())))?;
        let begun = Begun::at(folder.path().to_owned());
        Ok(Unfinished { folder, _begun: begun, data: data.to_owned(), keyring: keyring.to_owned() })
    }

    /// Where the data folder is until it is whole.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Readable by its owner only, as every keyring.
    pub(super) fn write_keyring(&self, keyring: &Keyring) -> Result<()> {
        let path = self.folder.path().join("keyring.json");
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| {
            file.write_all(keyring.to_json().as_bytes())?;
            file.sync_all()
        });
        written.with_context(|| format!("writing {}", path.display()))
    }

    /// Gives both their names: the keyring first, so that there is never a log that nobody can read.
    pub(super) fn appear(self) -> Result<()> {
        let (keyring, data) = (self.folder.path().join("keyring.json"), self.data());
        // Unlike a rename, a link never takes the place of what came meanwhile.
        std::fs::hard_link(&keyring, &self.keyring)
            .or_else(|_| copy_new(&keyring, &self.keyring))
            .with_context(|| format!("writing {}", self.keyring.display()))?;
        std::fs::rename(&data, &self.data)
            .inspect_err(|_| drop(std::fs::remove_file(&self.keyring)))
            .with_context(|| format!("renaming the finished folder to {}", self.data.display()))?;
        Ok(())
    }
}

/// For a keyring on another file system than the log's.
fn copy_new(from: &Path, to: &Path) -> std::io::Result<()> {
    let text = zeroize::Zeroizing::new(std::fs::read(from)?);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(to)?;
    file.write_all(&text)?;
    file.sync_all()
}
