//! The files as they lie there, read and forgotten: nobody can be faster.

use super::Log;
use anyhow::{Context as _, Result};
use std::io::Read as _;
use std::time::Instant;

const AT_ONCE: usize = 256 * 1024;

/// Bytes a second.
pub(super) fn measure(log: &Log) -> Result<f64> {
    // Once for the page cache.
    read_all(log)?;
    let started = Instant::now();
    let bytes = read_all(log)?;
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
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
