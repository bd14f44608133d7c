//! What is wrong with files, in the words of somebody who only reads them, with an exit code.

use crate::exit::{NOT_HELD, USAGE, coded};
use events::ids::LogIndex;
use nodes::storage::error::StorageError;

/// Says what is wrong and what can be read nevertheless; `readable` is the last entry before it.
pub(crate) fn refusal(error: StorageError, readable: Option<LogIndex>) -> anyhow::Error {
    match error {
        StorageError::OtherCluster { path, found, expected } => coded(
            USAGE,
            format!(
                "{} belongs to cluster {found}, and the keyring to cluster {expected}; give --keyring with the keyring \
                 of {found}",
                path.display()
            ),
        ),
        StorageError::Key { path, source } => coded(
            USAGE,
            format!(
                "{} cannot be opened: {source}; give --keyring with the keyring that it was written with",
                path.display()
            ),
        ),
        StorageError::Corrupt(damage) => coded(
            NOT_HELD,
            format!(
                "{} is corrupt at offset {}: {}. {}",
                damage.path.display(),
                damage.offset,
                damage.what,
                advice(readable)
            ),
        ),
        other => anyhow::Error::new(other),
    }
}

/// What to do without what is missing.
pub(super) fn advice(readable: Option<LogIndex>) -> String {
    let others = "Give --data with another node's directory too, and it is read from there";
    match readable {
        Some(last) => format!("What lies before it can be read with --until {last}. {others}"),
        None => format!("Nothing can be read before it. {others}"),
    }
}
