//! A file that knows its own inode: whoever copies the state directory, file by file, into an image, a slot or another
//! terminal, makes a file that lies about it (protocol.md rule 8). A copy of the whole partition is not seen.

use super::replace::replace;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

const NAME: &str = "home";

/// What the file says, against what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// There is none yet, or it cannot be read.
    Unknown,
    Same,
    Moved {
        born: u64,
        here: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Birth {
    inode: u64,
}

/// Looks, and changes nothing.
#[must_use]
pub fn look(state_dir: &Path) -> Home {
    let file = state_dir.join(NAME);
    let birth = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Birth>(&bytes).ok());
    match (birth, fs::metadata(&file)) {
        (Some(Birth { inode }), Ok(metadata)) if inode == metadata.ino() => Home::Same,
        (Some(Birth { inode }), Ok(metadata)) => Home::Moved { born: inode, here: metadata.ino() },
        _ => Home::Unknown,
    }
}

/// Writes the file where there is none.
pub fn settle(state_dir: &Path) -> io::Result<Home> {
    let found = look(state_dir);
    if found != Home::Unknown {
        return Ok(found);
    }
    let temporary = state_dir.join("home.tmp");
    replace(&temporary, b"", 0o600)?;
    let mut file: File = OpenOptions::new().write(true).mode(0o600).open(&temporary)?;
    let birth = Birth { inode: file.metadata()?.ino() };
    file.write_all(&serde_json::to_vec(&birth).map_err(io::Error::other)?)?;
    file.sync_all()?;
    // The name changes, the inode stays.
    fs::rename(&temporary, state_dir.join(NAME))?;
    File::open(state_dir)?.sync_all()?;
    Ok(Home::Same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_that_was_copied_is_told_from_one_that_was_born_there() {
        let (folder, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(look(folder.path()), Home::Unknown);
        assert_eq!(settle(folder.path()).unwrap(), Home::Same);
        assert_eq!(settle(folder.path()).unwrap(), Home::Same);
        fs::copy(folder.path().join(NAME), image.path().join(NAME)).unwrap();
        assert!(matches!(settle(image.path()).unwrap(), Home::Moved { .. }));
    }

    #[test]
    fn a_torn_file_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), "{\"ino").unwrap();
        assert_eq!(settle(folder.path()).unwrap(), Home::Same);
        assert_eq!(look(folder.path()), Home::Same);
    }
}
