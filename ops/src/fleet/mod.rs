//! Many simulated terminals in one process: each drives the same protocol machine as `muster-agent`, over one NATS
//! connection.
//!
//! ```text
//!   TerminalSpec ──boot check──▶ FleetTerminal (Machine, snapshot) ──transmit──▶ Wire ──▶ NATS
//!                                     ▲                                           │
//!        Schedule: whose timeout is next, one heap, no task per device            │
//!                                     └── answer: _INBOX_<device>.<token>.<terminal>.<request> ◀┘
//! ```
//!
//! An answer names its terminal by number, so that nothing is looked up; the schedule is a heap whose entries may be
//! stale and are checked when they come up. Both cost O(log n) at most: 100,000 terminals are a matter of memory.

mod counters;
mod report;
mod schedule;
mod terminal;
mod wire;

pub use counters::Counters;
pub use report::{Acknowledged, FleetReport, TerminalReport};
pub use terminal::TerminalSpec;
pub use wire::{FleetConnection, FleetError};

use edge_agent::machine::Settings;
use edge_agent::shell::clock::Clock;
use events::identity::lot::LotFirmware;
use events::keyring::ClusterPublic;
use schedule::Schedule;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use terminal::FleetTerminal;
use tokio::time::{Instant, sleep_until};
use wire::Wire;

/// How a fleet lives.
pub struct FleetOptions {
    pub connection: FleetConnection,
    /// The cluster's public keys, as every terminal pins them.
    pub cluster: Arc<ClusterPublic>,
    pub firmware: Arc<LotFirmware>,
    pub settings: Settings,
    /// Terminals boot spread over this long.
    pub ramp: Duration,
    /// One state file per device below it; without, states live in memory and end with the fleet.
    pub state_dir: Option<PathBuf>,
    /// After the stop, this long is waited for verdicts on heartbeats that are under way.
    pub drain: Duration,
    /// How often `progress` is told.
    pub progress_every: Duration,
}

/// Runs `terminals` until `stop` completes and what was under way is answered or given up.
///
/// # Errors
/// The NATS server refuses the connection, or a state directory cannot be written. A terminal that the cluster
/// refuses is no error: the report says so.
pub async fn run(
    options: FleetOptions,
    terminals: Vec<TerminalSpec>,
    stop: impl Future<Output = ()>,
    mut progress: impl FnMut(&Counters),
) -> Result<FleetReport, FleetError> {
    let mut fleet = Fleet::open(&options, terminals).await?;
    let mut next_progress = Instant::now() + options.progress_every;
    tokio::pin!(stop);
    loop {
        let due = fleet.schedule.next_due().map(|millis| fleet.clock.instant_at(millis).into());
        let wake = due.map_or(next_progress, |due: Instant| due.min(next_progress));
        tokio::select! {
            () = &mut stop => break,
            answer = fleet.wire.next_answer() => fleet.handle_answer(answer?).await?,
            () = sleep_until(wake) => fleet.handle_due().await?,
        }
        if Instant::now() >= next_progress {
            progress(&fleet.counters);
            next_progress = Instant::now() + options.progress_every;
        }
    }
    fleet.drain(options.drain).await?;
    progress(&fleet.counters);
    fleet.finish()
}

struct Fleet<'a> {
    options: &'a FleetOptions,
    /// Not booted yet.
    asleep: Vec<Option<TerminalSpec>>,
    terminals: Vec<Option<FleetTerminal>>,
    schedule: Schedule,
    wire: Wire,
    clock: Clock,
    counters: Counters,
    acknowledged: Vec<Acknowledged>,
}

/// At most this many due terminals are served before answers get their turn.
const DUE_BATCH: usize = 256;

impl<'a> Fleet<'a> {
    async fn open(options: &'a FleetOptions, specs: Vec<TerminalSpec>) -> Result<Self, FleetError> {
        let wire = Wire::open(&options.connection).await?;
        let mut schedule = Schedule::default();
        let count = specs.len().max(1) as u64;
        let ramp = options.ramp.as_millis() as u64;
        for number in 0..specs.len() {
            schedule.set(number, Some(ramp * number as u64 / count));
        }
        let counters = Counters { terminals: specs.len() as u64, ..Counters::default() };
        Ok(Fleet {
            options,
            terminals: specs.iter().map(|_| None).collect(),
            asleep: specs.into_iter().map(Some).collect(),
            schedule,
            wire,
            clock: Clock::start(),
            counters,
            acknowledged: Vec::new(),
        })
    }

    /// The terminal by its number; its first time to act is its boot. The boot check costs milliseconds of P-384,
    /// which the ramp spreads.
    fn wake(&mut self, number: usize) -> Result<(), FleetError> {
        if let Some(spec) = self.asleep[number].take() {
            self.terminals[number] = Some(FleetTerminal::boot(spec, self.options, self.clock.now())?);
        } else if let Some(terminal) = &mut self.terminals[number] {
            terminal.handle_timeout(self.clock.now());
        }
        Ok(())
    }

    async fn handle_due(&mut self) -> Result<(), FleetError> {
        for _ in 0..DUE_BATCH {
            let now = self.clock.now().monotonic_millis;
            let Some(number) = self.schedule.pop_due(now) else { break };
            self.wake(number)?;
            self.settle(number).await?;
        }
        Ok(())
    }

    async fn handle_answer(&mut self, answer: wire::Answer) -> Result<(), FleetError> {
        let Some(Some(terminal)) = self.terminals.get_mut(answer.terminal) else { return Ok(()) };
        terminal.handle_answer(answer.request, &answer.bytes, self.clock.now());
        self.settle(answer.terminal).await
    }

    /// Does what the machine wants: first make durable, then send, then tell.
    async fn settle(&mut self, number: usize) -> Result<(), FleetError> {
        let Some(terminal) = &mut self.terminals[number] else { return Ok(()) };
        loop {
            terminal.persist()?;
            while let Some(transmit) = terminal.poll_transmit() {
                self.counters.count_transmit(&transmit, terminal.is_retry(&transmit));
                self.wire.publish(number, terminal.address(), &transmit).await?;
            }
            let Some(event) = terminal.poll_event() else { break };
            self.counters.count_event(&event);
            self.acknowledged.extend(Acknowledged::from_event(terminal.device(), &event));
            // What the terminal's owner does about it may have to be made durable or sent: around again.
            terminal.handle_event(&event, self.clock.now());
        }
        let due = terminal.due();
        self.schedule.set(number, due);
        Ok(())
    }

    /// Waits for what is under way; nothing new begins.
    async fn drain(&mut self, patience: Duration) -> Result<(), FleetError> {
        let deadline = Instant::now() + patience;
        loop {
            let waiting = self.terminals.iter().enumerate().filter_map(|(number, terminal)| {
                let due = terminal.as_ref().filter(|terminal| terminal.heartbeat_under_way())?.due()?;
                Some((due, number))
            });
            let Some((due, number)) = waiting.min() else { return Ok(()) };
            tokio::select! {
                answer = self.wire.next_answer() => {
                    let answer = answer?;
                    if self.is_waiting(answer.terminal) {
                        self.handle_answer(answer).await?;
                    }
                }
                () = sleep_until(self.clock.instant_at(due).into()) => {
                    self.wake(number)?;
                    self.settle(number).await?;
                }
                () = sleep_until(deadline) => return Ok(()),
            }
        }
    }

    fn is_waiting(&self, number: usize) -> bool {
        matches!(self.terminals.get(number), Some(Some(terminal)) if terminal.heartbeat_under_way())
    }

    fn finish(mut self) -> Result<FleetReport, FleetError> {
        for terminal in self.terminals.iter_mut().flatten() {
            terminal.stop()?;
        }
        let terminals = self.terminals.iter().flatten().map(FleetTerminal::report).collect();
        Ok(FleetReport { counters: self.counters, acknowledged: self.acknowledged, terminals })
    }
}
