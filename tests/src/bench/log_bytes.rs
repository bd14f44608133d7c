//! What the log takes on a disk.

use anyhow::{Context as _, Result};
use std::path::Path;

/// Bytes of all files below `folder`.
pub fn of(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry.context("reading a folder of the log")?;
        // A segment may be purged between the listing and the question.
        let Ok(metadata) = entry.metadata() else { continue };
        sum += if metadata.is_dir() { of(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}
