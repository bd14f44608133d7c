//! Noun, then verb: one file per noun. Every command takes `--json`.

mod cluster;
pub(crate) mod code;
mod dev;
mod device;
mod enrol;
mod evidence;
pub(crate) mod flag;
mod fleet;
mod interrupt;
mod keys;
mod license;
mod log;
mod lot;
pub(crate) mod manifest;
mod manual;
mod node;
mod operation;
mod progress;
mod replay;
mod source;
mod station;
pub(crate) mod terminal;
mod update;
mod webhook;

use crate::api::Api;
use crate::context::Context;
use crate::exit;
use crate::output::Format;
use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};
use events::time::Timestamp;
use nodes::clock::{Clock, SystemClock};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Decides which terminals pass muster: factory, activation, heartbeats, detection and reaction over one log.
#[derive(Parser)]
#[command(
    name = "muster",
    version,
    max_term_width = 110,
    arg_required_else_help = true,
    after_help = "EXIT CODES\n  \
        0  it held\n  \
        1  it failed\n  \
        2  wrong flags or a wrong file\n  \
        3  no node could be reached, or none can decide now\n  \
        4  the cluster understood and refused\n  \
        5  a check ran and did not hold\n  \
        6  a node's disk failed, or holds what no start makes good: look at it before you start the node again\n  \
        7  a node found its log damaged: start it again, it repairs it from its peers\n  \
        130  ended by Ctrl-C or SIGTERM before it was done\n\n\
        START\n  \
        muster dev                  a whole cluster with terminals on this machine\n  \
        muster cluster init --help  a cluster of your own"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Args, Clone)]
pub(crate) struct Global {
    /// Answer with one JSON document instead of text for people
    #[arg(long, global = true)]
    json: bool,
    /// The cluster to speak to: a file that `cluster init` or `dev` wrote [default: .dev/context.json]
    #[arg(long, global = true, value_name = "FILE", env = "MUSTER_CONTEXT")]
    context: Option<PathBuf>,
}

impl Global {
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Human }
    }

    pub(crate) fn context(&self) -> Result<Context> {
        Context::load(self.context.as_deref())
    }

    pub(crate) fn api(&self) -> Result<Api> {
        Api::of(&self.context()?)
    }
}

/// The factory's directory: the one named, or the one of the context.
fn factory_dir(global: &Global, named: Option<PathBuf>) -> Result<PathBuf> {
    match named {
        Some(dir) => Ok(dir),
        None => global.context()?.factory.ok_or_else(|| {
            exit::coded(
                exit::USAGE,
                "the context names no factory; give --factory DIR (`muster keys create` makes one)",
            )
        }),
    }
}

/// The cluster's keyring: the one named, or the one of the context.
fn keyring_path(global: &Global, named: Option<PathBuf>) -> Result<PathBuf> {
    match named {
        Some(path) => Ok(path),
        None => global.context()?.keyring.ok_or_else(|| {
            exit::coded(exit::USAGE, "the context names no keyring; give --keyring FILE (the nodes have it)")
        }),
    }
}

/// Wall-clock time.
pub(crate) fn now() -> Timestamp {
    SystemClock::new().now()
}

#[derive(Subcommand)]
enum Command {
    Node(node::NodeArguments),
    /// Lay out a new cluster; see how one is
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// The factory's keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Production batches of devices
    #[command(subcommand)]
    Lot(lot::LotCommand),
    /// A provisioning station on a factory line; works offline
    #[command(subcommand)]
    Station(station::StationCommand),
    /// What a station tells the cluster about the units that it burned
    #[command(subcommand)]
    Manifest(manifest::ManifestCommand),
    /// Activation codes: what customers buy
    #[command(subcommand)]
    Code(code::CodeCommand),
    /// Licenses: as they stand; transfer, renewal, suspension, reissue
    #[command(subcommand)]
    License(license::LicenseCommand),
    /// Devices: who they are, how they stand, why
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// Findings of attacks, with their evidence
    #[command(subcommand)]
    Flag(flag::FlagCommand),
    /// What was ordered, by policy or a person, and how it ended; `muster device` orders
    #[command(subcommand)]
    Operation(operation::OperationCommand),
    /// Who may connect to NATS, and as what
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Software update: signed offers, and how they go out
    #[command(subcommand)]
    Update(update::UpdateCommand),
    /// Who is told what changed: signing secrets, and whether a receiver hears
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    Fleet(fleet::FleetArguments),
    /// The log on a node's disk, read-only
    #[command(subcommand)]
    Log(log::LogCommand),
    Replay(replay::ReplayArguments),
    Dev(dev::DevArguments),
    Manual(manual::ManualArguments),
}

pub(crate) use cluster::this_year;
pub use node::HEALTH_WITHIN;

/// What a command left behind, such as a node that was told to stop while it reads its log, holds its end up no longer.
const ABANDONED_WITHIN: Duration = Duration::from_secs(2);

/// What `--json` says of an error.
#[derive(serde::Serialize)]
struct Failure {
    ok: bool,
    error: String,
    exit_code: i32,
    /// What the API calls it, where a node refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<nodes::api::shapes::RefusalCode>,
}

/// Parses, runs, and turns an error into words and an exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.global.json;
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let done = runtime.block_on(dispatch(cli));
            runtime.shutdown_timeout(ABANDONED_WITHIN);
            done
        });
    let Err(error) = done else { return ExitCode::SUCCESS };
    let code = exit::code_of(&error);
    if !json {
        eprintln!("muster: {error:#}");
    } else if !exit::is_answered(&error) {
        let document = Failure {
            ok: false,
            error: format!("{error:#}"),
            exit_code: code,
            code: exit::refusal_of(&error),
        };
        let _ = Format::Json.print(&document, |_| String::new());
    }
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

async fn dispatch(cli: Cli) -> Result<()> {
    let global = cli.global;
    match cli.command {
        Command::Node(arguments) => node::run(&global, arguments).await,
        Command::Cluster(command) => cluster::run(&global, command).await,
        Command::Keys(command) => keys::run(&global, command).await,
        Command::Lot(command) => lot::run(&global, command).await,
        Command::Station(command) => station::run(&global, command).await,
        Command::Manifest(command) => manifest::run(&global, command).await,
        Command::Code(command) => code::run(&global, command).await,
        Command::License(command) => license::run(&global, command).await,
        Command::Device(command) => device::run(&global, command).await,
        Command::Flag(command) => flag::run(&global, command).await,
        Command::Operation(command) => operation::run(&global, command).await,
        Command::Source(command) => source::run(&global, command),
        Command::Update(command) => update::run(&global, command).await,
        Command::Webhook(command) => webhook::run(&global, command).await,
        Command::Fleet(arguments) => fleet::run(&global, arguments).await,
        Command::Log(command) => log::run(&global, command).await,
        Command::Replay(arguments) => replay::run(&global, arguments),
        Command::Dev(arguments) => dev::run(&global, arguments).await,
        Command::Manual(arguments) => manual::run(&global, &arguments, Cli::command()),
    }
}
