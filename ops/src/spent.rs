//! What this process spent: time, the time of all cores, memory.

use rustix::time::{ClockId, clock_gettime};
use std::time::Instant;

/// Seconds between two moments, on the wall and of all cores together.
#[derive(Clone, Copy)]
pub struct Spent {
    pub seconds: f64,
    pub cpu_seconds: f64,
}

/// A moment to count from.
pub struct Mark {
    at: Instant,
    cpu_seconds: f64,
}

impl Spent {
    #[must_use]
    pub fn mark() -> Mark {
        Mark { at: Instant::now(), cpu_seconds: cpu_seconds() }
    }
}

impl Mark {
    #[must_use]
    pub fn since(&self) -> Spent {
        Spent { seconds: self.at.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - self.cpu_seconds }
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The most memory that this process had resident, as the kernel counted it.
#[must_use]
pub fn memory_peak_bytes() -> Option<u64> {
    memory("VmHWM:")
}

/// What it has resident now.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    memory("VmRSS:")
}

fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
