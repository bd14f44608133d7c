//! How many bytes of a log were passed, told by where its entries lie: cheap enough to be asked for each.

use nodes::storage::log_reader::{History, HistoryEntry};
use std::path::Path;
use std::sync::Arc;

/// Of one log, read from its first file on.
#[derive(Default)]
pub(crate) struct Passed {
    /// Of the files before.
    before: u64,
    file: Option<Arc<Path>>,
    /// In that file.
    offset: u64,
}

impl Passed {
    pub(crate) fn note(&mut self, history: &History) {
        if let History::Entry(entry) = history {
            self.note_entry(entry);
        }
    }

    pub(crate) fn note_entry(&mut self, entry: &HistoryEntry) {
        let same = |file: &Arc<Path>| Arc::ptr_eq(file, &entry.file) || **file == *entry.file;
        if !self.file.as_ref().is_some_and(same) {
            self.before += self.offset;
            self.file = Some(Arc::clone(&entry.file));
        }
        self.offset = entry.offset;
    }

    /// Short by the last frame of each file.
    pub(crate) fn bytes(&self) -> u64 {
        self.before + self.offset
    }
}
