//! The shell around one machine: it does what the machine wants, in the order that the machine gives.

use super::boot::{self, BootError};
use super::bus::{Address, Bus, BusError};
use super::clock::Clock;
use super::config::Config;
use super::entropy::Entropy;
use super::flash::{Flash, FolderFlash};
use super::home::{self, Home};
use super::lock::{InstanceLock, LockError};
use super::owner::{self, NotOwner};
use super::state_file::{StateFile, StateFileError};
use crate::hooks::TerminalStanding;
use crate::machine::{AgentEvent, BootCheck, Command, HandedLicense, Machine, RequestId};
use crate::update::{OfferTime, UpdateIdentity};
use bytes::Bytes;
use events::ids::AppName;
use events::keyring::ClusterPublic;
use events::license::LicenseRefusal;
use events::license::proof::NONCE_BYTES;
use events::update::UpdateFailure;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::sleep_until;

/// Requests of the machine count from 1; those for updates from here.
const UPDATE_REQUESTS: RequestId = 1 << 63;

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Owner(#[from] NotOwner),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("cannot use the state directory `{}`: {source}", folder.display())]
    StateDir { folder: PathBuf, source: io::Error },
}

pub struct Agent {
    machine: Machine,
    state: StateFile<Box<dyn Flash + Send>>,
    bus: Bus,
    clock: Clock,
    /// Answers to update requests, which are no business of the machine.
    update_answers: Vec<Bytes>,
    update_requests: RequestId,
    /// Held as long as the agent lives.
    _lock: InstanceLock,
}

impl Agent {
    /// One boot: owner, lock, boot check, state, connection. Nothing was sent yet.
    pub async fn boot(config: &Config) -> Result<Self, AgentError> {
        let dir_error = |source| AgentError::StateDir { folder: config.state_dir.clone(), source };
        let flash = FolderFlash::open(&config.state_dir).map_err(dir_error)?;
        Agent::boot_on(config, Box::new(flash)).await
    }

    /// The same on another flash than the folder itself, for a port, or for a test that cuts the power. The folder
    /// must be there: lock and result of the boot check lie in it.
    pub async fn boot_on(config: &Config, flash: Box<dyn Flash + Send>) -> Result<Self, AgentError> {
        let dir_error = |source| AgentError::StateDir { folder: config.state_dir.clone(), source };
        owner::check(&config.state_dir)?;
        let lock = InstanceLock::acquire(&config.state_dir)?;
        let check = boot::check(config)?;
        boot::publish(&check, &config.state_dir).map_err(dir_error)?;
        let address = Address { device: check.device(), lot: check.lot };
        if let Home::Moved { born, here } = home::settle(&config.state_dir).map_err(dir_error)? {
            tracing::warn!(
                born,
                here,
                "this state was copied here; see STATE_COPIED of `muster-agent doctor`"
            );
        }
        let (state, found) = StateFile::open(flash)?;
        for file in found.damaged {
            tracing::warn!(file, "a copy of the state is damaged; the other one is used");
        }
        let persisted = found.payload.as_ref().map(|payload| payload.as_slice());
        let machine = machine_from(config, boot::cluster(config)?, check, persisted);
        let bus = Bus::open(config, address).await?;
        let clock = Clock::start();
        let update_answers = Vec::new();
        Ok(Agent {
            machine,
            state,
            bus,
            clock,
            update_answers,
            update_requests: UPDATE_REQUESTS,
            _lock: lock,
        })
    }

    /// Starts the machine: every start of the process is a boot.
    pub async fn start(&mut self) -> Result<Vec<AgentEvent>, AgentError> {
        self.machine.handle_started(self.clock.now(), &mut Entropy);
        self.settle().await
    }

    pub async fn command(&mut self, command: Command) -> Result<Vec<AgentEvent>, AgentError> {
        self.machine.handle_command(command, self.clock.now(), &mut Entropy);
        self.settle().await
    }

    /// Waits for the next answer or timeout and hands it to the machine; call [`Agent::settle`] then. Safe to
    /// cancel while it waits.
    pub async fn wait(&mut self) -> Result<(), AgentError> {
        let due = self.machine.poll_timeout().map(|millis| self.clock.instant_at(millis));
        let timeout = async {
            match due {
                Some(due) => sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answer = self.bus.next_answer() => {
                let (request, bytes) = answer?;
                if request >= UPDATE_REQUESTS {
                    self.update_answers.push(bytes);
                    return Ok(());
                }
                self.machine.handle_reply(request, &bytes, self.clock.now(), &mut Entropy);
            }
            () = timeout => self.machine.handle_timeout(self.clock.now(), &mut Entropy),
        }
        Ok(())
    }

    /// Does what the machine wants: first make durable, then send, then tell.
    pub async fn settle(&mut self) -> Result<Vec<AgentEvent>, AgentError> {
        while let Some(snapshot) = self.machine.poll_persist() {
            self.state.save(&snapshot.bytes)?;
            self.machine.handle_persisted(snapshot.revision);
        }
        while let Some(transmit) = self.machine.poll_transmit() {
            self.bus.publish(transmit).await;
        }
        Ok(std::iter::from_fn(|| self.machine.poll_event()).collect())
    }

    /// Publishes an update request. False if there is no connection that it could leave on.
    pub async fn ask_update(&mut self, payload: Vec<u8>) -> bool {
        self.update_requests += 1;
        self.bus.ask_update(self.update_requests, payload).await
    }

    /// What came as answers to update requests since the last call.
    pub fn take_update_answers(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.update_answers)
    }

    /// What heartbeats tell of the last update.
    pub fn tell_update_failure(&mut self, failure: Option<UpdateFailure>) {
        self.machine.tell_update_failure(failure);
    }

    /// The time by which offers are judged. Before [`Agent::start`] it is not even the floor that lies on flash.
    #[must_use]
    pub fn offer_time(&self) -> OfferTime {
        let now = self.clock.now();
        OfferTime { at: self.machine.known_time(now), is_sealed: self.machine.knows_sealed_time() }
    }

    /// Who this terminal is, as far as update offers are concerned.
    pub fn update_identity(&self, config: &Config) -> Result<UpdateIdentity, AgentError> {
        let check = self.machine.boot_check();
        Ok(UpdateIdentity {
            device: check.device(),
            record: check.record,
            lot: check.lot,
            sku: boot::lot_firmware(config)?.declaration.sku().to_owned(),
            firmware: config.firmware,
        })
    }

    #[must_use]
    pub fn boot_check(&self) -> &BootCheck {
        self.machine.boot_check()
    }

    /// What the terminal may do now, and why.
    #[must_use]
    pub fn standing(&self) -> TerminalStanding {
        TerminalStanding {
            standing: self.machine.standing(),
            device: self.machine.boot_check().device(),
            legitimacy: self.machine.legitimacy(),
            reason: self.machine.boot_check().reason,
        }
    }

    /// The license token for an app that was found to be the one it says.
    pub fn hand_out_license(
        &self,
        app: &AppName,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<HandedLicense, LicenseRefusal> {
        self.machine.hand_out_license(app, nonce, self.clock.now())
    }

    /// A stop in good order.
    pub async fn stop(mut self) -> Result<(), AgentError> {
        self.machine.handle_stopping();
        let _told = self.settle().await?;
        self.bus.flush().await;
        Ok(())
    }
}

/// A state that cannot be read is no reason to stand still: blank, a licensed device re-keys by itself.
fn machine_from(
    config: &Config,
    cluster: ClusterPublic,
    check: BootCheck,
    persisted: Option<&[u8]>,
) -> Machine {
    let cluster = Arc::new(cluster);
    // Without an identity the state of the terminal that this once was stays as it is.
    let persisted = persisted.filter(|_| check.device().is_some());
    let restored =
        persisted.map(|bytes| Machine::restore(config.settings(), cluster.clone(), check.clone(), bytes));
    match restored {
        Some(Ok(machine)) => machine,
        Some(Err(error)) => {
            tracing::error!(%error, "the state is of no use; starting blank");
            Machine::blank(config.settings(), cluster, check)
        }
        None => Machine::blank(config.settings(), cluster, check),
    }
}
