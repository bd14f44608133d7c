//! What a check of a log that was open found damaged, kept for the next open: which reads that segment too, whether it
//! would have to or not, and so repairs it.

use super::disk::Disk;
use super::error::{Corruption, StorageError};
use super::json_file::{self, remove_if_there};
use super::segment_file::segment_number_of;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file's name within the log's directory.
pub const SUSPECT_FILE: &str = "damaged.json";

/// A damaged place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspect {
    pub segment: u64,
    /// The file, where in it, and what was found: for people.
    pub file: String,
    pub offset: u64,
    pub what: String,
}

impl Suspect {
    /// Notes damage of a segment; when this returns it is durable. Damage of any other file is no suspicion.
    pub fn note(disk: &dyn Disk, dir: &Path, damage: &Corruption) -> Result<Option<Suspect>, StorageError> {
        let Some(segment) = segment_number_of(&damage.path) else { return Ok(None) };
        let suspect = Suspect {
            segment,
            file: damage.path.display().to_string(),
            offset: damage.offset,
            what: damage.what.to_string(),
        };
        let path = dir.join(SUSPECT_FILE);
        // The earliest counts: what comes after it is read anyhow.
        if Suspect::read(disk, dir)?.is_none_or(|noted| noted.segment > segment) {
            json_file::persist(disk, &path, &suspect)?;
        }
        Ok(Some(suspect))
    }

    /// What was noted in `dir`; a file that cannot be believed is no suspicion.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Suspect>, StorageError> {
        match json_file::read(disk, &dir.join(SUSPECT_FILE)) {
            Err(error @ StorageError::Corrupt(_)) => {
                tracing::error!(%error, "a suspicion cannot be read and is passed over: the next check finds it again");
                Ok(None)
            }
            read => read,
        }
    }

    /// The segment was read and is sound: it was restored or repaired.
    pub fn clear(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
        remove_if_there(disk, &dir.join(SUSPECT_FILE))?;
        disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))
    }
}
