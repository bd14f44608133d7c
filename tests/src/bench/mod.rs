//! The benchmark: what muster costs beside what it is compared with, in one run on one machine.
//!
//! ```text
//!   engines.rs     P-384 arithmetic, both engines, all cores
//!   echo.rs        (a) a bare NATS request and its echo           ─┐
//!   jetstream.rs   (b) JetStream R3 on files: default, sync always ├─ load.rs drives all of them alike:
//!   stage.rs       (c) three `muster node`s, real TLS              │  same client, windows, payload bytes
//!   terminals.rs       sealed requests, answers opened            ─┘
//!   activations.rs, heartbeats.rs, failover.rs   what is asked of (c)
//!   processes.rs   CPU by process      log_bytes.rs   what a heartbeat leaves on a disk
//!   report.rs      one JSON document, or a table for people; machine.rs: on what
//!   replay/        history read again, beside a JetStream consumer: `muster-bench replay`
//! ```
//!
//! Rounds are interleaved, a, b, c, a, b, c, so that what else the machine does hits all of them. Requests are made
//! ready before the clock starts and answers are checked after it stopped: the load generator does as little as it can
//! meanwhile, and the same for all three. Everything that listens, listens on loopback.

mod activations;
mod echo;
mod engines;
mod failover;
mod heartbeats;
mod jetstream;
mod load;
mod log_bytes;
mod machine;
mod processes;
pub mod replay;
mod report;
pub mod restart;
mod stage;
mod terminals;

pub use echo::respond;
pub use report::Report;

use anyhow::{Context as _, Result};
use report::{Round, System};
use std::path::PathBuf;
use std::time::Duration;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    pub muster: PathBuf,
    pub nats_server: PathBuf,
    pub terminals: u32,
    pub windows: Vec<usize>,
    pub rounds: usize,
    /// Each measurement sends for so long.
    pub measure_for: Duration,
    /// Requests that one measurement has ready at most.
    pub requests_max: usize,
    /// Each engine is measured for so long.
    pub engine_for: Duration,
    pub resume_passes: usize,
    pub kills: usize,
    /// Tiny: shows that it runs, and nothing about speed.
    pub smoke: bool,
}

/// Where a run has its files, relative to where it is started.
const BELOW: &str = ".dev";
/// The window at which the goals are stated.
const GOAL_WINDOW: usize = 1024;

impl Plan {
    #[must_use]
    pub fn full(muster: PathBuf, nats_server: PathBuf) -> Self {
        Plan {
            muster,
            nats_server,
            terminals: 4_000,
            windows: vec![64, GOAL_WINDOW, 8192],
            rounds: 3,
            measure_for: Duration::from_secs(3),
            requests_max: 1_000_000,
            engine_for: Duration::from_secs(2),
            resume_passes: 3,
            kills: 20,
            smoke: false,
        }
    }

    #[must_use]
    pub fn smoke(muster: PathBuf, nats_server: PathBuf) -> Self {
        Plan {
            terminals: 48,
            windows: vec![64],
            rounds: 1,
            measure_for: Duration::from_millis(300),
            requests_max: 1_000,
            engine_for: Duration::from_millis(50),
            resume_passes: 1,
            kills: 1,
            smoke: true,
            ..Plan::full(muster, nats_server)
        }
    }

    /// The window of this plan that stands for the goals.
    fn goal_window(&self) -> usize {
        if self.windows.contains(&GOAL_WINDOW) { GOAL_WINDOW } else { self.windows[0] }
    }
}

/// Measures everything. `say` tells people what is going on.
pub async fn run(plan: &Plan, say: &dyn Fn(&str)) -> Result<Report> {
    std::fs::create_dir_all(BELOW).with_context(|| format!("creating {BELOW}"))?;
    let dir =
        tempfile::Builder::new().prefix("bench-").tempdir_in(BELOW).context("a directory of its own")?;
    let mut report = Report::begin(plan);

    say(&format!("burning {} terminals and starting three nodes", plan.terminals));
    let mut stage = stage::Stage::set_up(plan, dir.path()).await?;
    say("activations, and P-384 arithmetic before and after");
    let before = engines::measure(plan.engine_for);
    let activations = activations::activate(&mut stage).await?;
    report.activated(activations, engines::mean(before, engines::measure(plan.engine_for)));
    say("resumes");
    report.resumes = activations::resume(&mut stage, plan.resume_passes).await?;

    say("starting the servers that it is compared with");
    let mut echo = echo::Echo::start(plan, &dir.path().join("echo")).await?;
    let mut default = jetstream::JetStream::start(plan, &dir.path().join("js-default"), false).await?;
    let mut always = jetstream::JetStream::start(plan, &dir.path().join("js-always"), true).await?;
    for number in 1..=plan.rounds {
        for &window in &plan.windows {
            say(&format!("round {number} of {}, window {window}", plan.rounds));
            let mut round = Round { number, window, systems: Default::default() };
            round.systems.insert(System::Echo, echo.measure(plan, window).await?);
            round.systems.insert(System::JetStreamDefault, default.measure(plan, window).await?);
            round.systems.insert(System::JetStreamAlways, always.measure(plan, window).await?);
            round.systems.insert(System::Muster, heartbeats::measure(&mut stage, plan, window).await?);
            report.rounds.push(round);
        }
    }
    say("half load");
    let window = plan.goal_window();
    let rate = report.median_rate(System::Muster, window) / 2.0;
    report.half_load.insert(System::Echo, echo.measure_paced(plan, rate).await?);
    report.half_load.insert(System::Muster, heartbeats::measure_paced(&mut stage, plan, rate).await?);
    drop((echo, default, always));

    say(&format!("killing the leader {} times", plan.kills));
    report.failover = Some(failover::measure(&mut stage, plan.kills).await?);
    report.conclude(window);
    Ok(report)
}
