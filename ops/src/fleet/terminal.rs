//! One simulated terminal: the machine, what it pins, and its flash.

use super::FleetOptions;
use super::report::TerminalReport;
use super::wire::FleetError;
use edge_agent::machine::{
    AgentEvent, BootCheck, Command, Machine, Now, RequestId, Standing, Transmit, boot_check,
};
use edge_agent::shell::bus::Address;
use edge_agent::shell::entropy::Entropy;
use edge_agent::shell::flash::FolderFlash;
use edge_agent::shell::state_file::StateFile;
use events::identity::fingerprint::Component;
use events::identity::otp::FuseSecret;
use events::ids::{DeviceId, Epoch};
use events::license::ActivationCode;
use events::vocabulary::shared::Legitimacy;

/// A terminal as it left the factory, and what its owner bought.
#[derive(Clone)]
pub struct TerminalSpec {
    /// The bytes of its OTP memory.
    pub record: Vec<u8>,
    /// Of the `seed` profile only.
    pub fuse_secret: Option<FuseSecret>,
    pub components: Vec<Component>,
    /// Typed when the terminal asks for a code.
    pub code: Option<ActivationCode>,
    /// State to start from instead of a blank or stored one: a copy of another terminal's flash.
    pub snapshot: Option<Vec<u8>>,
}

pub(super) struct FleetTerminal {
    check: BootCheck,
    machine: Machine,
    flash: Flash,
    started: bool,
    code: Option<ActivationCode>,
    last_request: RequestId,
    legitimacy: Option<Legitimacy>,
    epochs: Vec<Epoch>,
    acknowledged: u64,
}

enum Flash {
    Memory(Option<Vec<u8>>),
    Folder { file: Box<StateFile<FolderFlash>>, last: Option<Vec<u8>> },
}

impl FleetTerminal {
    /// Checks and restores, sends nothing yet.
    pub fn new(spec: TerminalSpec, options: &FleetOptions) -> Result<Self, FleetError> {
        let check =
            boot_check(Some(&spec.record), &options.firmware, spec.fuse_secret.as_ref(), spec.components);
        let (flash, stored) = Flash::open(options, check.device())?;
        let snapshot = spec.snapshot.or(stored).filter(|_| check.device().is_some());
        let (settings, cluster) = (options.settings.clone(), options.cluster.clone());
        let restored = snapshot.and_then(|bytes| {
            Machine::restore(settings.clone(), cluster.clone(), check.clone(), &bytes).ok()
        });
        let machine = restored.unwrap_or_else(|| Machine::blank(settings, cluster, check.clone()));
        Ok(FleetTerminal {
            check,
            machine,
            flash,
            started: false,
            code: spec.code,
            last_request: 0,
            legitimacy: None,
            epochs: Vec::new(),
            acknowledged: 0,
        })
    }

    pub fn device(&self) -> Option<DeviceId> {
        self.check.device()
    }

    pub fn address(&self) -> Address {
        Address { device: self.check.device(), lot: self.check.lot }
    }

    /// The first call is the boot.
    pub fn handle_due(&mut self, now: Now) {
        if self.started {
            return self.machine.handle_timeout(now, &mut Entropy);
        }
        self.started = true;
        self.machine.handle_started(now, &mut Entropy);
    }

    pub fn handle_answer(&mut self, request: RequestId, bytes: &[u8], now: Now) {
        self.machine.handle_reply(request, bytes, now, &mut Entropy);
    }

    /// What the terminal's owner does about an event, and what the report keeps of it.
    pub fn handle_event(&mut self, event: &AgentEvent, now: Now) {
        match event {
            AgentEvent::CodeNeeded => {
                if let Some(code) = self.code.take() {
                    self.machine.handle_command(Command::Activate(code), now, &mut Entropy);
                }
            }
            AgentEvent::Granted { epoch, .. } => self.epochs.push(*epoch),
            AgentEvent::LegitimacyChanged { legitimacy } => self.legitimacy = Some(*legitimacy),
            AgentEvent::Acknowledged { .. } => self.acknowledged += 1,
            _ => {}
        }
    }

    pub fn persist(&mut self) -> Result<(), FleetError> {
        while let Some(snapshot) = self.machine.poll_persist() {
            self.flash.save(&snapshot.bytes)?;
            self.machine.handle_persisted(snapshot.revision);
        }
        Ok(())
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.machine.poll_transmit()
    }

    pub fn poll_event(&mut self) -> Option<AgentEvent> {
        self.machine.poll_event()
    }

    /// Requests are numbered upwards: one that is not newer was sent before.
    pub fn is_retry(&mut self, transmit: &Transmit) -> bool {
        let is_retry = transmit.request <= self.last_request;
        self.last_request = self.last_request.max(transmit.request);
        is_retry
    }

    pub fn due(&self) -> Option<u64> {
        self.machine.poll_timeout()
    }

    pub fn heartbeat_under_way(&self) -> bool {
        self.machine.heartbeat_under_way()
    }

    pub fn stop(&mut self) -> Result<(), FleetError> {
        self.machine.handle_stopping();
        self.persist()
    }

    pub fn report(&self) -> TerminalReport {
        TerminalReport {
            device: self.check.device(),
            record: self.check.record,
            standing: if self.started { self.machine.standing() } else { Standing::Restricted },
            legitimacy: self.legitimacy,
            epochs: self.epochs.clone(),
            phase: self.machine.phase_name(),
            heartbeats_acknowledged: self.acknowledged,
            snapshot: self.flash.last().map(<[u8]>::to_vec),
        }
    }
}

impl Flash {
    fn open(options: &FleetOptions, device: Option<DeviceId>) -> Result<(Self, Option<Vec<u8>>), FleetError> {
        let (Some(dir), Some(device)) = (&options.state_dir, device) else {
            return Ok((Flash::Memory(None), None));
        };
        let folder = dir.join(device.to_string());
        let flash = FolderFlash::open(&folder).map_err(|source| FleetError::StateDir { folder, source })?;
        let (file, found) = StateFile::open(flash)?;
        let last = found.payload.map(|payload| payload.to_vec());
        Ok((Flash::Folder { file: Box::new(file), last: last.clone() }, last))
    }

    fn save(&mut self, bytes: &[u8]) -> Result<(), FleetError> {
        match self {
            Flash::Memory(last) => *last = Some(bytes.to_vec()),
            Flash::Folder { file, last } => {
                file.save(bytes)?;
                *last = Some(bytes.to_vec());
            }
        }
        Ok(())
    }

    fn last(&self) -> Option<&[u8]> {
        match self {
            Flash::Memory(last) | Flash::Folder { last, .. } => last.as_deref(),
        }
    }
}
