//! Nodes' logs read from their files: read-only, beside running nodes or without one.
//!
//! ```text
//!   directories ──▶ logs.rs ──▶ fold.rs ──┬─▶ its state at a moment.rs ──▶ differences.rs, story.rs
//!       (ahead.rs)  one history           └─▶ export/: events and projections as tables
//!   audit.rs: the history held against signed heads of it
//!   passed.rs: how far along the files that is
//!   trouble.rs: what is wrong with a file, where, and what can be read nevertheless
//! ```

mod affected;
mod ahead;
pub mod audit;
pub mod differences;
pub mod export;
mod fold;
mod logs;
mod mended;
pub mod moment;
mod passed;
pub mod story;
mod trouble;
mod unknown;
pub mod what_if;

pub(crate) use affected::items_about;
pub use fold::{Fold, Folded};
pub use logs::Logs;
pub(crate) use mended::Mended;
pub use moment::Moment;
pub(crate) use passed::Passed;
pub(crate) use trouble::refusal;

use crate::exit::{USAGE, coded};
use crate::files::read_text;
use anyhow::{Context as _, Result};
use events::ids::LogIndex;
use events::keyring::Keyring;
use nodes::storage::disk::OsDisk;
use nodes::storage::gaps::BACKFILL_FOLDER;
use nodes::storage::log_reader::{History, LogReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Reads a cluster's keyring from its file.
pub fn read_keyring(path: &Path) -> Result<Keyring> {
    let text = read_text(path).map_err(|error| {
        coded(USAGE, format!("{error:#}; without the cluster's keyring nothing of its log can be read"))
    })?;
    let text = Zeroizing::new(text);
    Keyring::from_json(&text)
        .map_err(|error| coded(USAGE, format!("{} is no keyring: {error}", path.display())))
}

/// Opens the log of the node whose data directory is `data`; refuses another cluster's by name.
pub fn open_log(data: &Path, keyring: &Keyring) -> Result<LogReader> {
    let log = log_folder(data)?;
    let keys = keyring.segment_keys().context("the keyring's keys for segments")?;
    let reader = LogReader::open(Arc::new(OsDisk), log, keys)
        .with_context(|| format!("opening the log in {}", data.display()))?;
    Ok(reader.of_cluster(keyring.cluster).checking_end())
}

/// Opens the logs of several nodes of one cluster as one history, with what each of them fetched to fill its gaps.
pub fn open_logs(data: &[PathBuf], keyring: &Keyring) -> Result<Logs> {
    let mut readers = Vec::new();
    for data in data {
        readers.extend(open_folders(data, keyring)?);
    }
    Ok(Logs::new(readers))
}

/// The log of one node, and what it fetched to fill its gaps, each by itself.
pub(crate) fn open_folders(data: &Path, keyring: &Keyring) -> Result<Vec<LogReader>> {
    let mut readers = vec![open_log(data, keyring)?];
    let backfill = data.join(BACKFILL_FOLDER);
    if holds_segments(&backfill).unwrap_or(false) {
        readers.push(open_log(&backfill, keyring)?);
    }
    Ok(readers)
}

/// The index of the last entry of a stretch.
pub(crate) fn entries_end(history: &History) -> LogIndex {
    match history {
        History::Entry(entry) => entry.entry.at.index,
        History::Gap { through, .. } => *through,
    }
}

/// The folder of segments: the `log` in `data`, or `data` itself.
fn log_folder(data: &Path) -> Result<PathBuf> {
    if !data.is_dir() {
        let what = format!("{} is no directory; expected a node's data directory", data.display());
        return Err(coded(USAGE, what));
    }
    let within = data.join(nodes::node::core::LOG_FOLDER);
    let folder = if within.is_dir() { within } else { data.to_owned() };
    if holds_segments(&folder)? {
        return Ok(folder);
    }
    Err(coded(
        USAGE,
        format!(
            "{} holds no log: no segment-….log is in it; expected a node's data directory",
            folder.display()
        ),
    ))
}

fn holds_segments(folder: &Path) -> Result<bool> {
    let listing = || format!("listing {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(listing)? {
        let name = entry.with_context(listing)?.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("segment-") && name.ends_with(".log")) {
            return Ok(true);
        }
    }
    Ok(false)
}
