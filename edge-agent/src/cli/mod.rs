//! What people and scripts type. Answers go to stdout, logs to stderr.

mod args;
mod exit;
mod license;
mod output;
mod status;
mod update;

use crate::doctor::{self, Level};
use crate::shell::activate::{ActivateError, activate};
use crate::shell::agent::AgentError;
use crate::shell::boot;
use crate::shell::config::Config;
use crate::shell::control::{ActivationOutcome, ControlError};
use crate::shell::lock::LockError;
use crate::shell::run::{RunError, run};
use args::{ActivateArgs, Args, DoctorArgs, Verb};
use clap::{CommandFactory, Parser};
use exit::Failure;
use output::Output;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use zeroize::Zeroizing;

/// The command line as data, for man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

/// Parses the command line, does it, and returns the documented exit code.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    start_log();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("muster-agent: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn start_log() {
    use tracing_subscriber::EnvFilter;
    let filter =
        EnvFilter::try_from_env("MUSTER_LOG").unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

fn dispatch(args: &Args) -> Result<(), Failure> {
    let output = Output::new(args.json);
    let config = || Config::load(&args.config).map_err(|error| Failure::new(exit::USAGE, error));
    match &args.verb {
        Verb::Run => block_on(run_until_stopped(&config()?, output)),
        Verb::BootCheck => boot_check(&config()?, output),
        Verb::Activate(wanted) => block_on(redeem(&config()?, wanted, output)),
        Verb::Status(wanted) => status::show(&config()?, wanted, output),
        Verb::Update(wanted) => match &wanted.offer {
            None => update::show(&config()?, output),
            Some(file) => block_on(update::install(&config()?, file, output)),
        },
        Verb::Doctor(wanted) => block_on(examine(&args.config, wanted, output)),
        Verb::License(wanted) => license::show(wanted, output),
    }
}

/// One thread is enough for one terminal.
fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(exit::FAILED, error))?.block_on(work)
}

async fn run_until_stopped(config: &Config, output: Output) -> Result<(), Failure> {
    run(config, |event| output.event(event)).await.map_err(|error| match error {
        RunError::Agent(error) => agent_failure(error),
        other => Failure::new(exit::FAILED, other),
    })
}

fn boot_check(config: &Config, output: Output) -> Result<(), Failure> {
    let check = boot::check(config).map_err(|error| Failure::new(exit::USAGE, error))?;
    let report = check.report();
    output.answer(&report, || report.to_string());
    match check.is_full() {
        true => Ok(()),
        false => Err(Failure::new(exit::RESTRICTED, "boot check: restricted, software update only")),
    }
}

async fn redeem(config: &Config, wanted: &ActivateArgs, output: Output) -> Result<(), Failure> {
    let code = read_code(wanted)?;
    let outcome =
        activate(config, code, Duration::from_secs(wanted.timeout)).await.map_err(|error| match error {
            ActivateError::Code(_) => Failure::new(exit::USAGE, error),
            ActivateError::NoAnswer(_) | ActivateError::Control(ControlError::NoAnswer) => {
                Failure::new(exit::UNREACHABLE, error)
            }
            ActivateError::Agent(error) => agent_failure(error),
            ActivateError::Control(_) => Failure::new(exit::FAILED, error),
        })?;
    output.answer(&outcome, || match &outcome {
        ActivationOutcome::Granted { epoch } => format!("activated, epoch {epoch}"),
        ActivationOutcome::Refused { reason } => format!("refused: {reason}"),
    });
    match outcome {
        ActivationOutcome::Granted { .. } => Ok(()),
        ActivationOutcome::Refused { reason } => Err(Failure::new(exit::REFUSED, reason)),
    }
}

async fn examine(config_file: &Path, wanted: &DoctorArgs, output: Output) -> Result<(), Failure> {
    let report = doctor::examine(config_file, wanted.newest_cluster.as_deref()).await;
    output.answer(&report, || report.to_string());
    match report.count(Level::Problem) {
        0 => Ok(()),
        problems => Err(Failure::new(exit::PROBLEM, format!("doctor: {problems} problems; see above"))),
    }
}

/// A code on the command line is seen by every process of the terminal; standard input and files are not.
fn read_code(wanted: &ActivateArgs) -> Result<Zeroizing<String>, Failure> {
    if let Some(code) = &wanted.code {
        return Ok(Zeroizing::new(code.clone()));
    }
    let mut code = Zeroizing::new(String::new());
    let read = match &wanted.code_file {
        Some(file) => std::fs::read_to_string(file).map(|text| *code = text),
        None => std::io::stdin().read_to_string(&mut code).map(drop),
    };
    read.map_err(|error| Failure::new(exit::USAGE, format!("cannot read the activation code: {error}")))?;
    Ok(code)
}

fn agent_failure(error: AgentError) -> Failure {
    let code = match &error {
        AgentError::Boot(_) => exit::USAGE,
        AgentError::Owner(_) => exit::REFUSED,
        AgentError::Lock(LockError::Held(_)) => exit::LOCKED,
        AgentError::Lock(_) | AgentError::StateFile(_) | AgentError::Bus(_) | AgentError::StateDir { .. } => {
            exit::FAILED
        }
    };
    Failure::new(code, error)
}
