//! What was measured: one JSON document, or a table for people. Goals are judged, not adjusted.

use super::ReplayPlan;
use super::fold::FoldFigures;
use super::reader::ReaderFigures;
use crate::bench::machine::Machine;
use crate::bench::report::{Judged, at_least, at_most, median};
use serde::Serialize;
use std::fmt::Write as _;

#[derive(Clone, Debug, Serialize)]
pub struct ReplayReport {
    #[serde(flatten)]
    machine: Machine,
    smoke: bool,
    heartbeats: u64,
    batch: u32,
    messages: usize,
    pub sizes: Vec<SizeFigures>,
    pub goals: Vec<Judged>,
}

/// Of one log; lists have one figure a round.
#[derive(Clone, Debug, Serialize)]
pub struct SizeFigures {
    pub devices: u32,
    pub made_in_seconds: f64,
    /// Bytes a second.
    pub plain: Vec<f64>,
    pub reader: Vec<ReaderFigures>,
    pub one_core: Vec<FoldFigures>,
    pub all_cores: Vec<FoldFigures>,
    /// Heartbeats a second.
    pub consumer: Option<f64>,
}

impl SizeFigures {
    #[must_use]
    pub fn of(devices: u32, made_in_seconds: f64) -> Self {
        let (plain, reader, one_core, all_cores) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        SizeFigures { devices, made_in_seconds, plain, reader, one_core, all_cores, consumer: None }
    }

    fn bytes_per_heartbeat(&self) -> f64 {
        median(self.reader.iter().map(|figures| figures.bytes_per_heartbeat).collect())
    }

    /// Heartbeats a second.
    fn plain(&self) -> f64 {
        median(self.plain.clone()) / self.bytes_per_heartbeat()
    }

    fn reader(&self) -> f64 {
        median(self.reader.iter().map(|figures| figures.heartbeats_per_second).collect())
    }

    fn one_core(&self) -> f64 {
        median(self.one_core.iter().map(|figures| figures.heartbeats_per_cpu_second).collect())
    }

    fn memory(&self) -> f64 {
        median(self.one_core.iter().map(|figures| figures.memory_bytes_per_device).collect())
    }

    fn hot_row(&self) -> f64 {
        self.one_core.first().map_or(f64::NAN, |figures| figures.hot_row_bytes as f64)
    }

    fn events_before_per_second(&self) -> f64 {
        median(self.one_core.iter().map(|f| f.events_before as f64 / f.seconds_before).collect())
    }

    /// Every fold of a log must mean the same.
    fn digests_agree(&self) -> bool {
        let mut folds = self.one_core.iter().chain(&self.all_cores).map(|figures| &figures.digest);
        let first = folds.next();
        first.is_some() && folds.all(|digest| Some(digest) == first)
    }
}

fn rate(figures: &[FoldFigures]) -> f64 {
    median(figures.iter().map(|figures| figures.heartbeats_per_second).collect())
}

impl ReplayReport {
    #[must_use]
    pub fn begin(plan: &ReplayPlan) -> Self {
        ReplayReport {
            machine: Machine::this(),
            smoke: plan.smoke,
            heartbeats: plan.heartbeats,
            batch: plan.batch,
            messages: plan.messages,
            sizes: Vec::new(),
            goals: Vec::new(),
        }
    }

    /// Judges the goals.
    pub fn conclude(&mut self) {
        let of = |devices: u32, figure: fn(&SizeFigures) -> f64| {
            self.sizes.iter().find(|size| size.devices == devices).map_or(f64::NAN, figure)
        };
        let million = 1_000_000.0;
        let agree = self.sizes.iter().all(SizeFigures::digests_agree);
        self.goals = vec![
            at_least(
                "M heartbeats/s on one core at 100,000 devices",
                20.0,
                of(100_000, SizeFigures::one_core) / million,
            ),
            at_least(
                "M heartbeats/s on one core at 1,000,000 devices",
                8.0,
                of(1_000_000, SizeFigures::one_core) / million,
            ),
            at_most(
                "cost of a heartbeat at 1,000,000 devices to that at 10,000",
                1.3,
                of(10_000, SizeFigures::one_core) / of(1_000_000, SizeFigures::one_core),
            ),
            at_most("bytes of a hot row", 160.0, of(1_000_000, SizeFigures::hot_row)),
            at_most(
                "bytes of memory per device, all in, at 1,000,000 devices",
                600.0,
                of(1_000_000, SizeFigures::memory),
            ),
            at_most("bytes of log per heartbeat", 24.0, of(1_000_000, SizeFigures::bytes_per_heartbeat)),
            at_least("all folds of a log give one digest", 1.0, f64::from(u8::from(agree))),
        ];
    }

    #[must_use]
    pub fn cores(&self) -> usize {
        self.machine.cores
    }

    /// Whether every fold of each log gave the same state.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.sizes.iter().all(SizeFigures::digests_agree)
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let smoke = if self.smoke { "; a smoke run shows nothing about speed" } else { "" };
        let mut text = format!(
            "{}; {} heartbeats, {} in an entry; {} of them in the JetStream{smoke}\n\nMillions of heartbeats a second; of one \
             core by its own time, so that others on the machine do not count:\n\n",
            self.machine, self.heartbeats, self.batch, self.messages
        );
        text.push_str(
            "| devices | plain read | read, checksum, decrypt | fold, one core | fold, all cores | JetStream consumer | \
             to it | bytes per device | hot row | log bytes each | other events/s |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for size in &self.sizes {
            let consumer = size.consumer.unwrap_or(f64::NAN);
            let _ = writeln!(
                text,
                "| {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.2} | {:.0} × | {:.0} | {:.0} | {:.1} | {:.0} |",
                size.devices,
                size.plain() / 1e6,
                size.reader() / 1e6,
                size.one_core() / 1e6,
                rate(&size.all_cores) / 1e6,
                consumer / 1e6,
                size.one_core() / consumer,
                size.memory(),
                size.hot_row(),
                size.bytes_per_heartbeat(),
                size.events_before_per_second(),
            );
        }
        text.push_str("\n| goal | measured | |\n|---|---|---|\n");
        for Judged { goal, measured, met } in &self.goals {
            let _ = writeln!(text, "| {goal} | {measured:.2} | {} |", verdict(*measured, *met));
        }
        text
    }
}

/// A run of other sizes leaves some goals without a figure.
fn verdict(measured: f64, met: bool) -> &'static str {
    match (measured.is_nan(), met) {
        (true, _) => "not measured",
        (false, true) => "met",
        (false, false) => "missed",
    }
}
