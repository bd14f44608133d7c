//! `ops/bench` runs this: muster beside a bare NATS echo and JetStream, in one run, or the replay of history beside a
//! JetStream consumer. See `tests::bench`.

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use ops::dev::nats::find_binary;
use std::path::{Path, PathBuf};
use tests::bench::replay::{ReplayPlan, fold};
use tests::bench::restart::{self, RestartPlan};
use tests::bench::{Plan, replay, respond, run};
use tikv_jemallocator::Jemalloc;

/// As `muster` has it, since folds are measured in this program.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Measures muster beside a bare NATS echo and JetStream R3, on this machine, in one interleaved run.
///
/// Takes about five minutes and all cores; a quiet machine gives quiet figures. Exit code 0 says that it ran, not that
/// the goals were met: the report says which were.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
    /// Interleaved rounds per window
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Kills of the leader
    #[arg(long, value_name = "N")]
    kills: Option<usize>,
    /// Only these windows
    #[arg(long = "window", value_name = "N")]
    windows: Vec<usize>,
    /// Terminals that are burned and activated
    #[arg(long, value_name = "N")]
    terminals: Option<u32>,
    /// Be the echo's responder (what this program starts itself)
    #[arg(long, hide = true, value_name = "URL")]
    respond: Option<String>,
    /// Fold one log and say what it took (what `replay` starts itself)
    #[arg(long, hide = true, value_name = "JSON")]
    fold: Option<String>,
}

#[derive(Args)]
struct Common {
    /// Tiny, in seconds: shows that it runs, and nothing about speed
    #[arg(long, global = true)]
    smoke: bool,
    /// Print one JSON document instead of tables
    #[arg(long, global = true)]
    json: bool,
    /// The `muster` program to measure; without, the one beside this program
    #[arg(long, value_name = "FILE", global = true)]
    muster: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Reading history again: plain read, read + checksum + decrypt, full fold, beside a JetStream consumer that folds the
    /// same heartbeats; at 10,000, 100,000 and 1,000,000 devices
    Replay(Replay),
    /// How long a node with 1,000,000 devices and 100,000,000 heartbeats takes to be back in service: about two minutes
    Restart(Restart),
}

#[derive(Args)]
struct Restart {
    /// Devices of the fleet
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    devices: u32,
    /// Heartbeats in the log
    #[arg(long, value_name = "N", default_value_t = 100_000_000)]
    heartbeats: u64,
    /// Entries after the last snapshot
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    behind: u64,
}

#[derive(Args)]
struct Replay {
    /// Only logs of so many devices
    #[arg(long, value_name = "N")]
    devices: Vec<u32>,
    /// Heartbeats of each log
    #[arg(long, value_name = "N")]
    heartbeats: Option<u64>,
    /// Heartbeats of one entry
    #[arg(long, value_name = "N")]
    batch: Option<u32>,
    /// Rounds over each log; the median counts
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Heartbeats in the JetStream
    #[arg(long, value_name = "N")]
    messages: Option<usize>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(url) = &arguments.respond {
        return respond(url).await;
    }
    let (say, json) = (|text: &str| eprintln!("bench: {text}"), arguments.common.json);
    if let Some(task) = &arguments.fold {
        return print(&serde_json::to_string(&fold::fold(task)?).context("writing the figures")?);
    }
    if let Some(Command::Replay(flags)) = &arguments.command {
        let report = replay::run(&replay_plan_of(&arguments.common, flags)?, &say).await?;
        print(&if json { pretty(&report)? } else { report.table() })?;
        if !report.is_consistent() {
            bail!("two folds of one log gave different states");
        }
        return Ok(());
    }
    if let Some(Command::Restart(flags)) = &arguments.command {
        let &Restart { devices, heartbeats, behind } = flags;
        let (devices, heartbeats) = if arguments.common.smoke { (50, 20_000) } else { (devices, heartbeats) };
        let (muster, _) = programs(&arguments.common)?;
        let report = restart::run(&RestartPlan { muster, devices, heartbeats, behind }, &say).await?;
        return print(&if json { pretty(&report)? } else { report.text() });
    }
    let report = run(&plan_of(&arguments)?, &say).await?;
    print(&if json { pretty(&report)? } else { report.table() })
}

fn pretty(report: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(report).context("writing the report")
}

#[allow(clippy::print_stdout, clippy::unnecessary_wraps, reason = "the report is this program's output")]
fn print(text: &str) -> Result<()> {
    println!("{text}");
    Ok(())
}

fn replay_plan_of(common: &Common, flags: &Replay) -> Result<ReplayPlan> {
    let (muster, nats_server) = programs(common)?;
    let mut plan = match common.smoke {
        true => ReplayPlan::smoke(muster, nats_server),
        false => ReplayPlan::full(muster, nats_server),
    };
    if !flags.devices.is_empty() {
        plan.devices.clone_from(&flags.devices);
    }
    plan.heartbeats = flags.heartbeats.unwrap_or(plan.heartbeats).max(1);
    plan.batch = flags.batch.unwrap_or(plan.batch);
    plan.rounds = flags.rounds.unwrap_or(plan.rounds).max(1);
    plan.messages = flags.messages.unwrap_or(plan.messages).max(1);
    Ok(plan)
}

fn programs(common: &Common) -> Result<(PathBuf, PathBuf)> {
    let beside = std::env::current_exe().context("finding this program")?.with_file_name("muster");
    let muster = common.muster.clone().unwrap_or(beside);
    if !muster.is_file() {
        bail!("there is no {}; build it (`./ops/bench` does so) or name it with --muster", muster.display());
    }
    Ok((muster, find_binary(Path::new(""))?))
}

fn plan_of(arguments: &Arguments) -> Result<Plan> {
    let (muster, nats_server) = programs(&arguments.common)?;
    let mut plan = if arguments.common.smoke {
        Plan::smoke(muster, nats_server)
    } else {
        Plan::full(muster, nats_server)
    };
    plan.rounds = arguments.rounds.unwrap_or(plan.rounds).max(1);
    plan.kills = arguments.kills.unwrap_or(plan.kills);
    plan.terminals = arguments.terminals.unwrap_or(plan.terminals).max(2);
    if !arguments.windows.is_empty() {
        plan.windows.clone_from(&arguments.windows);
    }
    Ok(plan)
}
