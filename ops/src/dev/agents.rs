//! Real `muster-agent` processes: a terminal's folder, its configuration, and what it says on standard output.

use super::children::{Child, spawn_with_output};
use super::factory::{BurnedTerminal, hardware_files};
use super::nats::User;
use super::tap::HeartbeatName;
use crate::files::{create_dir, write_secret};
use anyhow::{Context as _, Result, bail};
use events::envelope::HeartbeatStatus;
use events::ids::{DeviceId, Epoch, RegionName, Sequence};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tokio::process::Command as AsyncCommand;

const SAID_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(25);

/// What every terminal of the development cluster knows.
#[derive(Clone)]
pub struct AgentPlan {
    /// The `muster-agent` program.
    pub binary: PathBuf,
    pub region: RegionName,
    pub nats_url: String,
    pub cluster_public: PathBuf,
    pub firmware: PathBuf,
    /// Tell requests as spans in `spans.jsonl` of the terminal's folder.
    pub traces: bool,
}

/// A terminal's folder: what a thief of the whole terminal takes.
#[derive(Clone)]
pub struct AgentHome {
    plan: AgentPlan,
    pub device: DeviceId,
    pub source: String,
    dir: PathBuf,
}

/// A running agent; killed when dropped.
pub struct RunningAgent {
    child: Child,
    events: PathBuf,
}

/// What an agent may say, as far as the scene looks at it.
#[derive(Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Said {
    CodeNeeded,
    Granted {
        epoch: Epoch,
        origin: String,
    },
    Acknowledged {
        epoch: Epoch,
        sequence: Sequence,
        index: u64,
        status: HeartbeatStatus,
    },
    LegitimacyChanged {
        legitimacy: String,
    },
    TamperReported,
    #[serde(other)]
    Else,
}

impl AgentHome {
    /// Writes the agent's configuration for a burned terminal.
    pub fn set_up(plan: &AgentPlan, terminal: &BurnedTerminal, user: &User) -> Result<Self> {
        let home = AgentHome {
            plan: plan.clone(),
            device: terminal.device,
            source: user.name.clone(),
            dir: terminal.dir.clone(),
        };
        home.configure(user)?;
        Ok(home)
    }

    /// A complete copy in `dir`: OTP, hardware and state. `user` is the connection that it will use.
    pub fn copy_to(&self, dir: &Path, user: &User) -> Result<Self> {
        copy_dir(&self.dir, dir)?;
        let home = AgentHome { dir: dir.to_owned(), source: user.name.clone(), ..self.clone() };
        home.configure(user)?;
        Ok(home)
    }

    fn configure(&self, user: &User) -> Result<()> {
        let state = self.dir.join("state");
        create_dir(&state)?;
        crate::files::close_dir(&state)?;
        write_secret(&self.dir.join("nats.password"), user.password.as_bytes())?;
        write_secret(&self.config(), self.config_text(user)?.as_bytes())
    }

    /// What belongs to the terminal lies beside the file, so that a copy of the folder is a copy of the terminal.
    fn config_text(&self, user: &User) -> Result<String> {
        let plan = &self.plan;
        let absolute = |path: &Path| -> Result<String> {
            let absolute = std::path::absolute(path).context("finding the working directory")?;
            Ok(toml::Value::String(absolute.display().to_string()).to_string())
        };
        let mut text = format!(
            "region = \"{}\"\nsource = \"{}\"\nfirmware = 1\nstate_dir = \"state\"\ncluster_file = {}\n\
             lot_firmware_file = {}\n{}\n[nats]\nurl = \"{}\"\nuser = \"{}\"\npassword_file = \"nats.password\"\n\n\
             [otp]\nrecord = \"otp.bin\"\n\n[timing]\nreply_timeout_ms = 1000\nbackoff_first_ms = 200\n\
             backoff_max_ms = 2000\n\n[components]\n",
            plan.region,
            self.source,
            absolute(&plan.cluster_public)?,
            absolute(&plan.firmware)?,
            if plan.traces { "traces_file = \"spans.jsonl\"\n" } else { "" },
            plan.nats_url,
            user.name,
        );
        for (kind, _) in hardware_files(&self.dir) {
            let _ = writeln!(text, "{kind} = \"hardware/{kind}\"");
        }
        Ok(text)
    }

    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("agent.toml")
    }

    /// `muster-agent run`, its events in `events.jsonl` and its log in `agent.log`.
    pub fn run(&self) -> Result<RunningAgent> {
        let events = self.dir.join("events.jsonl");
        let mut command = Command::new(&self.plan.binary);
        command.arg("--json").arg("--config").arg(self.config()).arg("run");
        let name = format!("agent of {} at {}", self.device, self.source);
        let child = spawn_with_output(&name, command, &events, &self.dir.join("agent.log"))?;
        Ok(RunningAgent { child, events })
    }

    /// `muster-agent activate` with a code on standard input; beside a running agent it hands the code over.
    pub async fn activate(&self, code: &str) -> Result<()> {
        let code_file = self.dir.join("code.txt");
        write_secret(&code_file, code.as_bytes())?;
        let output = self.command().arg("activate").arg("--code-file").arg(&code_file).output().await;
        let output = output.context("running muster-agent activate")?;
        std::fs::remove_file(&code_file).with_context(|| format!("removing {}", code_file.display()))?;
        if !output.status.success() {
            bail!("{} was not activated: {}", self.device, said(&output));
        }
        Ok(())
    }

    /// `muster-agent boot-check`: whether it ended `Full`, and what it said.
    pub async fn boot_check(&self) -> Result<(bool, String)> {
        let output =
            self.command().arg("boot-check").output().await.context("running muster-agent boot-check")?;
        Ok((output.status.success(), said(&output)))
    }

    fn command(&self) -> AsyncCommand {
        let mut command = AsyncCommand::new(&self.plan.binary);
        command.arg("--json").arg("--config").arg(self.config()).kill_on_drop(true);
        command
    }
}

impl RunningAgent {
    /// Everything that it said so far on standard output.
    pub fn said(&self) -> Result<Vec<Said>> {
        Ok(read_said(&crate::files::read_text(&self.events)?))
    }

    /// Waits until it has said what is wanted.
    pub async fn wait_until_said(&mut self, what: &str, wanted: impl Fn(&Said) -> bool) -> Result<()> {
        let deadline = Instant::now() + SAID_WITHIN;
        while !self.said()?.iter().any(&wanted) {
            self.still_running()?;
            if Instant::now() > deadline {
                bail!(
                    "{} did not {what} within {SAID_WITHIN:?}; see {}",
                    self.child.name(),
                    self.child.log()
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Heartbeats for which a verdict verified that says that they are in the log.
    pub fn acknowledged(&self, device: DeviceId) -> Result<BTreeSet<HeartbeatName>> {
        Ok(acknowledged(self.said()?, device))
    }

    pub fn still_running(&mut self) -> Result<()> {
        self.child.still_running()
    }

    /// SIGTERM, and waits for the agent's own end.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.child.stop(Duration::from_secs(10)).await?;
        if status.success() {
            Ok(())
        } else {
            bail!("{} ended with {status}; see {}", self.child.name(), self.child.log())
        }
    }
}

/// What an agent said on standard output; the last line may be half written.
#[must_use]
pub fn read_said(text: &str) -> Vec<Said> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Of what the agent of `device` said, the heartbeats for which a verdict verified that says that they are in the log.
#[must_use]
pub fn acknowledged(said: Vec<Said>, device: DeviceId) -> BTreeSet<HeartbeatName> {
    let name = |said| match said {
        Said::Acknowledged { epoch, sequence, status, .. } if is_in_log(status) => {
            Some((device, epoch, sequence))
        }
        _ => None,
    };
    said.into_iter().filter_map(name).collect()
}

/// Whether a verdict of this status says that the heartbeat is on the disks of a majority.
#[must_use]
pub fn is_in_log(status: HeartbeatStatus) -> bool {
    match status {
        HeartbeatStatus::Committed | HeartbeatStatus::Retried => true,
        HeartbeatStatus::EpochStale => false,
    }
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    create_dir(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry.with_context(|| format!("reading {}", from.display()))?;
        let kind = entry.file_type().with_context(|| format!("reading {}", entry.path().display()))?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else if kind.is_file() && entry.file_name() != "events.jsonl" {
            std::fs::copy(entry.path(), &target)
                .with_context(|| format!("copying {}", entry.path().display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_words_are_read_and_unknown_ones_passed_over() {
        let read = |line: &str| serde_json::from_str::<Said>(line).unwrap();
        let acknowledged =
            read(r#"{"event":"acknowledged","epoch":2,"sequence":7,"index":40,"status":"committed"}"#);
        let status = HeartbeatStatus::Committed;
        assert_eq!(acknowledged, Said::Acknowledged { epoch: 2, sequence: 7, index: 40, status });
        assert_eq!(read(r#"{"event":"license-renewed"}"#), Said::Else);
        assert_eq!(read(r#"{"event":"started-over","why":"silence"}"#), Said::Else);
    }
}
