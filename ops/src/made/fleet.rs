//! What terminals say: activated once, then a beat per interval; now and then one reboots, roams, falls silent.

use super::LogPlan;
use super::author::Author;
use super::factory::{code, device, source, wrapped};
use crate::dev::chance::Chance;
use anyhow::Result;
use events::batch::{Batch, HeartbeatRow};
use events::ids::BootId;
use events::limits::{BATCH_HEARTBEATS_MAX, SPOOLED_BODIES_MAX};
use events::time::Timestamp;
use events::vocabulary::heartbeat::{HeartbeatBody, SpooledBody, condition};
use events::vocabulary::rejection::{RejectionCount, RejectionReason};
use events::vocabulary::shared::{DirectiveId, Suite};
use events::vocabulary::{
    DeviceActivated, Event, HeartbeatObserved, RejectionSummary, SessionResumed, SpoolDrained,
};

/// Terminals whose activations come in one batch.
const ACTIVATED_AT_ONCE: u32 = 256;
/// One beat in so many is not like the others.
const REGULAR_BEATS: u64 = 1024;
/// A late beat comes so many batches after the next one.
const LATE_BATCHES: u64 = 3;
/// What strangers are refused for is summarised so often in log time, in milliseconds.
const REFUSALS_EVERY_MILLIS: u64 = 60_000;
/// Leaders of the whole log.
const LEADERS: u64 = 4;
/// An activation without its code: header, encapsulated key, ciphertext, tag.
const TRANSCRIPT_BYTES: usize = 411;

/// A terminal, as far as what it says next hangs on it.
#[derive(Clone, Copy)]
struct Terminal {
    epoch: u32,
    sequence: u32,
    /// Of its last body, within its boot.
    number: u32,
    boot_count: u32,
    /// Low half of the index of the last verdict that it verified.
    seen: u32,
    /// Rounds that it is silent for.
    silent: u8,
    /// Rounds that it was silent for: bodies in its spool.
    spooled: u8,
    away: bool,
}

/// What happens instead of a regular beat.
enum Incident {
    /// It never arrives.
    Lost,
    /// It arrives after later ones.
    Late,
    /// It arrives twice.
    Repeated,
    /// The terminal saw its clock go back.
    ClockRollback,
    /// Another network: another source.
    Roaming,
    Reboot,
    /// No network for a while; what could not be said is brought along.
    Outage,
}

pub(super) struct Fleet<'a> {
    plan: &'a LogPlan,
    chance: Chance,
    terminals: Vec<Terminal>,
    /// Rows that arrive late: when their batch is due, counted in batches, and the row.
    late: Vec<(u64, HeartbeatRow)>,
    /// Terminals that said something in the open batch as an event. The fold takes a batch's rows before its events.
    outspoken: Vec<u32>,
    refusals_due: u64,
    /// Batches of beats that were committed, and the rows in them.
    batches: u64,
    written: u64,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(plan: &'a LogPlan, chance: Chance) -> Self {
        let terminal = Terminal {
            epoch: 0,
            sequence: 0,
            number: 0,
            boot_count: 1,
            seen: 0,
            silent: 0,
            spooled: 0,
            away: false,
        };
        Fleet {
            plan,
            chance,
            terminals: vec![terminal; plan.devices as usize],
            late: Vec::new(),
            outspoken: Vec::new(),
            refusals_due: 0,
            batches: 0,
            written: 0,
        }
    }

    /// Each terminal activates with its code and is heard once.
    pub(super) fn activate(
        &mut self,
        author: &mut Author,
        go_on: &mut dyn FnMut(u32) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0;
        while first < self.plan.devices {
            let end = self.plan.devices.min(first + ACTIVATED_AT_ONCE);
            author.pass(100);
            let mut activations = Vec::new();
            for unit in first..end {
                activations.push(self.activation(author, unit)?);
            }
            author.tell(activations)?;
            author.pass(100);
            let mut heard = Vec::new();
            for unit in first..end {
                heard.push(self.observed(author, unit)?.into());
            }
            author.tell(heard)?;
            first = end;
            go_on(end)?;
        }
        Ok(())
    }

    /// Beats until the plan's heartbeats are written.
    pub(super) fn beat(
        &mut self,
        author: &mut Author,
        go_on: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let begin = author.now().as_millis();
        let interval = u64::from(self.plan.interval_seconds) * 1000;
        let mut order = self.order();
        let (mut batch, mut turns) = (author.batch(), 0_u64);
        self.refusals_due = begin + REFUSALS_EVERY_MILLIS;
        while self.room(&batch) > 0 {
            // Each keeps its time within the interval, but for the network's jitter.
            let place = (turns % order.len() as u64) as usize;
            let other = (place + self.chance.below(64)).min(order.len() - 1);
            order.swap(place, other);
            let unit = order[place];
            turns += 1;
            if self.outspoken.contains(&unit) {
                batch = self.commit(author, batch)?;
            }
            self.say(author, unit, &mut batch)?;
            if batch.heartbeats.len() >= self.plan.batch as usize {
                author.be_at(begin + turns * interval / order.len() as u64);
                batch = self.commit(author, batch)?;
                go_on(self.written)?;
            }
        }
        self.commit(author, batch)?;
        go_on(self.written)
    }

    /// Heartbeats that are still to be written, the open batch's not counted.
    fn room(&self, batch: &Batch) -> u64 {
        self.plan.heartbeats.saturating_sub(self.written + batch.heartbeats.len() as u64)
    }

    /// Devices in the order in which their times lie within the interval.
    fn order(&mut self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.plan.devices).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, self.chance.below(last + 1));
        }
        order
    }

    /// Commits the open batch and begins the next.
    fn commit(&mut self, author: &mut Author, mut batch: Batch) -> Result<Batch> {
        self.batches += 1;
        self.bring_late(&mut batch);
        let now = author.now().as_millis();
        if now >= self.refusals_due {
            self.refusals_due = now + REFUSALS_EVERY_MILLIS;
            batch.push(&self.refusals(author.now())?)?;
        }
        self.outspoken.clear();
        let (before, part) = (self.written, (self.plan.heartbeats / LEADERS).max(1));
        self.written += batch.heartbeats.len() as u64;
        author.commit(&batch)?;
        if self.written / part > before / part && self.written < self.plan.heartbeats {
            author.lead()?;
        }
        Ok(author.batch())
    }

    fn bring_late(&mut self, batch: &mut Batch) {
        let mut at = 0;
        while at < self.late.len() && self.room(batch) > 0 && batch.heartbeats.len() < BATCH_HEARTBEATS_MAX {
            if self.late[at].0 > self.batches {
                at += 1;
                continue;
            }
            let (_, row) = self.late.swap_remove(at);
            let epoch = self.terminals[row.slot as usize].epoch;
            // Of an epoch that is over, it is no routine any more.
            if epoch as u16 == row.epoch_low && !self.outspoken.contains(&row.slot) {
                batch.heartbeats.push(row);
            }
        }
    }

    /// One terminal's turn.
    fn say(&mut self, author: &Author, unit: u32, batch: &mut Batch) -> Result<()> {
        let terminal = &mut self.terminals[unit as usize];
        if terminal.silent > 0 {
            terminal.silent -= 1;
            terminal.number += 1;
            return Ok(());
        }
        if terminal.spooled > 0 {
            let drained = self.drain(author, unit)?;
            self.outspoken.push(unit);
            return Ok(batch.push(&drained.into())?);
        }
        let incident = (self.chance.number().is_multiple_of(REGULAR_BEATS)).then(|| self.incident());
        match incident {
            None => batch.heartbeats.push(self.row(author, unit)),
            Some(Incident::Lost) => drop(self.row(author, unit)),
            Some(Incident::Late) => {
                let row = self.row(author, unit);
                let round = u64::from(self.plan.devices / self.plan.batch);
                self.late.push((self.batches + round + LATE_BATCHES, row));
            }
            Some(Incident::Repeated) => {
                let row = self.row(author, unit);
                batch.heartbeats.push(row);
                if self.room(batch) > 0 && batch.heartbeats.len() < BATCH_HEARTBEATS_MAX {
                    batch.heartbeats.push(row);
                }
            }
            Some(Incident::ClockRollback) => {
                let row = HeartbeatRow { condition: condition::CLOCK_ROLLBACK, ..self.row(author, unit) };
                batch.heartbeats.push(row);
            }
            Some(Incident::Roaming) => {
                self.terminals[unit as usize].away ^= true;
                batch.push(&self.observed(author, unit)?.into())?;
                self.outspoken.push(unit);
            }
            Some(Incident::Reboot) => {
                batch.push(&self.resume(author, unit)?)?;
                batch.push(&self.observed(author, unit)?.into())?;
                self.outspoken.push(unit);
            }
            Some(Incident::Outage) => {
                let rounds = 1 + self.chance.below(SPOOLED_BODIES_MAX) as u8;
                let terminal = &mut self.terminals[unit as usize];
                (terminal.silent, terminal.spooled) = (rounds - 1, rounds);
                terminal.number += 1;
            }
        }
        Ok(())
    }

    fn incident(&mut self) -> Incident {
        match self.chance.below(20) {
            0..5 => Incident::Lost,
            5..9 => Incident::Late,
            9 => Incident::Repeated,
            10..13 => Incident::ClockRollback,
            13..16 => Incident::Roaming,
            16..19 => Incident::Reboot,
            _ => Incident::Outage,
        }
    }

    fn row(&mut self, author: &Author, unit: u32) -> HeartbeatRow {
        let digest = self.chance.number() as u32;
        let terminal = &mut self.terminals[unit as usize];
        terminal.sequence += 1;
        terminal.number += 1;
        let seen_low = std::mem::replace(&mut terminal.seen, author.next_index() as u32);
        HeartbeatRow {
            slot: unit,
            epoch_low: terminal.epoch as u16,
            sequence: terminal.sequence,
            digest,
            seen_low,
            unacked: 1,
            condition: 0,
        }
    }

    fn observed(&mut self, author: &Author, unit: u32) -> Result<HeartbeatObserved> {
        let row = self.row(author, unit);
        let terminal = self.terminals[unit as usize];
        let (plan, seen) = (self.plan, u64::from(row.seen_low));
        Ok(HeartbeatObserved {
            device: device(plan, unit),
            epoch: terminal.epoch,
            sequence: row.sequence,
            seen,
            acked: row.sequence - 1,
            digest: row.digest,
            source: source(plan, unit, terminal.away)?,
            body: HeartbeatBody {
                number: terminal.number,
                uptime_seconds: terminal.sequence.saturating_mul(plan.interval_seconds),
                firmware: 1,
                condition: 0,
                obeyed: DirectiveId::default(),
            },
        })
    }

    /// The first word after an outage, and what could not be said in it.
    fn drain(&mut self, author: &Author, unit: u32) -> Result<SpoolDrained> {
        let heartbeat = self.observed(author, unit)?;
        let terminal = &mut self.terminals[unit as usize];
        let missed = u32::from(std::mem::take(&mut terminal.spooled));
        let (last, boot_count) = (terminal.number - 1, terminal.boot_count);
        let interval = self.plan.interval_seconds;
        let body = |ago: u32| SpooledBody {
            boot_count,
            number: last - ago,
            uptime_seconds: interval.saturating_mul(last - ago),
            firmware: 1,
            made: Timestamp::from_millis(author.now().as_millis() - u64::from((ago + 1) * interval) * 1000),
            condition: 0,
        };
        Ok(SpoolDrained { heartbeat, spooled: (0..missed).map(body).collect() })
    }

    fn activation(&mut self, author: &Author, unit: u32) -> Result<Event> {
        let chance = &mut self.chance;
        let (mut transcript, mut signature) = (vec![0; TRANSCRIPT_BYTES], vec![0; 96]);
        chance.fill(&mut transcript);
        chance.fill(&mut signature);
        let (boot, server_nonce) = draw_boot(chance);
        let terminal = &mut self.terminals[unit as usize];
        terminal.epoch = 1;
        terminal.seen = author.next_index() as u32;
        Ok(DeviceActivated {
            device: device(self.plan, unit),
            code: Some(code(self.plan, unit)),
            transcript,
            signature,
            mismatched: Vec::new(),
            ticket_generation: 1,
            ticket_applied: author.next_index() - 1,
            boot,
            boot_count: terminal.boot_count,
            firmware: 1,
            suite: Suite::Aes256Gcm,
            epoch: terminal.epoch,
            epoch_claimed: 0,
            server_nonce,
            resumption: wrapped(chance),
            source: source(self.plan, unit, false)?,
        }
        .into())
    }

    fn resume(&mut self, author: &Author, unit: u32) -> Result<Event> {
        let (boot, server_nonce) = draw_boot(&mut self.chance);
        let mut client_nonce = [0; 16];
        self.chance.fill(&mut client_nonce);
        let resumption = wrapped(&mut self.chance);
        let terminal = &mut self.terminals[unit as usize];
        let from_epoch = terminal.epoch;
        terminal.epoch += 1;
        terminal.boot_count += 1;
        (terminal.sequence, terminal.number) = (0, 0);
        Ok(SessionResumed {
            device: device(self.plan, unit),
            from_epoch,
            epoch: terminal.epoch,
            client_nonce,
            server_nonce,
            ticket_generation: 1,
            ticket_applied: author.next_index() - 1,
            boot,
            boot_count: terminal.boot_count,
            firmware: 1,
            suite: Suite::Aes256Gcm,
            resumption,
            source: source(self.plan, unit, terminal.away)?,
        }
        .into())
    }

    /// Strangers whom a node refused: too few for anybody to be alarmed.
    fn refusals(&mut self, now: Timestamp) -> Result<Event> {
        let unit = self.chance.below(self.plan.devices as usize) as u32;
        let entry = RejectionCount {
            source: source(self.plan, unit, false)?,
            reason: RejectionReason::NotAuthentic,
            device: None,
            count: 1,
        };
        let from = Timestamp::from_millis(now.as_millis().saturating_sub(2000));
        Ok(RejectionSummary { node: 1, from, until: now, entries: vec![entry], overflow: 0 }.into())
    }
}

fn draw_boot(chance: &mut Chance) -> (BootId, [u8; 32]) {
    let (mut boot, mut nonce) = ([0; 16], [0; 32]);
    chance.fill(&mut boot);
    chance.fill(&mut nonce);
    (BootId::from_bytes(boot), nonce)
}
