//! On what it was measured.

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub machine: String,
    pub cores: usize,
    /// Of others and ourselves, in the minute before the start.
    pub load_before: f64,
}

impl Machine {
    #[must_use]
    pub fn this() -> Self {
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Machine {
            machine: model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load_before: load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cores, {}, load {:.2} before", self.cores, self.machine, self.load_before)
    }
}
