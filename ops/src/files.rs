//! Small files with the right permissions, written whole or not at all.

use anyhow::{Context, Result};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Writes what anybody may read.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, 0o644)
}

/// Writes what only the owner may read (mode 0600).
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, 0o600)
}

/// Temporary file, fsync, rename: a reader sees the old file or the new one.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let why = || format!("writing {}", path.display());
    let temporary = path.with_added_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(mode).open(&temporary).with_context(why)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode)).with_context(why)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(why)?;
    std::fs::rename(&temporary, path).with_context(why)?;
    // The name too: a keyring that was rotated must not be the old one after a power cut.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).with_context(why)
}

/// Creates a directory and its parents; errors name it.
pub fn create_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))
}

/// Closes a directory to everybody but its owner (mode 0700).
pub fn close_dir(path: &Path) -> Result<()> {
    let closed = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
    closed.with_context(|| format!("closing {} to others", path.display()))
}

/// Reads a file as text; errors name it.
pub fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_readable_by_its_owner_only_even_over_an_older_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_public(&path, b"old").unwrap();
        write_secret(&path, b"new").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_text(&path).unwrap(), "new");
    }
}
