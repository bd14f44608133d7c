//! A terminal in memory: the real machine, and a flash whose power can be cut between any two steps.

use super::factory::{Factory, Unit};
use super::rng::SeededRng;
use edge_agent::machine::{
    AgentEvent, BootCheck, Command, Machine, Now, Settings, StateSummary, Transmit, TransmitKind,
};
use events::envelope::{Header, MessageKind};
use events::ids::DeviceId;
use events::keyring::ClusterPublic;
use events::license::ActivationCode;
use std::sync::Arc;

/// Where the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before step number `n` (from 0) has any effect.
    Before(u64),
    /// Right after it had its effect, before the machine learns of it.
    After(u64),
}

pub struct Terminal {
    pub device: DeviceId,
    pub machine: Machine,
    /// What a boot would find.
    pub flash: Option<Vec<u8>>,
    /// Every state that was ever durable, for flash that lies and for copies.
    pub history: Vec<Vec<u8>>,
    pub events: Vec<AgentEvent>,
    /// The customer types this again whenever the terminal asks.
    pub code: Option<ActivationCode>,
    pub cut: Option<Cut>,
    pub steps: u64,
    pub boots: u32,
    check: BootCheck,
    settings: Settings,
    cluster: Arc<ClusterPublic>,
}

impl Terminal {
    pub fn new(factory: &Factory, unit: &Unit, settings: Settings, cluster: Arc<ClusterPublic>) -> Self {
        Terminal::with_check(factory.check(unit), settings, cluster)
    }

    pub fn with_check(check: BootCheck, settings: Settings, cluster: Arc<ClusterPublic>) -> Self {
        let machine = Machine::blank(settings.clone(), cluster.clone(), check.clone());
        let device = check.device().unwrap_or(DeviceId::from_bytes([0; 16]));
        Terminal {
            device,
            machine,
            flash: None,
            history: Vec::new(),
            events: Vec::new(),
            code: None,
            cut: None,
            steps: 0,
            boots: 0,
            check,
            settings,
            cluster,
        }
    }

    /// A full copy: OTP, hardware and state.
    pub fn copy(&self) -> Self {
        let machine = Machine::blank(self.settings.clone(), self.cluster.clone(), self.check.clone());
        Terminal {
            machine,
            flash: self.flash.clone(),
            history: self.history.clone(),
            events: Vec::new(),
            code: None,
            cut: None,
            check: self.check.clone(),
            settings: self.settings.clone(),
            cluster: self.cluster.clone(),
            ..*self
        }
    }

    /// Starts from flash, as after a power cut.
    pub fn boot(&mut self, now: Now, rng: &mut SeededRng) {
        let (settings, cluster, check) = (self.settings.clone(), self.cluster.clone(), self.check.clone());
        self.machine = match &self.flash {
            Some(bytes) => Machine::restore(settings, cluster, check, bytes).unwrap(),
            None => Machine::blank(settings, cluster, check),
        };
        self.boots += 1;
        self.machine.handle_started(now, rng);
    }

    /// Does what the machine wants. The messages that leave; and whether the power failed meanwhile.
    pub fn settle(&mut self, now: Now, rng: &mut SeededRng) -> (Vec<Transmit>, bool) {
        let mut sent = Vec::new();
        loop {
            // The careless order: what must not leave yet must be held back by the machine itself.
            if let Some(transmit) = self.machine.poll_transmit() {
                if self.fails_before_step() {
                    return (sent, true);
                }
                self.assert_durable(&transmit);
                sent.push(transmit);
                if self.fails_after_step() {
                    return (sent, true);
                }
            } else if let Some(event) = self.machine.poll_event() {
                let asks = event == AgentEvent::CodeNeeded;
                self.events.push(event);
                if let Some(code) = self.code.clone().filter(|_| asks) {
                    self.machine.handle_command(Command::Activate(code), now, rng);
                }
            } else if let Some(snapshot) = self.machine.poll_persist() {
                if self.fails_before_step() {
                    return (sent, true);
                }
                self.flash = Some(snapshot.bytes.to_vec());
                self.history.push(snapshot.bytes.to_vec());
                assert!(
                    self.machine.poll_transmit().is_none(),
                    "sent before the shell said that it is durable"
                );
                if self.fails_after_step() {
                    return (sent, true);
                }
                self.machine.handle_persisted(snapshot.revision);
            } else {
                return (sent, false);
            }
        }
    }

    /// What a message stands on is on flash when it leaves (protocol.md rules 5 and 18).
    fn assert_durable(&self, transmit: &Transmit) {
        let Some(flash) = &self.flash else {
            return assert_eq!(transmit.kind, TransmitKind::Tamper, "left before the boot was counted");
        };
        match transmit.kind {
            TransmitKind::Activation => {
                let sealed = &transmit.payload[..];
                let found = flash.windows(sealed.len()).any(|window| window == sealed);
                assert!(found, "an activation left that is not on flash");
            }
            TransmitKind::Heartbeat => {
                let header = Header::parse(&transmit.payload, MessageKind::Heartbeat).unwrap();
                let epoch = StateSummary::parse(flash).unwrap().epoch;
                assert_eq!(epoch, Some(header.epoch), "a heartbeat left under an epoch that is not on flash");
            }
            TransmitKind::Hello | TransmitKind::Resume | TransmitKind::Tamper => {}
        }
    }

    fn fails_before_step(&mut self) -> bool {
        let fails = self.cut == Some(Cut::Before(self.steps));
        self.steps += 1;
        fails
    }

    fn fails_after_step(&self) -> bool {
        self.cut == Some(Cut::After(self.steps - 1))
    }

    pub fn acknowledged(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, AgentEvent::Acknowledged { .. })).count()
    }

    pub fn saw(&self, wanted: impl Fn(&AgentEvent) -> bool) -> bool {
        self.events.iter().any(wanted)
    }
}
