//! Honest terminals under every kind of trouble are never flagged and never locked out; two holders of one secret are
//! always found (protocol.md, "Honest cases that must stay honest").

use crate::terminal::{COMMITTED, Heartbeat, Terminal};
use crate::world::{DAY, HOUR, World, source};
use events::ids::DeviceId;
use events::vocabulary::shared::{FlagKind, Legitimacy, OperationKind};
use events::vocabulary::{Event, HeartbeatObserved};
use projector::view::FlagSubject;
use projector::{Heard, Judgement, Outcome};
use proptest::prelude::*;

/// What can happen to a terminal and its messages.
#[derive(Clone, Debug)]
enum Trouble {
    Beat,
    /// Committed, but the verdict is lost: the terminal sends the same bytes again, later.
    VerdictLost,
    /// The heartbeat never arrives.
    HeartbeatLost,
    Reboot,
    /// The answer is lost, or power fails before it is on the disk.
    ResumeLost,
    /// The request arrives long after the terminal gave up on it.
    ResumeHeldBack,
    /// A directive demands a fresh root, and the terminal takes it.
    RekeyDemanded,
    /// The same, and the answer is lost.
    RekeyLost,
    /// Something that was on the wire before arrives once more.
    Duplicate(prop::sample::Index),
    /// What was written since the last boot is gone, though the disk said it was safe.
    FlashLies,
    Wait(u64),
}

fn trouble(lying_flash: bool) -> impl Strategy<Value = Trouble> {
    prop_oneof![
        6 => Just(Trouble::Beat),
        2 => Just(Trouble::VerdictLost),
        1 => Just(Trouble::HeartbeatLost),
        3 => Just(Trouble::Reboot),
        2 => Just(Trouble::ResumeLost),
        1 => Just(Trouble::ResumeHeldBack),
        1 => Just(Trouble::RekeyDemanded),
        1 => Just(Trouble::RekeyLost),
        3 => any::<prop::sample::Index>().prop_map(Trouble::Duplicate),
        1 => Just(if lying_flash { Trouble::FlashLies } else { Trouble::Beat }),
        1 => (0..3 * DAY).prop_map(Trouble::Wait),
    ]
}

struct Life {
    terminal: Terminal,
    /// The state on disk before the last write.
    before: Terminal,
    unanswered: Option<(u32, u32)>,
    /// Everything that was ever on the wire.
    wire: Vec<Event>,
}

impl Life {
    fn begin(world: &mut World) -> Self {
        let terminal = Terminal::alive(world, 1);
        Life { before: terminal.clone(), terminal, unanswered: None, wire: Vec::new() }
    }

    fn suffer(&mut self, world: &mut World, trouble: &Trouble) {
        match trouble {
            Trouble::Beat => self.beat(world, true),
            Trouble::VerdictLost => self.beat(world, false),
            Trouble::HeartbeatLost => self.terminal.sequence += 1,
            Trouble::Reboot => self.reboot(world),
            Trouble::ResumeLost => {
                let event = self.terminal.resumption(world);
                self.wire.push(event.clone().into());
                let _ = world.tell(event);
            }
            Trouble::ResumeHeldBack => {
                let event = self.terminal.resumption(world);
                self.wire.push(event.into());
            }
            Trouble::RekeyDemanded => {
                demand_rekey(world, self.terminal.id);
                self.rekey(world);
            }
            Trouble::RekeyLost => {
                demand_rekey(world, self.terminal.id);
                let event = self.terminal.activation(world, None);
                self.wire.push(event.clone().into());
                let _ = world.tell(event);
            }
            Trouble::Duplicate(index) => self.duplicate(world, index),
            Trouble::FlashLies => {
                self.terminal = Terminal { entropy: self.terminal.entropy, ..self.before.clone() };
                self.reboot(world);
            }
            Trouble::Wait(millis) => world.wait(*millis),
        }
    }

    /// An agent retries what is unanswered before it goes on, and resumes or re-keys when it is told to.
    fn beat(&mut self, world: &mut World, verdict_arrives: bool) {
        let before = (self.terminal.acked, self.terminal.seen);
        let (sequence, digest) = self.unanswered.take().unwrap_or_else(|| {
            self.terminal.sequence += 1;
            (self.terminal.sequence, self.terminal.random())
        });
        let heard = Heard {
            epoch: self.terminal.epoch,
            sequence,
            digest,
            acked: self.terminal.acked,
            seen: self.terminal.seen,
        };
        self.wire.push(self.terminal.observed(&heard).into());
        match self.terminal.deliver(world, sequence, digest) {
            Heartbeat::Judged(_) if verdict_arrives => {}
            Heartbeat::Judged(_) => {
                (self.terminal.acked, self.terminal.seen) = before;
                self.unanswered = Some((sequence, digest));
            }
            Heartbeat::Refused(_) => self.reboot(world),
        }
    }

    fn reboot(&mut self, world: &mut World) {
        self.unanswered = None;
        let on_disk = self.terminal.clone();
        if self.terminal.resume(world) {
            self.before = on_disk;
            return;
        }
        // Resumes keep failing: the agent re-keys, an hour after the last time.
        world.wait(HOUR);
        self.rekey(world);
    }

    fn rekey(&mut self, world: &mut World) {
        self.unanswered = None;
        self.before = self.terminal.clone();
        self.terminal.rekey(world);
    }

    /// A node judges a duplicate as anything else; what the log gets of it is what a node would propose.
    fn duplicate(&mut self, world: &mut World, index: &prop::sample::Index) {
        if self.wire.is_empty() {
            return;
        }
        let event = index.get(&self.wire).clone();
        if let Event::HeartbeatObserved(heard) = &event
            && !is_proposed(world, self.terminal.slot, heard)
        {
            return;
        }
        let _ = world.tell(event);
    }
}

/// One at a time, as a person would who waits for the outcome.
fn demand_rekey(world: &mut World, device: DeviceId) {
    let _ = world.by_hand(OperationKind::Rekey, device, "rotation");
}

fn is_proposed(world: &World, slot: u32, event: &HeartbeatObserved) -> bool {
    let HeartbeatObserved { epoch, sequence, digest, acked, seen, .. } = *event;
    let judged = world.fold.judge(slot, &Heard { epoch, sequence, digest, acked, seen });
    matches!(judged, Judgement::Routine | Judgement::Irregular | Judgement::CloneEvidence)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn an_honest_terminal_is_never_suspected_whatever_its_network_and_its_power_do(
        troubles in prop::collection::vec(trouble(false), 0..60),
    ) {
        let mut world = World::new();
        let mut life = Life::begin(&mut world);
        for trouble in &troubles {
            life.suffer(&mut world, trouble);
            prop_assert_eq!(world.legitimacy(life.terminal.id), Legitimacy::Legitimate);
        }
        prop_assert_eq!(world.flags(), []);
        prop_assert!(is_alive(&mut world, life.terminal));
    }

    #[test]
    fn flash_that_lies_about_fsync_makes_suspect_at_worst_and_heals(
        troubles in prop::collection::vec(trouble(true), 0..60),
    ) {
        let mut world = World::new();
        let mut life = Life::begin(&mut world);
        for trouble in &troubles {
            life.suffer(&mut world, trouble);
        }
        prop_assert_eq!(world.flags(), []);
        world.wait(DAY + HOUR);
        prop_assert_eq!(world.legitimacy(life.terminal.id), Legitimacy::Legitimate);
        prop_assert!(is_alive(&mut world, life.terminal));
    }

    #[test]
    fn a_complete_copy_is_found_once_both_speak(
        before in prop::collection::vec(trouble(false), 0..20),
        honest in prop::collection::vec(trouble(false), 0..12),
        copied in prop::collection::vec(trouble(false), 0..12),
    ) {
        let mut world = World::new();
        let mut life = Life::begin(&mut world);
        before.iter().for_each(|trouble| life.suffer(&mut world, trouble));
        let entropy = life.terminal.entropy + 1_000_000;
        let copy = Terminal { source: source("garage-9"), entropy, ..life.terminal.clone() };
        let mut copy = Life { before: copy.clone(), terminal: copy, unanswered: life.unanswered, wire: Vec::new() };
        honest.iter().for_each(|trouble| life.suffer(&mut world, trouble));
        copied.iter().for_each(|trouble| copy.suffer(&mut world, trouble));
        for _ in 0..8 {
            life.beat(&mut world, true);
            copy.beat(&mut world, true);
        }
        let subject = FlagSubject::Device(life.terminal.id);
        prop_assert_eq!(world.flags(), [(FlagKind::Clone, subject)]);
    }
}

/// Left alone, the terminal gets back to committed heartbeats by itself.
fn is_alive(world: &mut World, mut terminal: Terminal) -> bool {
    if terminal.resume(world) && terminal.beat(world) == COMMITTED {
        return true;
    }
    world.wait(HOUR);
    terminal.rekey(world);
    terminal.beat(world) == COMMITTED
}

#[test]
fn a_whole_region_that_comes_back_at_once_is_served_and_flags_nobody() {
    let mut world = World::new();
    let mut fleet: Vec<_> = (0..50).map(|unit| Terminal::alive(&mut world, unit)).collect();
    world.wait(8 * HOUR);
    let events: Vec<Event> = fleet.iter_mut().map(|terminal| terminal.resumption(&world).into()).collect();
    let outcomes = world.commit(&events);
    for (terminal, outcome) in fleet.iter_mut().zip(outcomes) {
        let Outcome::Resumed(grant) = outcome else { panic!("not resumed: {outcome:?}") };
        terminal.enter(&grant);
        assert_eq!(terminal.beat(&mut world), COMMITTED);
    }
    assert_eq!(world.flags(), []);
}

#[test]
fn a_terminal_that_was_off_for_a_year_comes_back_as_it_was() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.wait(360 * DAY);
    assert!(terminal.resume(&mut world));
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Legitimate);
    assert_eq!(world.flags(), []);
}
