//! `muster dev`: arguments of the development cluster and of the scene.

use super::{Global, now};
use crate::dev::{DevPlan, live, scene};
use crate::exit::{NOT_HELD, USAGE, answered, coded};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// A whole muster on this machine: nats-server, nodes as separate processes, an offline station that burns a lot,
/// codes, three real agents and a fleet for the rest.
///
/// Without --once it stays up with a live view until Ctrl-C and says how to look around from another terminal. With
/// --once it plays the scene: honest terminals beat while one record is copied onto other hardware, one terminal is
/// copied completely, captured heartbeats are replayed, codes are guessed and the leader is killed; at the end it
/// reads the nodes' own states and logs, prints a report, and exits 0 only if all of it held.
#[derive(Args)]
pub(crate) struct DevArguments {
    /// Play the scene once and end
    #[arg(long)]
    once: bool,
    /// Terminals to burn; three of them run as real agents
    #[arg(long, value_name = "N", default_value_t = 200)]
    devices: u32,
    /// Nodes of the cluster
    #[arg(long, value_name = "N", default_value_t = 3)]
    nodes: u64,
    /// With --once: how long terminals beat, in seconds; set-up and reading come on top
    #[arg(long, value_name = "S", default_value_t = 30)]
    seconds: u64,
    /// Chooses who is attacked and when; the same seed makes the same choices
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Trace each request of the three agents: nodes send spans by OTLP over gRPC to this endpoint, such as
    /// http://127.0.0.1:4317, agents write theirs to spans.jsonl in their folders
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Directory for this run; must be new [default: .dev/<time of start>]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, arguments: DevArguments) -> Result<()> {
    let plan = arguments.plan()?;
    crate::tls::install_provider();
    if !arguments.once {
        return live::run(&plan, &say).await;
    }
    let report = scene::play(&plan, &say).await?;
    global.format().print(&report, |report| report.to_string())?;
    if report.ok {
        Ok(())
    } else {
        Err(answered(NOT_HELD, format!("the scene did not hold: {}", report.not_held.join("; "))))
    }
}

/// Progress, for people: standard output is for the answer.
fn say(what: &str) {
    eprintln!("[{}] {what}", now());
}

impl DevArguments {
    fn plan(&self) -> Result<DevPlan> {
        let within = |name: &str, got: u64, min: u64, max: u64| {
            if (min..=max).contains(&got) {
                Ok(())
            } else {
                Err(coded(USAGE, format!("--{name}: expected {min} to {max}, got {got}")))
            }
        };
        within("devices", self.devices.into(), 10, 5_000)?;
        within("nodes", self.nodes, 1, 7)?;
        within("seconds", self.seconds, 15, 3_600)?;
        if self.once && self.nodes < 3 {
            return Err(coded(
                USAGE,
                "--once kills the leader, and two of three nodes must be left: --nodes 3 or more",
            ));
        }
        Ok(DevPlan {
            devices: self.devices,
            nodes: self.nodes,
            beat_for: Duration::from_secs(self.seconds),
            seed: self.seed,
            otlp: self.otlp.clone(),
            dir: self.dir.clone(),
        })
    }
}
