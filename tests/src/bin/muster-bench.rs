//! `ops/bench` runs this: muster beside a bare NATS echo and JetStream, in one run. See `tests::bench`.

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use ops::dev::nats::find_binary;
use std::path::{Path, PathBuf};
use tests::bench::{Plan, respond, run};

/// Measures muster beside a bare NATS echo and JetStream R3, on this machine, in one interleaved run.
///
/// Takes about five minutes and all cores; a quiet machine gives quiet figures. Exit code 0 says that it ran, not that
/// the goals were met: the report says which were.
#[derive(Parser)]
struct Arguments {
    /// Tiny, in seconds: shows that it runs, and nothing about speed
    #[arg(long)]
    smoke: bool,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// The `muster` program to measure; without, the one beside this program
    #[arg(long, value_name = "FILE")]
    muster: Option<PathBuf>,
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
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(url) = &arguments.respond {
        return respond(url).await;
    }
    let report = run(&plan_of(&arguments)?, &|text| eprintln!("bench: {text}")).await?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&report).context("writing the report")?
    } else {
        report.table()
    };
    #[allow(clippy::print_stdout, reason = "the report is this program's output")]
    {
        println!("{text}");
    }
    Ok(())
}

fn plan_of(arguments: &Arguments) -> Result<Plan> {
    let beside = std::env::current_exe().context("finding this program")?.with_file_name("muster");
    let muster = arguments.muster.clone().unwrap_or(beside);
    if !muster.is_file() {
        bail!("there is no {}; build it (`./ops/bench` does so) or name it with --muster", muster.display());
    }
    let nats_server = find_binary(Path::new(""))?;
    let mut plan =
        if arguments.smoke { Plan::smoke(muster, nats_server) } else { Plan::full(muster, nats_server) };
    plan.rounds = arguments.rounds.unwrap_or(plan.rounds).max(1);
    plan.kills = arguments.kills.unwrap_or(plan.kills);
    plan.terminals = arguments.terminals.unwrap_or(plan.terminals).max(2);
    if !arguments.windows.is_empty() {
        plan.windows.clone_from(&arguments.windows);
    }
    Ok(plan)
}
