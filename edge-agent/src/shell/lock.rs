//! One agent per state directory: two processes on one state would be a clone of ourselves.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const NAME: &str = "lock";

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another muster-agent already works in `{}`", .0.display())]
    Held(PathBuf),
    #[error("cannot lock `{}`: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },
}

/// Held until dropped or until the process dies, however it dies.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

impl InstanceLock {
    pub fn acquire(state_dir: &Path) -> Result<Self, LockError> {
        let file = state_dir.join(NAME);
        let open = || OpenOptions::new().write(true).create(true).truncate(false).open(&file);
        let opened = open().map_err(|source| LockError::Io { file: file.clone(), source })?;
        match opened.try_lock() {
            Ok(()) => Ok(InstanceLock { _file: opened }),
            Err(TryLockError::WouldBlock) => Err(LockError::Held(state_dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(LockError::Io { file, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_on_the_same_state_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = InstanceLock::acquire(folder.path()).unwrap();
        assert!(matches!(InstanceLock::acquire(folder.path()), Err(LockError::Held(_))));
        drop(first);
        InstanceLock::acquire(folder.path()).unwrap();
    }
}
