//! `muster-agent activate`: redeems a code. A running agent gets it handed over; without one this process boots,
//! activates and ends, and the next `run` resumes from what it left on flash.

use super::agent::{Agent, AgentError};
use super::boot;
use super::config::Config;
use super::control::{self, ActivationOutcome, ControlError};
use super::lock::LockError;
use super::run::outcome_of;
use crate::machine::Command;
use events::license::ActivationCode;
use std::time::Duration;
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    #[error("that is no activation code: {0}")]
    Code(String),
    #[error(
        "no sealed answer within {0} s; if the activation was sealed, the next `run` or `activate` goes on with it"
    )]
    NoAnswer(u64),
    #[error(transparent)]
    Agent(AgentError),
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Redeems `code` within `patience`.
pub async fn activate(
    config: &Config,
    code: Zeroizing<String>,
    patience: Duration,
) -> Result<ActivationOutcome, ActivateError> {
    // A typing mistake is found here, by the check character, before anything is asked.
    let parsed: ActivationCode = code
        .trim()
        .parse()
        .map_err(|error: events::license::CodeError| ActivateError::Code(error.to_string()))?;
    if !control::is_listening(&config.state_dir) {
        boot::await_hardware(config, |_| ()).await;
    }
    match Agent::boot(config).await {
        Ok(agent) => match tokio::time::timeout(patience, redeem(agent, parsed)).await {
            Ok(outcome) => outcome.map_err(ActivateError::Agent),
            Err(_elapsed) => Err(ActivateError::NoAnswer(patience.as_secs())),
        },
        // A running agent has its lock and its state already: who hands it a code leaves nothing behind.
        Err(AgentError::Owner(_)) if control::is_listening(&config.state_dir) => {
            Ok(control::hand_over(&config.state_dir, &code, patience).await?)
        }
        Err(AgentError::Lock(LockError::Held(_))) => {
            Ok(control::hand_over(&config.state_dir, &code, patience).await?)
        }
        Err(error) => Err(ActivateError::Agent(error)),
    }
}

async fn redeem(mut agent: Agent, code: ActivationCode) -> Result<ActivationOutcome, AgentError> {
    // What the start tells is not about this code.
    drop(agent.start().await?);
    let mut told = agent.command(Command::Activate(code)).await?;
    loop {
        if let Some(outcome) = told.iter().find_map(outcome_of) {
            agent.stop().await?;
            return Ok(outcome);
        }
        agent.wait().await?;
        told = agent.settle().await?;
    }
}
