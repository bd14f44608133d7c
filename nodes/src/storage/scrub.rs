//! Reads all that lies sealed in a log, beside whoever writes it: what an open does not read would else be found damaged
//! only by who needs it, when the peers' copies may be damaged too.

use super::disk::Disk;
use super::error::{Corruption, StorageError};
use super::log_reader::{History, LogReader};
use events::log::keys::SegmentKeys;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One log to be checked.
pub struct Scrub {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub keys: SegmentKeys,
}

/// What a check found.
#[derive(Debug)]
pub enum Checked {
    Sound {
        segments: u64,
        bytes: u64,
    },
    Damaged(Corruption),
    /// Whoever was asked between two files said so.
    Stopped,
}

impl Scrub {
    /// Checks every frame and seal and how the segments follow each other. Between two files `goes_on` is asked, and may
    /// take its time. Blocks on the disk.
    pub fn run(&self, mut goes_on: impl FnMut() -> bool) -> Result<Checked, StorageError> {
        let mut reader = LogReader::open(Arc::clone(&self.disk), self.dir.clone(), self.keys.clone())?;
        let mut reading: Option<Arc<Path>> = None;
        for history in reader.by_ref() {
            let entry = match history {
                Ok(History::Entry(entry)) => entry,
                Ok(History::Gap { .. }) => continue,
                Err(StorageError::Corrupt(damage)) => return Ok(Checked::Damaged(damage)),
                Err(other) => return Err(other),
            };
            let is_another = reading.as_ref() != Some(&entry.file);
            if is_another && reading.replace(entry.file).is_some() && !goes_on() {
                return Ok(Checked::Stopped);
            }
        }
        let report = reader.report();
        Ok(Checked::Sound { segments: report.segments, bytes: report.bytes })
    }
}
