//! Terminals, a network with manners of its own, and the model cluster, under one simulated clock.

use super::checker::NonceChecker;
use super::cluster::ModelCluster;
use super::factory::{Factory, Unit};
use super::rng::SeededRng;
use super::terminal::Terminal;
use edge_agent::machine::{Command, Now, RequestId, Settings, Transmit, TransmitKind};
use events::envelope::Refusal;
use events::license::ActivationCode;
use events::time::Timestamp;
use events::vocabulary::rejection::RejectionReason;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How the network behaves, in percent of messages each way.
#[derive(Clone, Copy, Default)]
pub struct Manners {
    pub lost: u64,
    pub duplicated: u64,
    pub garbled: u64,
    /// Messages take up to this long, each its own time: so they overtake each other.
    pub delay_millis_max: u64,
}

/// What a censor on the wire does with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Pass,
    /// It does not arrive; the sender hears this refusal instead.
    Lie(RejectionReason),
    /// It arrives, and its answer does not.
    LoseAnswer,
    /// It arrives; in the place of its answer the sender hears this refusal.
    LieInstead(RejectionReason),
}

pub type Censor = Box<dyn FnMut(TransmitKind) -> Fate>;

/// A message that reached the cluster.
pub struct Captured {
    pub at: u64,
    pub kind: TransmitKind,
    pub bytes: Vec<u8>,
}

enum Arrival {
    Up { terminal: usize, transmit: Transmit },
    Down { terminal: usize, request: RequestId, bytes: Vec<u8> },
    PowerOn { terminal: usize },
}

pub struct Sim {
    pub factory: Factory,
    pub cluster: ModelCluster,
    pub terminals: Vec<Terminal>,
    pub manners: Manners,
    /// The cluster answers nothing while this is set.
    pub outage: bool,
    /// Terminals' wall clocks stand so many milliseconds behind.
    pub clocks_behind: u64,
    pub checker: NonceChecker,
    pub censor: Option<Censor>,
    pub captured: Vec<Captured>,
    pub millis: u64,
    pub settings: Settings,
    pub rng: SeededRng,
    boots_at: Vec<u64>,
    arrivals: BTreeMap<(u64, u64), Arrival>,
    counter: u64,
}

const WALL: u64 = 1_800_000_000_000;

/// Shorter than the defaults, so that an hour of protocol fits into a test.
pub fn quick_settings() -> Settings {
    Settings {
        reply_timeout: 1_000,
        backoff_first: 500,
        backoff_max: 8_000,
        rekey_interval: 600_000,
        rekey_jitter: 20_000,
        unsealed_refusals_before_rekey: 60_000,
        ..Settings::default()
    }
}

impl Sim {
    pub fn new(seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        Sim {
            factory: Factory::new(&mut rng),
            cluster: ModelCluster::new(SeededRng::new(seed ^ 0xc1)),
            terminals: Vec::new(),
            manners: Manners { delay_millis_max: 20, ..Manners::default() },
            outage: false,
            clocks_behind: 0,
            checker: NonceChecker::default(),
            censor: None,
            captured: Vec::new(),
            millis: 0,
            settings: quick_settings(),
            rng,
            boots_at: Vec::new(),
            arrivals: BTreeMap::new(),
            counter: 0,
        }
    }

    /// Burns and imports a unit, and puts a terminal of it on the network, switched off.
    pub fn add_terminal(&mut self) -> usize {
        let unit = self.factory.burn(self.terminals.len() as u32 + 1, &mut self.rng);
        self.cluster.import(&unit.seed);
        self.add_unit(&unit)
    }

    pub fn add_unit(&mut self, unit: &Unit) -> usize {
        let public = Arc::new(self.cluster.keyring.public());
        let terminal = Terminal::new(&self.factory, unit, self.settings.clone(), public);
        self.add(terminal)
    }

    pub fn add(&mut self, terminal: Terminal) -> usize {
        self.terminals.push(terminal);
        self.boots_at.push(0);
        self.terminals.len() - 1
    }

    /// A terminal that was activated and beat once.
    pub fn add_beating_terminal(&mut self) -> usize {
        let terminal = self.add_terminal();
        self.terminals[terminal].code = Some(self.cluster.issue_code());
        self.boot(terminal);
        self.run_until(120_000, |sim| sim.terminals[terminal].acknowledged() > 0);
        terminal
    }

    /// Time as terminal number `terminal` sees it: monotonic since its boot.
    fn now(&self, terminal: usize) -> Now {
        let monotonic_millis = self.millis - self.boots_at[terminal];
        Now { monotonic_millis, wall: Timestamp::from_millis(WALL + self.millis - self.clocks_behind) }
    }

    pub fn boot(&mut self, terminal: usize) {
        self.boots_at[terminal] = self.millis;
        let now = self.now(terminal);
        self.terminals[terminal].boot(now, &mut self.rng);
        self.settle(terminal);
    }

    pub fn activate(&mut self, terminal: usize, code: ActivationCode) {
        let now = self.now(terminal);
        self.terminals[terminal].machine.handle_command(Command::Activate(code), now, &mut self.rng);
        self.settle(terminal);
    }

    pub fn reply(&mut self, terminal: usize, request: RequestId, bytes: &[u8]) {
        let now = self.now(terminal);
        self.terminals[terminal].machine.handle_reply(request, bytes, now, &mut self.rng);
        self.settle(terminal);
    }

    fn settle(&mut self, terminal: usize) {
        let now = self.now(terminal);
        let (sent, power_failed) = self.terminals[terminal].settle(now, &mut self.rng);
        for transmit in sent {
            self.checker.observe(&transmit, &self.cluster);
            self.send(|transmit| Arrival::Up { terminal, transmit }, transmit);
        }
        if power_failed {
            self.terminals[terminal].cut = None;
            self.schedule(3_000, Arrival::PowerOn { terminal });
            self.boots_at[terminal] = u64::MAX;
        }
    }

    /// Puts a message on the network, which loses and repeats as its manners are.
    fn send<M: Clone>(&mut self, arrival: impl Fn(M) -> Arrival, message: M) {
        let copies = if self.rng.chance(self.manners.lost) {
            0
        } else if self.rng.chance(self.manners.duplicated) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let delay = 1 + self.rng.below(self.manners.delay_millis_max);
            self.schedule(delay, arrival(message.clone()));
        }
    }

    fn schedule(&mut self, delay: u64, arrival: Arrival) {
        self.counter += 1;
        self.arrivals.insert((self.millis + delay, self.counter), arrival);
    }

    fn is_off(&self, terminal: usize) -> bool {
        self.boots_at[terminal] == u64::MAX
    }

    /// Ends the agent in good order; it starts again when it is told to.
    pub fn stop(&mut self, terminal: usize) {
        self.terminals[terminal].machine.handle_stopping();
        self.settle(terminal);
        self.boots_at[terminal] = u64::MAX;
    }

    /// Cuts the power now and restores it three seconds later.
    pub fn power_cycle(&mut self, terminal: usize) {
        self.boots_at[terminal] = u64::MAX;
        self.schedule(3_000, Arrival::PowerOn { terminal });
    }

    /// Runs until `done`, or panics after `patience` milliseconds of simulated time.
    pub fn run_until(&mut self, patience: u64, done: impl Fn(&Sim) -> bool) {
        let deadline = self.millis + patience;
        while !done(self) {
            assert!(
                self.step(deadline),
                "not done after {patience} simulated milliseconds: {}",
                self.describe()
            );
        }
    }

    pub fn run_for(&mut self, millis: u64) {
        let deadline = self.millis + millis;
        while self.step(deadline) {}
        self.advance_to(deadline);
    }

    /// The next thing that happens, if it happens before `deadline`.
    fn step(&mut self, deadline: u64) -> bool {
        let timeouts = (0..self.terminals.len()).filter(|at| !self.is_off(*at));
        let timeout = timeouts
            .filter_map(|at| Some((self.terminals[at].machine.poll_timeout()? + self.boots_at[at], at)))
            .min();
        let arrival = self.arrivals.keys().next().copied();
        let arrives_first = match (timeout, arrival) {
            (None, None) => return false,
            (Some((due, _)), Some((at, _))) => at <= due,
            (None, Some(_)) => true,
            (Some(_), None) => false,
        };
        let at = if arrives_first { arrival.map(|(at, _)| at) } else { timeout.map(|(due, _)| due) }.unwrap();
        if at > deadline {
            return false;
        }
        self.advance_to(at);
        match (arrives_first, timeout) {
            (false, Some((_, terminal))) => {
                let now = self.now(terminal);
                self.terminals[terminal].machine.handle_timeout(now, &mut self.rng);
                self.settle(terminal);
            }
            _ => {
                let (_, arrived) = self.arrivals.pop_first().unwrap();
                self.arrive(arrived);
            }
        }
        true
    }

    fn advance_to(&mut self, millis: u64) {
        let passed = millis.saturating_sub(self.millis);
        self.millis += passed;
        self.cluster.stamp = self.cluster.stamp.plus_millis(passed);
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Up { terminal, transmit } => {
                if self.outage {
                    return;
                }
                self.arrive_up(terminal, &transmit);
            }
            Arrival::Down { terminal, request, mut bytes } => {
                if !self.is_off(terminal) {
                    self.garble(&mut bytes);
                    self.reply(terminal, request, &bytes);
                }
            }
            Arrival::PowerOn { terminal } => self.boot(terminal),
        }
    }

    fn arrive_up(&mut self, terminal: usize, transmit: &Transmit) {
        let request = transmit.request;
        let fate = self.censor.as_mut().map_or(Fate::Pass, |censor| censor(transmit.kind));
        if let Fate::Lie(reason) | Fate::LieInstead(reason) = fate {
            let lie = Refusal { reason, retry_after_millis: 0 }.encode().to_vec();
            self.send(|bytes| Arrival::Down { terminal, request, bytes }, lie);
        }
        if matches!(fate, Fate::Lie(_)) {
            return;
        }
        let mut bytes = transmit.payload.to_vec();
        self.garble(&mut bytes);
        self.captured.push(Captured { at: self.millis, kind: transmit.kind, bytes: bytes.clone() });
        // A garbled message names nobody whom the model knows; it refuses, as a node would.
        let answer = self.cluster.handle(transmit.kind, &bytes).filter(|_| fate == Fate::Pass);
        if let Some(answer) = answer {
            self.send(|bytes| Arrival::Down { terminal, request, bytes }, answer);
        }
    }

    /// The messages of one kind that reached the cluster.
    pub fn captured_of(&self, kind: TransmitKind) -> impl Iterator<Item = &Captured> {
        self.captured.iter().filter(move |captured| captured.kind == kind)
    }

    fn garble(&mut self, bytes: &mut [u8]) {
        if self.rng.chance(self.manners.garbled) && !bytes.is_empty() {
            let at = self.rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.rng.below(8);
        }
    }

    pub fn describe(&self) -> String {
        let terminals = self.terminals.iter().map(|terminal| {
            let last: Vec<_> = terminal.events.iter().rev().take(4).collect();
            format!("{} after {} boots: {last:?}", terminal.machine.phase_name(), terminal.boots)
        });
        terminals.collect::<Vec<_>>().join("; ")
    }
}
