//! The files as they lie there, read and forgotten: nobody can be faster.

use super::Log;
use anyhow::{Context as _, Result};
use ops::spent::Spent;
use std::io::Read as _;

const AT_ONCE: usize = 256 * 1024;

/// Bytes a second, by the time of one core.
pub(super) fn measure(log: &Log) -> Result<f64> {
    // Once for the page cache.
    read_all(log)?;
    let started = Spent::mark();
    let bytes = read_all(log)?;
    Ok(bytes as f64 / started.since().cpu_seconds)
}

fn read_all(log: &Log) -> Result<u64> {
    let (mut buffer, mut sum) = (vec![0; AT_ONCE], 0);
    let folder = log.data.join("log");
    for entry in std::fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
        let mut file = std::fs::File::open(entry?.path()).context("opening a segment")?;
        loop {
            match file.read(&mut buffer).context("reading a segment")? {
                0 => break,
                read => sum += std::hint::black_box(&buffer[..read]).len() as u64,
            }
        }
    }
    Ok(sum)
}
