//! `muster fleet`: many simulated terminals in one process.

use super::Global;
use super::terminal::{SLOT_BYTES, read_fingerprint};
use crate::exit::{NOT_HELD, USAGE, answered, coded};
use crate::fleet::{self, FleetConnection, FleetOptions, FleetReport, TerminalSpec};
use anyhow::{Context as _, Result};
use clap::Args;
use edge_agent::machine::Settings;
use events::ids::{RegionName, SourceName};
use events::vocabulary::shared::ComponentKind;
use indicatif::{ProgressBar, ProgressStyle};
use provisioning::ceremony::load_cluster_public;
use provisioning::codes::read_codes;
use provisioning::lot::load_firmware;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// Drive many simulated terminals over one NATS connection: each with a machine and keys of its own, the very protocol
/// of `muster-agent`.
///
/// A terminal is a folder with `otp.bin` and `hardware/<kind>`, as `muster station burn` and `muster dev` leave them.
/// Ends after --seconds or with Ctrl-C, once what is under way is answered.
#[derive(Args)]
pub(crate) struct FleetArguments {
    /// Folder of terminals
    #[arg(long, value_name = "DIR")]
    terminals: PathBuf,
    /// At most so many of them
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,
    /// The lot's firmware file (secret)
    #[arg(long, value_name = "FILE")]
    firmware: PathBuf,
    /// Codes that the terminals' owners bought: CSV of `muster code issue`
    #[arg(long, value_name = "FILE")]
    codes: Option<PathBuf>,
    /// NATS server [default: the first one of the context]
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// Who signs the NATS server's certificate (PEM); the fleet then speaks to it encrypted only
    #[arg(long, value_name = "FILE")]
    nats_ca: Option<PathBuf>,
    /// NATS user; it may subscribe to *.<token>.>
    #[arg(long, value_name = "NAME", default_value = "fleet")]
    user: String,
    /// File that holds the user's password
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// The source that NATS confines this user to
    #[arg(long, value_name = "NAME", default_value = "fleet")]
    source: SourceName,
    /// The token that tells this fleet's answers from others'
    #[arg(long, value_name = "NAME", default_value = "fleet")]
    token: String,
    /// Region of the terminals
    #[arg(long, value_name = "NAME", default_value = "home")]
    region: RegionName,
    /// Keep each terminal's state below this folder; without, states end with the fleet
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Boot the terminals spread over this long, in seconds
    #[arg(long, value_name = "S", default_value_t = 5)]
    ramp: u64,
    /// End after so many seconds [default: with Ctrl-C]
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Tell each request and its answer as a span in this file (OTLP JSON lines), and send its traceparent along
    #[arg(long, value_name = "FILE")]
    traces_file: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, arguments: FleetArguments) -> Result<()> {
    let context = global.context()?;
    let nats = arguments.nats.clone().or_else(|| context.nats.first().cloned());
    let nats = nats.ok_or_else(|| coded(USAGE, "the context names no NATS server; give --nats URL"))?;
    let password = Zeroizing::new(crate::files::read_text(&arguments.password_file)?);
    let options = FleetOptions {
        connection: FleetConnection {
            url: nats,
            user: arguments.user.clone(),
            password: Zeroizing::new(password.trim().to_owned()),
            authority: arguments.nats_ca.clone(),
            region: arguments.region.clone(),
            source: arguments.source.clone(),
            token: arguments.token.clone(),
            traces_file: arguments.traces_file.clone(),
        },
        cluster: Arc::new(load_cluster_public(&context.public)?),
        firmware: Arc::new(load_firmware(&arguments.firmware)?),
        settings: Settings::default(),
        ramp: Duration::from_secs(arguments.ramp),
        state_dir: arguments.state_dir.clone(),
        drain: Duration::from_secs(5),
        progress_every: Duration::from_secs(1),
    };
    let specs = read_terminals(&arguments)?;
    let bar = progress_bar(global)?;
    let report = fleet::run(options, specs, end_of(arguments.seconds), |counters| {
        bar.set_message(format!(
            "{} terminals, {} activations, {} resumes, {} heartbeats sent, {} acknowledged",
            counters.terminals,
            counters.activations,
            counters.resumes,
            counters.heartbeats_sent,
            counters.heartbeats_acknowledged
        ));
        bar.tick();
    })
    .await?;
    bar.finish_and_clear();
    global.format().print(&report, human)?;
    let counters = &report.counters;
    if counters.heartbeats_sent > 0 && counters.heartbeats_acknowledged == 0 {
        return Err(answered(
            NOT_HELD,
            "no heartbeat was acknowledged; is the cluster up (`muster cluster status`)?",
        ));
    }
    Ok(())
}

async fn end_of(seconds: Option<u64>) {
    let interrupted = async {
        // Without signals only the time ends the fleet.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    match seconds {
        None => interrupted.await,
        Some(seconds) => tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
            () = interrupted => {}
        },
    }
}

fn read_terminals(arguments: &FleetArguments) -> Result<Vec<TerminalSpec>> {
    let mut codes = match &arguments.codes {
        Some(file) => read_codes(file)?,
        None => Vec::new(),
    };
    codes.reverse();
    let folder = &arguments.terminals;
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut homes: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    homes.retain(|home| home.join("otp.bin").is_file());
    homes.sort();
    homes.truncate(arguments.limit);
    if homes.is_empty() {
        return Err(coded(
            USAGE,
            format!("{} holds no terminal: expected folders with otp.bin in them", folder.display()),
        ));
    }
    homes
        .iter()
        .map(|home| {
            let record =
                std::fs::read(home.join("otp.bin")).with_context(|| format!("reading {}", home.display()))?;
            anyhow::ensure!(record.len() <= SLOT_BYTES, "{}: otp.bin is larger than a slot", home.display());
            let components = read_fingerprint(&hardware_of(home))?.components().to_vec();
            Ok(TerminalSpec { record, fuse_secret: None, components, code: codes.pop(), snapshot: None })
        })
        .collect()
}

fn hardware_of(home: &Path) -> Vec<(ComponentKind, PathBuf)> {
    let file = |kind: &ComponentKind| (*kind, home.join("hardware").join(kind.as_str()));
    ComponentKind::ALL.iter().map(file).filter(|(_, path)| path.exists()).collect()
}

fn progress_bar(global: &Global) -> Result<ProgressBar> {
    if global.json {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{elapsed_precise} {msg}").context("a fixed template")?;
    Ok(ProgressBar::new_spinner().with_style(style))
}

fn human(report: &FleetReport) -> String {
    let counters = &report.counters;
    let refusals: Vec<_> =
        counters.refusals.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    format!(
        "terminals    {} ({} booted full, {} restricted)\n\
         sessions     {} activations ({} refused), {} resumes, {} re-keys\n\
         heartbeats   {} sent, {} acknowledged, {} requests retried\n\
         refusals     {}",
        counters.terminals,
        counters.booted,
        counters.restricted,
        counters.activations,
        counters.activations_refused,
        counters.resumes,
        counters.rekeys,
        counters.heartbeats_sent,
        counters.heartbeats_acknowledged,
        counters.retries,
        if refusals.is_empty() { "none".to_owned() } else { refusals.join(", ") }
    )
}
