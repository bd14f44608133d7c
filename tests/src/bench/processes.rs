//! CPU time by process, from the kernel's own books.

use std::collections::BTreeMap;
use std::time::Instant;

/// The kernel counts in hundredths of a second on every platform that muster runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// What our process and its children had used at one moment.
pub struct CpuMark {
    at: Instant,
    seconds: BTreeMap<String, f64>,
}

impl CpuMark {
    #[must_use]
    pub fn now() -> Self {
        CpuMark { at: Instant::now(), seconds: by_name() }
    }

    /// Cores used since, by process; who used next to nothing is left out.
    #[must_use]
    pub fn cores_since(&self) -> BTreeMap<String, f64> {
        let elapsed = self.at.elapsed().as_secs_f64();
        let used = by_name().into_iter().map(|(name, seconds)| {
            let before = self.seconds.get(&name).copied().unwrap_or(0.0);
            (name, (seconds - before) / elapsed)
        });
        used.filter(|(_, cores)| *cores >= 0.005).collect()
    }
}

fn by_name() -> BTreeMap<String, f64> {
    let own = std::process::id();
    let mut found = BTreeMap::new();
    let Ok(processes) = std::fs::read_dir("/proc") else { return found };
    for pid in processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if let Some((parent, seconds)) = stat(pid)
            && (pid == own || parent == own)
        {
            let name = if pid == own { "load generator".to_owned() } else { name_of(pid) };
            *found.entry(name).or_default() += seconds;
        }
    }
    found
}

/// Parent, and seconds of CPU in user and kernel.
fn stat(pid: u32) -> Option<(u32, f64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let ticks: f64 = [11, 12].iter().filter_map(|&at| fields.get(at)?.parse::<f64>().ok()).sum();
    Some((parent, ticks / TICKS_PER_SECOND))
}

/// `node 2`, `nats-server echo`: the program, and the folder that tells it from others of its kind.
fn name_of(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    let arguments: Vec<&str> = line.split('\0').filter(|part| !part.is_empty()).collect();
    let program = arguments.first().and_then(|path| path.rsplit('/').next()).unwrap_or("?");
    let folder = arguments.last().and_then(|path| path.rsplit('/').nth(1)).unwrap_or("");
    match program {
        "muster" => format!("node {folder}"),
        "nats-server" => format!("nats-server {folder}"),
        _ => "echo responder".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn our_own_time_is_counted() {
        let used = super::by_name();
        assert!(used.contains_key("load generator"), "{used:?}");
    }
}
