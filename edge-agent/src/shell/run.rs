//! `muster-agent run`: boots once and serves until it is told to stop.

use super::agent::{Agent, AgentError};
use super::announcer::Announcer;
use super::boot;
use super::config::Config;
use super::control::{ActivationOutcome, ControlError, ControlSocket, Handed, HandedCode};
use super::supervisor::Supervisor;
use crate::license::socket::{Asked, LicenseSocket, LicenseSocketError};
use crate::machine::{AgentEvent, Command, SessionOrigin};
use crate::update::{JournalError, UpdateDesk, Wanted};
use events::license::ActivationCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    License(#[from] LicenseSocketError),
    #[error(transparent)]
    Update(#[from] JournalError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

/// What ends the process in good order.
struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    /// Safe to cancel.
    async fn wanted(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Why one life of the agent is over.
enum Over {
    Told,
    /// What the boot check could not read can be read now: it is judged at a start, and every start is a boot.
    HardwareCame,
}

/// After the hardware the start needs this, as without waiting for it.
const START: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or SIGINT, and tells `report` everything that happens.
pub async fn run(config: &Config, mut report: impl FnMut(&AgentEvent)) -> Result<(), RunError> {
    let terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let mut ending = Ending { terminate, interrupt };
    let mut supervisor = Supervisor::from_environment();
    tokio::select! {
        () = boot::await_hardware(config, |patience| supervisor.extend_start(patience + START)) => {}
        () = ending.wanted() => return Ok(()),
    }
    while let Over::HardwareCame = live(config, &mut ending, &mut supervisor, &mut report).await? {
        tracing::info!("hardware that could not be read can be read now: the agent starts anew");
    }
    Ok(())
}

/// One life: a boot, and all that follows.
async fn live(
    config: &Config,
    ending: &mut Ending,
    supervisor: &mut Supervisor,
    report: &mut impl FnMut(&AgentEvent),
) -> Result<Over, RunError> {
    let mut agent = Agent::boot(config).await?;
    let mut control = ControlSocket::listen(&config.state_dir)?;
    let mut licenses = LicenseSocket::listen(&config.license)?;
    let mut announcer = Announcer::open(config);
    let hardware = boot::hardware_came(config, agent.boot_check().clone());
    tokio::pin!(hardware);
    let mut waiting = None;
    let mut told = agent.start().await?;
    // Only now the floor of the time is known: before it a clock without a battery would judge what lies on flash.
    let mut updates = open_updates(config, &agent)?;
    supervisor.ready();
    let over = loop {
        for event in told.drain(..) {
            report(&event);
            answer_waiting(&event, &mut waiting);
            announcer.event(&event);
            updates.event(&event, agent.offer_time());
        }
        for answer in agent.take_update_answers() {
            updates.answered(answer, agent.offer_time());
        }
        updates.time(agent.offer_time());
        agent.tell_update_failure(updates.failure());
        announcer.standing(agent.standing());
        tokio::select! {
            woken = agent.wait() => woken?,
            wanted = updates.next() => match wanted? {
                Wanted::Ask(request) => {
                    if agent.ask_update(request).await {
                        updates.question_left();
                    }
                }
                Wanted::Tell(event) => told.push(AgentEvent::Update(event)),
            },
            () = supervisor.due() => supervisor.alive(),
            Some(asked) = next_question(&mut licenses) => {
                let _gone = asked.answer.send(agent.hand_out_license(&asked.app, asked.nonce));
            }
            Some(handed) = control.next() => match handed {
                Handed::Alive(answer) => {
                    let _gone = answer.send(());
                }
                Handed::Code(code) => {
                    if let Some(command) = accept(code, &mut waiting) {
                        told = agent.command(command).await?;
                    }
                }
            },
            () = &mut hardware => break Over::HardwareCame,
            () = ending.wanted() => break Over::Told,
        }
        told.extend(agent.settle().await?);
    };
    if let Over::Told = over {
        supervisor.stopping();
    }
    agent.stop().await?;
    Ok(over)
}

fn open_updates(config: &Config, agent: &Agent) -> Result<UpdateDesk, RunError> {
    let identity = agent.update_identity(config)?;
    Ok(UpdateDesk::open(&config.update, identity, &config.state_dir, agent.offer_time())?)
}

async fn next_question(licenses: &mut Option<LicenseSocket>) -> Option<Asked> {
    match licenses {
        Some(licenses) => licenses.next().await,
        None => std::future::pending().await,
    }
}

type Waiting = Option<oneshot::Sender<ActivationOutcome>>;

/// A code that is no code is refused here; a newer caller takes the place of one that still waits.
fn accept(handed: HandedCode, waiting: &mut Waiting) -> Option<Command> {
    match handed.code.parse::<ActivationCode>() {
        Ok(code) => {
            *waiting = Some(handed.outcome);
            Some(Command::Activate(code))
        }
        Err(error) => {
            let _gone = handed.outcome.send(ActivationOutcome::Refused { reason: error.to_string() });
            None
        }
    }
}

fn answer_waiting(event: &AgentEvent, waiting: &mut Waiting) {
    if let Some(outcome) = outcome_of(event)
        && let Some(caller) = waiting.take()
    {
        let _gone = caller.send(outcome);
    }
}

/// How an activation ended, if `event` says so.
pub(super) fn outcome_of(event: &AgentEvent) -> Option<ActivationOutcome> {
    match event {
        AgentEvent::Granted { epoch, origin: SessionOrigin::Activation, .. } => {
            Some(ActivationOutcome::Granted { epoch: *epoch })
        }
        AgentEvent::ActivationRefused { reason } => {
            Some(ActivationOutcome::Refused { reason: reason.to_string() })
        }
        AgentEvent::CommandRefused { why } => Some(ActivationOutcome::Refused { reason: (*why).to_owned() }),
        _ => None,
    }
}
