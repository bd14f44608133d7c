//! `muster-agent status`: what is on flash, read beside a running agent.

use super::args::StatusArgs;
use super::exit::{FAILED, Failure, UNREACHABLE};
use super::output::Output;
use crate::machine::StateSummary;
use crate::shell::config::Config;
use crate::shell::control;
use crate::shell::flash::FolderFlash;
use crate::shell::state_file;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Status {
    /// Whether an agent holds the state directory now; with --running, whether it answers.
    running: bool,
    /// The last boot check, as `boot-check.json` says.
    boot_check: Option<serde_json::Value>,
    state: Option<StateSummary>,
}

pub fn show(config: &Config, wanted: &StatusArgs, output: Output) -> Result<(), Failure> {
    let mut status = read(config)?;
    if wanted.running {
        status.running = control::is_alive(&config.state_dir);
    }
    output.answer(&status, || describe(&status));
    match wanted.running && !status.running {
        true => Err(Failure::new(UNREACHABLE, "no running agent answers")),
        false => Ok(()),
    }
}

fn read(config: &Config) -> Result<Status, Failure> {
    let dir = &config.state_dir;
    let boot_check = std::fs::read(dir.join("boot-check.json")).ok();
    let boot_check = boot_check.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let state = match FolderFlash::existing(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Failure::new(FAILED, format!("cannot read `{}`: {error}", dir.display()))),
        Ok(flash) => {
            let found = state_file::read_only(&flash).map_err(|error| Failure::new(FAILED, error))?;
            let summary = found.payload.map(|payload| StateSummary::parse(&payload)).transpose();
            summary.map_err(|error| Failure::new(FAILED, error))?
        }
    };
    Ok(Status { running: control::is_listening(dir), boot_check, state })
}

fn describe(status: &Status) -> String {
    let mut text = format!("agent       {}\n", if status.running { "running" } else { "not running" });
    if let Some(standing) = status.boot_check.as_ref().and_then(|check| check.get("standing")) {
        text += &format!("boot check  {}\n", standing.as_str().unwrap_or("?"));
    }
    let Some(state) = &status.state else { return text + "state       none yet: this terminal never ran\n" };
    let epoch = match (state.epoch, state.epoch_proven) {
        (None, _) => "none: not activated".to_owned(),
        (Some(epoch), true) => format!("{epoch}, proven by a verdict"),
        (Some(epoch), false) => format!("{epoch}, granted"),
    };
    text += &format!("device      {}\nboots       {}\nepoch       {epoch}\n", state.device, state.boot_count);
    text += &format!("legitimacy  {}\n", state.legitimacy);
    let license = if state.licensed { "token held" } else { "no token" };
    text += &format!("license     {license}\ntime floor  {}\n", state.time_floor);
    if state.spooled > 0 {
        text += &format!("spooled     {} heartbeats of an outage\n", state.spooled);
    }
    if state.restricted {
        text += "restricted  by the cluster: software update only\n";
    }
    if state.activation_pending {
        text += "activation  sealed, awaiting the cluster's answer\n";
    }
    text
}
