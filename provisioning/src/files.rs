//! How files of the factory and the sales desk are written and read.
//!
//! - A file of secrets is mode 0600 in a folder of mode 0700, and whoever could read it besides its owner makes it refused.
//! - A file is whole or absent: it is written beside its place, fsynced, then given its name, then the folder is fsynced.
//! - A file that exists is never overwritten, except by what is called `replace`: an older file or the new one is there
//!   at every instant.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// No file that this room reads is larger, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

const SECRET_FILE: u32 = 0o600;
const PUBLIC_FILE: u32 = 0o644;
const SECRET_FOLDER: u32 = 0o700;
const OTHERS: u32 = 0o077;

/// Why a file could not be written or read, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path} exists and is never overwritten: move it away first, or choose another place")]
    Exists { path: PathBuf },
    #[error("{path} does not exist: check the path, or create it first")]
    Missing { path: PathBuf },
    #[error(
        "{path} holds secrets but others may read it (mode {mode:03o}): run `chmod 600 {path}`, and replace the secrets if somebody could have read them"
    )]
    ReadableByOthers { path: PathBuf, mode: u32 },
    #[error("folder {path} holds secrets but is open to others (mode {mode:03o}): run `chmod 700 {path}`")]
    FolderOpenToOthers { path: PathBuf, mode: u32 },
    #[error("{path} is larger than the {max} bytes allowed: it is no file of muster")]
    TooLarge { path: PathBuf, max: u64 },
    #[error("could not {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// Makes a folder for secrets (mode 0700), or checks that an existing one is closed to others.
pub fn secret_folder(path: &Path) -> Result<(), FileError> {
    match fs::metadata(path) {
        Ok(found) => {
            let mode = found.mode() & 0o777;
            if mode & OTHERS != 0 {
                return Err(FileError::FolderOpenToOthers { path: path.to_owned(), mode });
            }
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(SECRET_FOLDER).create(path);
            made.map_err(io_error("create folder", path))?;
            sync_folder(&parent(path))
        }
        Err(e) => Err(io_error("look at", path)(e)),
    }
}

/// Writes a new file of secrets, mode 0600.
pub fn create_secret(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    create(path, bytes, SECRET_FILE)
}

/// Writes a new file that everybody may read, mode 0644.
pub fn create_public(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    create(path, bytes, PUBLIC_FILE)
}

/// Finds out whether [`create_public`] could write a file of this name, and leaves nothing behind.
pub fn check_new_public(path: &Path) -> Result<(), FileError> {
    if path.exists() {
        return Err(FileError::Exists { path: path.to_owned() });
    }
    let beside = write_beside(path, b"", PUBLIC_FILE)?;
    fs::remove_file(&beside).map_err(io_error("remove", &beside))
}

/// Writes a file of secrets (mode 0600) in place of an older one, which it must contain or be able to do without.
pub fn replace_secret(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace(path, bytes, SECRET_FILE)
}

/// Writes a file that everybody may read (mode 0644) in place of an older one.
pub fn replace_public(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace(path, bytes, PUBLIC_FILE)
}

/// Reads a file of secrets, after checking that nobody but its owner can.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let mut file = File::open(path).map_err(open_error(path))?;
    let mode = file.metadata().map_err(io_error("look at", path))?.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(FileError::ReadableByOthers { path: path.to_owned(), mode });
    }
    read_bounded(&mut file, path).map(Zeroizing::new)
}

/// Reads a file without secrets.
pub fn read_public(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut file = File::open(path).map_err(open_error(path))?;
    read_bounded(&mut file, path)
}

/// Keeps other processes out of a folder until it is dropped; waits for one that is in it.
pub(crate) fn lock_folder(folder: &Path) -> Result<File, FileError> {
    let opened = File::open(folder).map_err(open_error(folder))?;
    opened.lock().map_err(io_error("lock", folder))?;
    Ok(opened)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), FileError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(io_error("fsync folder", folder))
}

pub(crate) fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> FileError + 'a {
    move |source| FileError::Io { doing, path: path.to_owned(), source }
}

/// The folder in which a path's last name stands.
pub(crate) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let beside = write_beside(path, bytes, mode)?;
    fs::rename(&beside, path).map_err(io_error("rename to", path))?;
    sync_folder(&parent(path))
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    if path.exists() {
        return Err(FileError::Exists { path: path.to_owned() });
    }
    let beside = write_beside(path, bytes, mode)?;
    let named = give_name(&beside, path);
    let _ = fs::remove_file(&beside);
    named?;
    sync_folder(&parent(path))
}

/// Gives the finished file its name, unless another file has it. A hard link does both at once; file systems
/// without hard links (memory sticks) get the name reserved first.
fn give_name(beside: &Path, path: &Path) -> Result<(), FileError> {
    let exists = || FileError::Exists { path: path.to_owned() };
    match fs::hard_link(beside, path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(exists()),
        Err(_) => {
            OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| match e.kind() {
                ErrorKind::AlreadyExists => exists(),
                _ => io_error("create", path)(e),
            })?;
            fs::rename(beside, path).map_err(io_error("rename to", path))
        }
    }
}

fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf, FileError> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = parent(path).join(format!(".{name}.{}.new", std::process::id()));
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .map_err(io_error("create", &beside))?;
    let written = file
        .set_permissions(fs::Permissions::from_mode(mode))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all());
    if let Err(e) = written {
        let _ = fs::remove_file(&beside);
        return Err(io_error("write", &beside)(e));
    }
    Ok(beside)
}

fn read_bounded(file: &mut File, path: &Path) -> Result<Vec<u8>, FileError> {
    let len = file.metadata().map_err(io_error("look at", path))?.len();
    if len > FILE_BYTES_MAX {
        return Err(FileError::TooLarge { path: path.to_owned(), max: FILE_BYTES_MAX });
    }
    // The whole length at once: a buffer that grew would leave parts of a secret behind.
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(len).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    Ok(bytes)
}

fn open_error(path: &Path) -> impl Fn(io::Error) -> FileError + '_ {
    move |e| match e.kind() {
        ErrorKind::NotFound => FileError::Missing { path: path.to_owned() },
        _ => io_error("open", path)(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_secret_file_is_closed_to_others_in_a_closed_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("factory/keys");
        secret_folder(&folder).unwrap();
        let path = folder.join("factory.key");
        create_secret(&path, b"secret").unwrap();
        assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"secret");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside the file");
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("factory.key");
        create_secret(&path, b"first").unwrap();
        assert!(matches!(create_secret(&path, b"second"), Err(FileError::Exists { .. })));
        assert!(matches!(create_public(&path, b"third"), Err(FileError::Exists { .. })));
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"first");
    }

    #[test]
    fn of_two_writers_of_one_name_only_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.json");
        let beside = write_beside(&path, b"late", SECRET_FILE).unwrap();
        fs::write(&path, b"early").unwrap();
        assert!(matches!(give_name(&beside, &path), Err(FileError::Exists { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"early");
    }

    #[test]
    fn a_secret_file_that_others_can_read_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("station.key");
        create_secret(&path, b"secret").unwrap();
        for open in [0o640, 0o604, 0o644, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            let refused = read_secret(&path).unwrap_err().to_string();
            assert!(refused.contains("chmod 600"), "{refused}");
        }
    }

    #[test]
    fn a_folder_open_to_others_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("keys");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = secret_folder(&folder).unwrap_err().to_string();
        assert!(refused.contains("chmod 700"), "{refused}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let refused = read_secret(Path::new("/nonexistent/factory.key")).unwrap_err();
        assert!(matches!(refused, FileError::Missing { .. }));
        assert!(refused.to_string().contains("/nonexistent/factory.key"));
    }

    #[test]
    fn replacing_keeps_the_file_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lot.firmware.json");
        replace_secret(&path, b"one").unwrap();
        replace_secret(&path, b"two").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"two");
    }
}
