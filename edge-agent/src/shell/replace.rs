//! A file that readers see old or new, never half, whenever the power fails.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Replaces `file` by `bytes`: temporary beside it, fsync, rename, fsync of the folder.
pub fn replace(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside(file);
    // One that an earlier life left behind may have another mode.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut opened = options.open(&temporary)?;
    // The service's umask took rights away that readers of the file need.
    opened.set_permissions(fs::Permissions::from_mode(mode))?;
    opened.write_all(bytes)?;
    opened.sync_all()?;
    fs::rename(&temporary, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    file.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::Mode;
    use rustix::process::umask;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode_whatever_an_earlier_life_left() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("standing.json");
        fs::write(beside(&file), "half").unwrap();
        replace(&file, b"one", 0o644).unwrap();
        replace(&file, b"two", 0o644).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(!beside(&file).exists());
    }
    #[test]
    fn a_file_is_for_whom_it_is_meant_whatever_the_umask_of_the_service_takes_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("standing.json");
        let before = umask(Mode::from_raw_mode(0o077));
        let replaced = replace(&file, b"one", 0o644);
        umask(before);
        replaced.unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    }
}
