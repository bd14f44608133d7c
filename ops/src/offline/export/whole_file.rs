//! A file that appears under its name once it is whole; before that, and after any error, there is nothing.

use crate::unfinished::Begun;
use anyhow::{Context as _, Result};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Readable by its owner only: what the log says of terminals is nobody else's business.
pub(super) struct WholeFile {
    temporary: NamedTempFile,
    path: PathBuf,
    _begun: Begun,
}

impl WholeFile {
    /// Begins a file beside `path`, which goes when this is dropped.
    pub(super) fn beside(path: &Path) -> Result<Self> {
        let why = || format!("writing {}", path.display());
        let name = path.file_name().context("the name of a file is missing").with_context(why)?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let prefix = format!(".{}.", name.to_string_lossy());
        let temporary = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".unfinished")
            .tempfile_in(folder)
            .with_context(why)?;
        let begun = Begun::at(temporary.path().to_owned());
        Ok(WholeFile { temporary, path: path.to_owned(), _begun: begun })
    }

    pub(super) fn writer(&self) -> Result<BufWriter<File>> {
        let file = self.temporary.as_file().try_clone();
        Ok(BufWriter::new(file.with_context(|| format!("writing {}", self.path.display()))?))
    }

    /// Flushes it to the disk and gives it its name.
    pub(super) fn appear(self) -> Result<()> {
        let why = || format!("writing {}", self.path.display());
        self.temporary.as_file().sync_all().with_context(why)?;
        self.temporary.persist(&self.path).map_err(|error| error.error).with_context(why)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unfinished::remove_all;

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
    fn a_program_that_ends_at_once_leaves_what_has_its_name_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        WholeFile::beside(&path("whole")).unwrap().appear().unwrap();
        let half = WholeFile::beside(&path("half")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        // As a second Ctrl-C does, which drops nothing.
        remove_all();
        assert!(path("whole").exists() && !half.temporary.path().exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
