//! One simulated terminal: the machine, what it pins, and its flash.

use super::FleetOptions;
use super::report::TerminalReport;
use super::wire::FleetError;
use edge_agent::machine::{AgentEvent, BootCheck, Command, Machine, Now, RequestId, Transmit, boot_check};
use edge_agent::shell::bus::Address;
use edge_agent::shell::entropy::Entropy;
use edge_agent::shell::flash::FolderFlash;
use edge_agent::shell::state_file::StateFile;
use events::identity::fingerprint::Component;
use events::identity::otp::FuseSecret;
use events::ids::{DeviceId, Epoch, RecordDigest};
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
    address: Address,
    record: RecordDigest,
    machine: Machine,
    flash: Flash,
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
    /// Checks, restores and starts.
    pub fn boot(spec: TerminalSpec, options: &FleetOptions, now: Now) -> Result<Self, FleetError> {
        let fuse_secret = spec.fuse_secret.as_ref();
        let check = boot_check(Some(&spec.record), &options.firmware, fuse_secret, spec.components);
        let address = Address { device: check.device(), lot: check.lot };
        let (flash, stored) = Flash::open(options, address.device)?;
        let snapshot = spec.snapshot.or(stored).filter(|_| address.device.is_some());
        let mut terminal = FleetTerminal {
            address,
            record: check.record,
            machine: machine(options, check, snapshot.as_deref()),
            flash,
            code: spec.code,
            last_request: 0,
            legitimacy: None,
            epochs: Vec::new(),
            acknowledged: 0,
        };
        terminal.machine.handle_started(now, &mut Entropy);
        Ok(terminal)
    }

    pub fn device(&self) -> Option<DeviceId> {
        self.address.device
    }

    pub fn address(&self) -> Address {
        self.address
    }

    pub fn handle_timeout(&mut self, now: Now) {
        self.machine.handle_timeout(now, &mut Entropy);
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
            device: self.address.device,
            record: self.record,
            standing: self.machine.standing(),
            legitimacy: self.legitimacy,
            epochs: self.epochs.clone(),
            phase: self.machine.phase_name(),
            heartbeats_acknowledged: self.acknowledged,
            snapshot: self.flash.last().map(<[u8]>::to_vec),
        }
    }
}

/// A snapshot that is of no use leads to a blank machine, which re-keys if the device is licensed.
fn machine(options: &FleetOptions, check: BootCheck, snapshot: Option<&[u8]>) -> Machine {
    let (settings, cluster) = (&options.settings, &options.cluster);
    let restore = |bytes| Machine::restore(settings.clone(), cluster.clone(), check.clone(), bytes).ok();
    match snapshot.and_then(restore) {
        Some(machine) => machine,
        None => Machine::blank(settings.clone(), cluster.clone(), check),
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
