//! Copies: an OTP record on another board, and a terminal with everything in it.

use crate::dev::agents::{AgentHome, AgentPlan, RunningAgent, Said};
use crate::dev::factory::{BurnedTerminal, make_hardware};
use crate::dev::nats::User;
use crate::files::create_dir;
use anyhow::{Context as _, Result};
use std::path::Path;

/// What became of a record on another board.
pub struct CopiedRecord {
    /// The boot check let it through: it must not.
    pub passed: bool,
    /// The agent on it; it has told the cluster.
    pub agent: RunningAgent,
}

/// Copies the OTP record of `victim` onto a board with other components, and boots it there.
pub async fn copy_record(
    plan: &AgentPlan,
    victim: &BurnedTerminal,
    dir: &Path,
    user: &User,
) -> Result<CopiedRecord> {
    create_dir(dir)?;
    make_hardware(dir)?;
    let board = BurnedTerminal { dir: dir.to_owned(), ..victim.clone() };
    std::fs::copy(victim.otp(), board.otp()).context("copying an OTP record")?;
    let home = AgentHome::set_up(plan, &board, user)?;
    let (passed, _said) = home.boot_check().await?;
    let mut agent = home.run()?;
    agent.wait_until_said("report its failed boot check", |said| *said == Said::TamperReported).await?;
    Ok(CopiedRecord { passed, agent })
}

/// Copies a terminal completely while it runs: OTP, hardware, state. The copy is started.
pub fn copied_terminal(victim: &AgentHome, dir: &Path, user: &User) -> Result<RunningAgent> {
    victim.copy_to(dir, user)?.run()
}
