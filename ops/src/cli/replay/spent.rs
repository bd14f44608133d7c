//! What a command spent: time, the time of all cores, memory.

use rustix::time::{ClockId, clock_gettime};
use std::time::Instant;

/// Seconds between two moments, on the wall and of all cores together.
#[derive(Clone, Copy)]
pub(super) struct Spent {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
}

/// A moment to count from.
pub(super) struct Mark {
    at: Instant,
    cpu_seconds: f64,
}

impl Spent {
    pub(super) fn mark() -> Mark {
        Mark { at: Instant::now(), cpu_seconds: cpu_seconds() }
    }
}

impl Mark {
    pub(super) fn since(&self) -> Spent {
        Spent { seconds: self.at.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - self.cpu_seconds }
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The most memory that this process had resident, as the kernel counted it.
pub(super) fn memory_peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
