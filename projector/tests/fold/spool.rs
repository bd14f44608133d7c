//! Heartbeats of an outage, which come late, in parts, and perhaps again (protocol.md rule 8): each counts once, and
//! nothing else follows from them.

use crate::terminal::{COMMITTED, Terminal};
use crate::world::{DAY, HOUR, World, source};
use events::limits::SPOOLED_BODIES_MAX;
use events::time::Timestamp;
use events::vocabulary::heartbeat::{SpooledBody, condition};
use events::vocabulary::shared::Legitimacy;
use events::vocabulary::{Event, SpoolDrained};
use projector::{Heard, HeartbeatStatus, Judgement, Outcome};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn made(boot_count: u32, number: u32) -> SpooledBody {
    SpooledBody {
        boot_count,
        number,
        uptime_seconds: number,
        firmware: 9,
        made: Timestamp::from_millis(u64::from(number) * 1_000),
        condition: condition::RESTRICTED,
    }
}

fn bodies(boot_count: u32, numbers: std::ops::RangeInclusive<u32>) -> Vec<SpooledBody> {
    numbers.rev().map(|number| made(boot_count, number)).collect()
}

/// The terminal's next heartbeat, which brings `spooled`.
fn bringing(terminal: &mut Terminal, spooled: Vec<SpooledBody>) -> SpoolDrained {
    terminal.sequence += 1;
    terminal.number += 1;
    let heard = Heard {
        epoch: terminal.epoch,
        sequence: terminal.sequence,
        digest: terminal.random(),
        acked: terminal.sequence - 1,
        seen: terminal.seen,
    };
    SpoolDrained { heartbeat: terminal.observed(&heard), spooled }
}

fn tell(world: &mut World, event: impl Into<Event>) -> HeartbeatStatus {
    match world.tell(event) {
        Outcome::Observed(outcome) => outcome.status,
        other => panic!("not observed: {other:?}"),
    }
}

/// A fresh epoch within the same boot.
fn resume_in_boot(terminal: &mut Terminal, world: &mut World) {
    let event = terminal.resumption(world);
    match world.tell(event) {
        Outcome::Resumed(grant) => terminal.enter(&grant),
        other => panic!("not resumed: {other:?}"),
    }
}

fn counted(world: &World, terminal: &Terminal) -> (u64, u64) {
    let summary = world.fold.device(terminal.slot).unwrap().summary();
    (summary.heartbeats, summary.spooled)
}

#[test]
fn spooled_bodies_count_and_nothing_else_follows_from_them() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.wait(8 * HOUR);
    terminal.number += 20;
    let event = bringing(&mut terminal, bodies(1, 2..=21));
    assert_eq!(tell(&mut world, event), HeartbeatStatus::Committed);
    assert_eq!(counted(&world, &terminal), (22, 20));
    assert_eq!(world.fold.counts().heartbeats, 22);
    let device = world.fold.device(terminal.slot).unwrap();
    assert_eq!((device.last_heard(), device.condition(), device.firmware()), (world.now(), 0, 1));
    let heard_of_source = world.fold.source(&source("home-1")).unwrap().heartbeats;
    assert_eq!(heard_of_source, 2, "a source is judged by what it says now");
    assert_eq!((world.legitimacy(terminal.id), world.flags()), (Legitimacy::Legitimate, vec![]));
    let story = world.fold.story(&terminal.id);
    let told = story.last().unwrap().what.clone();
    assert!(told.starts_with("brought 20 heartbeats of an outage"), "{told}");
    assert!(told.ends_with("; then its boot check was restricted"), "{told}");
}

#[test]
fn a_spool_that_comes_in_parts_is_one_line_of_the_story() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    terminal.number = 1_000;
    let terminal_id = terminal.id;
    let lines = |world: &World| world.fold.story(&terminal_id).len();
    let before = lines(&world);
    for part in 1..=5 {
        let event = bringing(&mut terminal, bodies(1, part * 100..=part * 100 + 9));
        assert_eq!(tell(&mut world, event), HeartbeatStatus::Committed);
    }
    assert_eq!(lines(&world), before + 1);
    let told = world.fold.story(&terminal.id).pop().unwrap().what;
    assert!(told.starts_with("brought 50 heartbeats"), "{told}");
}

#[test]
fn a_body_counts_once_under_whatever_epochs_it_comes() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    terminal.number += 5;
    for _ in 0..3 {
        resume_in_boot(&mut terminal, &mut world);
        let event = bringing(&mut terminal, bodies(1, 2..=6));
        assert_eq!(tell(&mut world, event), HeartbeatStatus::Committed);
    }
    assert_eq!(counted(&world, &terminal), (1 + 5 + 3, 5));
}

#[test]
fn a_row_whose_answer_was_lost_does_not_count_again_when_the_spool_brings_it() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    for _ in 0..4 {
        assert_eq!(terminal.beat(&mut world), COMMITTED);
    }
    // Number 5 came as a row; its terminal never heard so.
    resume_in_boot(&mut terminal, &mut world);
    let event = bringing(&mut terminal, bodies(1, 5..=5));
    assert_eq!(tell(&mut world, event), HeartbeatStatus::Committed);
    assert_eq!(counted(&world, &terminal), (6, 0));
}

#[test]
fn what_no_honest_terminal_says_counts_nothing() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let of_a_boot_to_come = bringing(&mut terminal, bodies(2, 1..=3));
    assert_eq!(tell(&mut world, of_a_boot_to_come), HeartbeatStatus::Committed);
    let without_a_number = bringing(&mut terminal, vec![made(1, 0)]);
    assert_eq!(tell(&mut world, without_a_number), HeartbeatStatus::Committed);
    assert_eq!(counted(&world, &terminal), (3, 0));
    let too_many = bringing(&mut terminal, bodies(1, 100..=199));
    assert_eq!(tell(&mut world, too_many), HeartbeatStatus::Committed);
    assert_eq!(counted(&world, &terminal).1, SPOOLED_BODIES_MAX as u64);
}

#[test]
fn what_a_dead_epoch_brings_does_not_count_and_comes_again() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let mut late = terminal.clone();
    assert!(terminal.resume(&mut world));
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    let event = bringing(&mut late, bodies(1, 2..=9));
    assert_eq!(tell(&mut world, event), HeartbeatStatus::EpochStale);
    assert_eq!(counted(&world, &terminal), (2, 0));
    let event = bringing(&mut terminal, bodies(1, 2..=9));
    assert_eq!(tell(&mut world, event), HeartbeatStatus::Committed);
    assert_eq!(counted(&world, &terminal), (11, 8));
}

/// What happens to an honest terminal with a spool.
#[derive(Clone, Debug)]
enum Day {
    Beat,
    /// Committed, and the verdict is lost: its epoch is given up.
    VerdictLost,
    HeartbeatLost,
    /// So many are made, and nobody is reached.
    Offline(u32),
    Reboot,
    /// A boot that reaches nobody.
    OfflineBoot(u32),
    /// Another node proposes what was on the wire before.
    Duplicate(prop::sample::Index),
}

fn day() -> impl Strategy<Value = Day> {
    prop_oneof![
        5 => Just(Day::Beat),
        2 => Just(Day::VerdictLost),
        2 => Just(Day::HeartbeatLost),
        2 => (1u32..90).prop_map(Day::Offline),
        1 => Just(Day::Reboot),
        1 => (0u32..90).prop_map(Day::OfflineBoot),
        3 => any::<prop::sample::Index>().prop_map(Day::Duplicate),
    ]
}

struct Life {
    terminal: Terminal,
    /// Oldest first.
    spool: Vec<SpooledBody>,
    wire: Vec<Event>,
    /// Every body that was ever made.
    made: BTreeSet<(u32, u32)>,
}

impl Life {
    fn begin(world: &mut World) -> Self {
        let terminal = Terminal::alive(world, 1);
        Life { terminal, spool: Vec::new(), wire: Vec::new(), made: BTreeSet::from([(1, 1)]) }
    }

    fn live(&mut self, world: &mut World, day: &Day) {
        match day {
            Day::Beat => self.beat(world, true, true),
            Day::VerdictLost => self.beat(world, true, false),
            Day::HeartbeatLost => self.beat(world, false, false),
            Day::Offline(made) => {
                self.make(*made);
                resume_in_boot(&mut self.terminal, world);
            }
            Day::Reboot => {
                assert!(self.terminal.resume(world));
            }
            Day::OfflineBoot(made) => {
                (self.terminal.boot_count, self.terminal.number) = (self.terminal.boot_count + 1, 0);
                self.terminal.boot = self.terminal.random();
                self.make(*made);
                assert!(self.terminal.resume(world));
            }
            Day::Duplicate(index) if !self.wire.is_empty() => {
                let event = index.get(&self.wire).clone();
                if is_proposed(world, self.terminal.slot, &event) {
                    let _ = world.tell(event);
                }
            }
            Day::Duplicate(_) => {}
        }
        world.wait(DAY);
    }

    fn make(&mut self, count: u32) {
        for _ in 0..count {
            self.terminal.number += 1;
            self.made.insert((self.terminal.boot_count, self.terminal.number));
            self.spool.push(made(self.terminal.boot_count, self.terminal.number));
        }
    }

    fn beat(&mut self, world: &mut World, arrives: bool, verdict_arrives: bool) {
        let newest: Vec<SpooledBody> = self.spool.iter().rev().take(SPOOLED_BODIES_MAX).copied().collect();
        let event = bringing(&mut self.terminal, newest.clone());
        let live = made(self.terminal.boot_count, self.terminal.number);
        self.made.insert((live.boot_count, live.number));
        let event: Event = if newest.is_empty() { event.heartbeat.into() } else { event.into() };
        self.wire.push(event.clone());
        if arrives {
            assert_eq!(tell(world, event), HeartbeatStatus::Committed);
        }
        if verdict_arrives {
            self.terminal.seen = world.applied();
            self.spool.retain(|body| !newest.contains(body));
        } else {
            self.spool.push(live);
            resume_in_boot(&mut self.terminal, world);
        }
    }
}

fn is_proposed(world: &World, slot: u32, event: &Event) -> bool {
    let heard = match event {
        Event::HeartbeatObserved(heard) => heard,
        Event::SpoolDrained(drained) => &drained.heartbeat,
        other => panic!("no heartbeat: {other:?}"),
    };
    let (epoch, sequence, digest) = (heard.epoch, heard.sequence, heard.digest);
    let judged =
        world.fold.judge(slot, &Heard { epoch, sequence, digest, acked: heard.acked, seen: heard.seen });
    matches!(judged, Judgement::Routine | Judgement::Irregular | Judgement::CloneEvidence)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_honest_terminal_with_a_spool_is_never_flagged_and_no_body_counts_twice(
        days in prop::collection::vec(day(), 0..50),
    ) {
        let mut world = World::new();
        let mut life = Life::begin(&mut world);
        for day in &days {
            life.live(&mut world, day);
            let (heartbeats, _) = counted(&world, &life.terminal);
            prop_assert!(heartbeats <= life.made.len() as u64);
        }
        // The way is free again: everything that is left comes.
        while !life.spool.is_empty() {
            life.beat(&mut world, true, true);
        }
        let (heartbeats, _) = counted(&world, &life.terminal);
        prop_assert!(heartbeats <= life.made.len() as u64);
        if life.terminal.boot_count <= 4 {
            prop_assert_eq!(heartbeats, life.made.len() as u64);
        }
        prop_assert_eq!(world.legitimacy(life.terminal.id), Legitimacy::Legitimate);
        prop_assert_eq!(world.flags(), []);
    }
}

#[test]
fn three_offline_boots_with_a_full_spool_count_whole() {
    let mut world = World::new();
    let mut life = Life::begin(&mut world);
    for made in [80, 88, 88] {
        life.live(&mut world, &Day::OfflineBoot(made));
    }
    while !life.spool.is_empty() {
        life.beat(&mut world, true, true);
    }
    assert_eq!(counted(&world, &life.terminal).1, 256);
    assert_eq!(world.flags(), []);
}
