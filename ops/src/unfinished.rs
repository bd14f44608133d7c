//! What is written beside its name and has not got it yet. Whoever ends the program at once removes it first: ending so
//! drops nothing.

use parking_lot::Mutex;
use std::path::PathBuf;

static BEGUN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A file or folder under a name that it is not to keep. Dropping this says that it is gone, or has its own.
pub(crate) struct Begun(PathBuf);

impl Begun {
    pub(crate) fn at(path: PathBuf) -> Begun {
        BEGUN.lock().push(path.clone());
        Begun(path)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        BEGUN.lock().retain(|path| *path != self.0);
    }
}

/// Removes all that is unfinished. What cannot be removed stays: the program ends all the same.
pub(crate) fn remove_all() {
    for path in BEGUN.lock().iter() {
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
}
