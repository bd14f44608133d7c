//! The protocol machine: pure. It knows no clock, entropy, file or network; the shell brings what it needs and does
//! what it wants.
//!
//! ```text
//!            handle_started, handle_reply, handle_timeout, handle_command, handle_persisted
//!  shell ──────────────────────────────────────────────────────────────────────────────────▶ Machine
//!        ◀──────────────────────────────────────────────────────────────────────────────────
//!            poll_persist (first!), poll_transmit, poll_event, poll_timeout
//!
//!                     ┌──────────── Hello ◀───────────┐ refused, stale, silent
//!                     ▼    (a ticket)     ▼           │
//!                Activating            Resuming ──────┤
//!                     │ granted            │ granted  │
//!                     └───────▶ Beating ◀──┘──────────┘
//! ```
//!
//! Invariants:
//! - Nothing is transmitted while the state that it stands on is not durable.
//! - Every start is a boot and takes a new epoch: no key of an earlier boot ever seals again (rule 8).
//! - A (key, sequence) seals one heartbeat; a retry carries the very same bytes (rules 2 and 11).
//! - What cannot be sealed is made all the same and spooled, within bounds; a (boot, number) is one body for ever (rule 8).
//! - What is not sealed changes nothing but when the next attempt is made; a few hints of a stale epoch lead to a
//!   resume, refused resumes to a re-key, both of which the cluster itself must seal (rules 6 and 9).

mod activating;
mod backoff;
mod beating;
mod boot_check;
mod core;
mod directive;
mod effects;
mod exchange;
mod hello;
mod known_time;
mod license;
mod now;
mod phase;
mod plan;
mod reporting;
mod resuming;
mod saved;
mod session;
mod settings;
mod spool;
mod spooling;
mod unread;

pub use boot_check::{BootCheck, BootCheckReport, boot_check};
pub use effects::{
    AgentEvent, Command, RequestId, SessionOrigin, Snapshot, Standing, Transmit, TransmitKind,
};
pub use license::HandedLicense;
pub use now::Now;
pub use saved::{SavedError, StateSummary};
pub use settings::{CLOCK_SLACK_MILLIS, Settings};
pub use unread::HardwareSource;

use self::core::{Core, World};
use self::hello::{Hello, Purpose};
use self::known_time::KnownTime;
use self::phase::Phase;
use self::saved::Saved;
use self::spooling::Spooling;
use events::ids::{BootId, DeviceId};
use events::keyring::ClusterPublic;
use events::time::Timestamp;
use events::update::UpdateFailure;
use events::vocabulary::shared::Legitimacy;
use rand_core::CryptoRng;
use std::sync::Arc;

/// One terminal's side of the protocol.
pub struct Machine {
    core: Core,
    phase: Phase,
}

impl Machine {
    /// A machine without a past, which waits for [`Machine::handle_started`]. If the device is licensed all the
    /// same, because its state was lost, it re-keys by itself.
    #[must_use]
    pub fn blank(settings: Settings, cluster: Arc<ClusterPublic>, check: BootCheck) -> Self {
        let device = check.device().unwrap_or(DeviceId::from_bytes([0; 16]));
        Machine { core: Core::new(settings, cluster, check, Saved::fresh(device)), phase: Phase::Stopped }
    }

    /// A machine that goes on from the last durable snapshot, once it was started.
    ///
    /// # Errors
    /// The snapshot is of another layout or device, or malformed. The caller may start blank instead.
    pub fn restore(
        settings: Settings,
        cluster: Arc<ClusterPublic>,
        check: BootCheck,
        snapshot: &[u8],
    ) -> Result<Self, SavedError> {
        let saved = Saved::decode(snapshot)?;
        if check.device() != Some(saved.device) {
            return Err(SavedError::OtherDevice);
        }
        Ok(Machine { core: Core::new(settings, cluster, check, saved), phase: Phase::Stopped })
    }

    /// The process started: a new boot id, counted on flash.
    pub fn handle_started(&mut self, now: Now, rng: &mut dyn CryptoRng) {
        let mut boot = [0; 16];
        rng.fill_bytes(&mut boot);
        let core = &mut self.core;
        core.boot = BootId::from_bytes(boot);
        core.started_millis = now.monotonic_millis;
        core.spooling = Spooling::start(now);
        core.now = now;
        core.time = KnownTime::start(core.saved.time_floor, core.saved.time_reached, now);
        core.saved.boot_count = core.saved.boot_count.saturating_add(1);
        core.must_persist();
        core.events.push_back(AgentEvent::Started {
            boot: core.boot,
            boot_count: core.saved.boot_count,
            standing: core.standing(),
        });
        self.phase = plan::next(core, 0, &mut World { now, rng });
    }

    /// Bytes arrived as an answer to `request`. They may be anything.
    pub fn handle_reply(&mut self, request: RequestId, bytes: &[u8], now: Now, rng: &mut dyn CryptoRng) {
        self.core.now = now;
        let phase = std::mem::replace(&mut self.phase, Phase::Stopped);
        self.phase = phase.handle_reply(request, bytes, &mut self.core, &mut World { now, rng });
    }

    /// Time passed; harmless when nothing was due.
    pub fn handle_timeout(&mut self, now: Now, rng: &mut dyn CryptoRng) {
        self.core.now = now;
        if self.phase.is_offline() {
            self.core.spool_when_due(&World { now, rng });
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Stopped);
        self.phase = phase.handle_timeout(&mut self.core, &mut World { now, rng });
    }

    /// The terminal's owner wants something. The outcome comes as an event.
    pub fn handle_command(&mut self, command: Command, now: Now, rng: &mut dyn CryptoRng) {
        self.core.now = now;
        let Command::Activate(code) = command;
        let why = if matches!(self.phase, Phase::Stopped) {
            Some("the agent has not started")
        } else if self.core.standing() == Standing::Restricted {
            Some("the terminal is restricted: software update only")
        } else {
            None
        };
        if let Some(why) = why {
            self.core.events.push_back(AgentEvent::CommandRefused { why });
            return;
        }
        let mut world = World { now, rng };
        let hello = Hello::start(Purpose::Activate(code), &mut self.core, 0, &mut world);
        self.phase = Phase::Hello(hello);
    }

    /// The snapshot of this revision is durable.
    pub fn handle_persisted(&mut self, revision: u64) {
        self.core.handle_persisted(revision);
    }

    /// The process is about to end in good order: what was kept in memory to spare the flash is written now.
    pub fn handle_stopping(&mut self) {
        if let Phase::Beating(beating) = &self.phase
            && let Some((unanswered, made)) = beating.unanswered()
        {
            self.core.spool(unanswered, made);
        }
        if !matches!(self.phase, Phase::Stopped) {
            self.core.must_persist();
        }
    }

    /// What must be durable before anything else leaves.
    pub fn poll_persist(&mut self) -> Option<Snapshot> {
        self.core.poll_persist()
    }

    /// The next request to publish; none while a snapshot is not durable.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.core.poll_transmit()
    }

    /// The next thing to tell; none while a snapshot is not durable.
    pub fn poll_event(&mut self) -> Option<AgentEvent> {
        self.core.poll_event()
    }

    /// When [`Machine::handle_timeout`] wants to be called, in [`Now::monotonic_millis`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let spool = if self.phase.is_offline() { self.core.spool_due() } else { None };
        self.phase.due().into_iter().chain(spool).min()
    }

    /// What heartbeats tell of the last update from now on.
    pub fn tell_update_failure(&mut self, failure: Option<UpdateFailure>) {
        self.core.update_failure = failure;
    }

    /// The time by which leases and offers are judged.
    #[must_use]
    pub fn known_time(&self, now: Now) -> Timestamp {
        self.core.time.for_leases(now)
    }

    /// Whether a sealed answer of this boot named the time.
    #[must_use]
    pub fn knows_sealed_time(&self) -> bool {
        self.core.time.is_heard()
    }

    #[must_use]
    pub fn standing(&self) -> Standing {
        self.core.standing()
    }

    /// What the cluster thinks of this terminal, as its last sealed answer said.
    #[must_use]
    pub fn legitimacy(&self) -> Legitimacy {
        self.core.saved.legitimacy
    }

    #[must_use]
    pub fn boot_check(&self) -> &BootCheck {
        &self.core.check
    }

    /// Whether a heartbeat was sent for which no verdict verified yet.
    #[must_use]
    pub fn heartbeat_under_way(&self) -> bool {
        matches!(&self.phase, Phase::Beating(beating) if beating.is_waiting())
    }

    /// Heartbeats of an outage that the cluster does not have yet.
    #[must_use]
    pub fn spooled(&self) -> usize {
        self.core.saved.spool.len()
    }

    /// The state's name, for logs and tests.
    #[must_use]
    pub fn phase_name(&self) -> &'static str {
        self.phase.name()
    }
}
