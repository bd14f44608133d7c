//! The ratchet: pending successors, confirmation, forks (protocol.md rules 4 and 5).

use crate::terminal::{COMMITTED, Heartbeat, Terminal};
use crate::world::{DAY, HOUR, World, code};
use events::limits::REKEY_REST_MILLIS;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::Legitimacy;
use events::vocabulary::{DeviceActivated, SessionResumed};
use projector::view::CodeState;
use projector::{EpochStanding, HeartbeatStatus, Judgement, Outcome};

fn standing(world: &World, terminal: &Terminal, epoch: u32) -> Option<EpochStanding> {
    world.fold.device(terminal.slot).unwrap().epoch_view(epoch).map(|view| view.standing)
}

#[test]
fn rule_5_the_first_word_under_a_pending_epoch_confirms_it_and_the_others_die() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    for _ in 0..2 {
        let lost_on_its_way_back = terminal.resumption(&world);
        assert!(matches!(world.tell(lost_on_its_way_back), Outcome::Resumed(_)));
    }
    assert!(terminal.resume(&mut world));
    assert_eq!(world.epoch(terminal.id), 1);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(world.epoch(terminal.id), 4);
    assert_eq!(standing(&world, &terminal, 1), Some(EpochStanding::Superseded));
    assert_eq!((standing(&world, &terminal, 2), standing(&world, &terminal, 3)), (None, None));
}

#[test]
fn rule_5_a_resume_under_a_pending_epoch_confirms_it_too() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    assert!(terminal.resume(&mut world));
    assert!(terminal.resume(&mut world));
    assert_eq!(world.epoch(terminal.id), 2);
    assert_eq!(standing(&world, &terminal, 3), Some(EpochStanding::Pending));
    assert_eq!(world.flags(), []);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Legitimate);
}

#[test]
fn rule_5_a_resume_that_comes_twice_gets_what_was_kept() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let mut event = terminal.resumption(&world);
    let first = world.tell(event.clone());
    event.server_nonce = [0xaa; 32];
    event.epoch += 1;
    assert_eq!(world.tell(event.clone()), first, "another node proposed it with its own nonce");
    let Outcome::Resumed(grant) = first else { panic!("not resumed") };
    terminal.enter(&grant);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert!(matches!(world.tell(event), Outcome::Resumed(kept) if kept.server_nonce == grant.server_nonce));
}

#[test]
fn rule_5_at_most_four_successors_wait_and_the_fifth_pushes_out_the_one_with_the_oldest_ticket() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    for _ in 0..6 {
        let event = terminal.resumption(&world);
        assert!(matches!(world.tell(event), Outcome::Resumed(_)));
    }
    let pending = world.fold.device(terminal.slot).unwrap().summary().pending;
    assert_eq!(pending, [4, 5, 6, 7]);
    assert!(terminal.resume(&mut world), "lost answers never lock a device out");
    assert_eq!(terminal.beat(&mut world), COMMITTED);
}

#[test]
fn rule_5_captured_resumes_that_are_replayed_never_push_out_the_newest() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let mut captured = Vec::new();
    for _ in 0..5 {
        let event = terminal.resumption(&world);
        captured.push(event.clone());
        assert!(matches!(world.tell(event), Outcome::Resumed(_)));
    }
    let honest = terminal.resumption(&world);
    let Outcome::Resumed(grant) = world.tell(honest.clone()) else { panic!("not resumed") };
    for _ in 0..3 {
        for (at, event) in captured.iter().enumerate() {
            let next = world.fold.device(terminal.slot).unwrap().next_epoch();
            let answer = world.tell(SessionResumed { epoch: next, ..event.clone() });
            match at {
                0 | 1 => assert_eq!(answer, Outcome::Refused(RejectionReason::EpochStale), "evicted"),
                _ => assert!(matches!(answer, Outcome::Resumed(_)), "kept, and answered as before"),
            }
        }
    }
    assert!(matches!(world.tell(honest), Outcome::Resumed(kept) if kept.epoch == grant.epoch));
    terminal.enter(&grant);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(world.epoch(terminal.id), grant.epoch);
}

#[test]
fn rule_5_a_resume_with_an_older_ticket_than_all_that_wait_pushes_out_none_of_them() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let held_back = terminal.resumption(&world);
    for _ in 0..4 {
        world.wait(10);
        let event = terminal.resumption(&world);
        assert!(matches!(world.tell(event), Outcome::Resumed(_)));
    }
    let pending = |world: &World| world.fold.device(terminal.slot).unwrap().summary().pending;
    assert_eq!(pending(&world), [2, 3, 4, 5]);
    let late = SessionResumed { epoch: 6, ..held_back };
    assert_eq!(world.tell(late), Outcome::Refused(RejectionReason::EpochStale));
    assert_eq!(pending(&world), [2, 3, 4, 5]);
}

#[test]
fn rule_5_an_activation_that_finds_no_place_takes_a_fresh_ticket_and_costs_no_code() {
    let mut world = World::new();
    let mut terminal = Terminal::burned(&mut world, 1);
    let held_back = terminal.activation(&world, Some(code(7)));
    for _ in 0..4 {
        world.wait(REKEY_REST_MILLIS);
        let event = terminal.activation(&world, Some(code(1)));
        assert!(matches!(world.tell(event), Outcome::Activated(_)));
    }
    world.wait(366 * DAY);
    assert_eq!(world.tell(held_back.clone()), Outcome::Refused(RejectionReason::TicketRefused));
    assert_eq!(world.fold.code(&code(7)), CodeState::Unused);
    let renewed = DeviceActivated {
        ticket_applied: world.applied(),
        epoch: world.fold.device(terminal.slot).unwrap().epoch_for_activation(0),
        ..held_back
    };
    assert!(matches!(world.tell(renewed), Outcome::Activated(_)));
}

#[test]
fn a_resume_that_proposes_another_epoch_is_told_which_one_is_next() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let mut event = terminal.resumption(&world);
    event.epoch = 9;
    assert_eq!(world.tell(event), Outcome::Raced { expected: 2 });
}

#[test]
fn two_superseded_epochs_are_kept_and_older_ones_are_unknown() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let old = Terminal { entropy: terminal.entropy + 50, ..terminal.clone() };
    for _ in 0..3 {
        assert!(terminal.resume(&mut world));
        assert_eq!(terminal.beat(&mut world), COMMITTED);
    }
    assert_eq!(world.fold.device(terminal.slot).unwrap().summary().superseded, [2, 3]);
    let late = old.clone().deliver(&mut world, 9, 9);
    assert_eq!(late, Heartbeat::Refused(Judgement::UnknownEpoch));
    assert!(!old.clone().resume(&mut world));
    assert_eq!(world.flags(), []);
}

#[test]
fn rule_4_a_resume_from_a_superseded_epoch_with_an_older_ticket_is_late_and_nothing_more() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let late = terminal.clone().resumption(&world);
    terminal.entropy += 50;
    assert!(terminal.resume(&mut world));
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(world.tell(late), Outcome::Refused(RejectionReason::EpochStale));
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Legitimate);
    assert_eq!(world.flags(), []);
}

#[test]
fn rule_4_a_ticket_issued_while_the_successor_only_waited_makes_no_fork() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    assert!(terminal.clone().resume(&mut world));
    terminal.entropy += 50;
    assert!(terminal.resume(&mut world), "nobody spoke under the successor: it was lost");
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Legitimate);
}

#[test]
fn rule_4_a_fork_alone_makes_suspect_and_a_day_of_silence_heals_it() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let before_the_write = terminal.clone();
    assert!(terminal.resume(&mut world));
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    let mut lying_flash = before_the_write;
    lying_flash.entropy += 50;
    assert!(lying_flash.resume(&mut world), "it must heal, so it is granted");
    assert_eq!(lying_flash.beat(&mut world), COMMITTED);
    assert_eq!(world.legitimacy(lying_flash.id), Legitimacy::Suspect);
    world.wait(DAY - HOUR);
    assert_eq!(world.legitimacy(lying_flash.id), Legitimacy::Suspect);
    world.wait(2 * HOUR);
    assert_eq!(world.legitimacy(lying_flash.id), Legitimacy::Legitimate);
    assert_eq!(world.flags(), []);
    assert_eq!(lying_flash.beat(&mut world), COMMITTED);
}

#[test]
fn rule_4_suspicion_ends_a_day_after_the_last_fork_however_many_there_were() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let mut lengths = Vec::new();
    for fork in 0..60 {
        let before_the_write = terminal.clone();
        assert!(terminal.resume(&mut world));
        assert_eq!(terminal.beat(&mut world), COMMITTED);
        terminal = Terminal { entropy: terminal.entropy + 50, ..before_the_write };
        assert!(terminal.resume(&mut world), "fork {fork}");
        assert_eq!(terminal.beat(&mut world), COMMITTED);
        world.wait(HOUR / 2);
        lengths.push(world.fold.to_snapshot().len());
    }
    assert!(lengths[59] < lengths[19] + 200, "who forks himself fills no memory: {lengths:?}");
    world.wait(DAY - HOUR);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Suspect, "the first fork is two days old");
    world.wait(HOUR);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Legitimate);
}

#[test]
fn rule_4_flash_that_lies_again_and_again_is_suspect_but_never_convicted() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    for round in 0..3 {
        let before_the_write = terminal.clone();
        assert!(terminal.resume(&mut world));
        assert_eq!(terminal.beat(&mut world), COMMITTED);
        terminal = Terminal { entropy: terminal.entropy + 50, ..before_the_write };
        assert!(terminal.resume(&mut world), "round {round}");
        assert_eq!(terminal.beat(&mut world), COMMITTED);
        assert_eq!(terminal.beat(&mut world), COMMITTED);
    }
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Suspect);
    assert_eq!(world.flags(), []);
}

#[test]
fn rule_4_a_resume_of_lying_flash_that_the_network_held_back_makes_no_second_fork() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let before_the_write = terminal.clone();
    assert!(terminal.resume(&mut world));
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    let mut lying_flash = Terminal { entropy: 60_000, ..before_the_write };
    let held_back = lying_flash.resumption(&world);
    assert!(lying_flash.resume(&mut world));
    assert_eq!(lying_flash.beat(&mut world), COMMITTED);
    assert_eq!(world.tell(held_back), Outcome::Refused(RejectionReason::EpochStale));
    assert_eq!(lying_flash.beat(&mut world), COMMITTED);
    assert_eq!(lying_flash.beat(&mut world), COMMITTED);
    assert_eq!(world.flags(), []);
}

#[test]
fn while_a_fork_is_open_no_row_is_routine() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let heard = |terminal: &Terminal, sequence| projector::Heard {
        epoch: terminal.epoch,
        sequence,
        digest: sequence,
        acked: sequence - 1,
        seen: terminal.seen,
    };
    let row = terminal.row(&heard(&terminal, 2));
    assert_eq!(world.row(row).status, HeartbeatStatus::Committed);
    let copy = terminal.clone();
    assert!(terminal.resume(&mut world));
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert!(Terminal { entropy: 90_000, ..copy }.resume(&mut world));
    let row = terminal.row(&heard(&terminal, 2));
    assert_eq!(world.row(row).status, HeartbeatStatus::Again);
    let judged = world.fold.judge(terminal.slot, &heard(&terminal, 2));
    assert_eq!(judged, Judgement::Irregular);
}

#[test]
fn the_story_of_a_device_tells_its_way() {
    let mut world = World::new();
    let mut terminal = Terminal::burned(&mut world, 1);
    terminal.activate(&mut world, code(1));
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert!(terminal.resume(&mut world));
    let story = world.fold.story(&terminal.id);
    let told: Vec<&str> = story.iter().map(|line| line.what.as_str()).collect();
    assert_eq!(told.len(), 6);
    assert!(told[0].starts_with("burned at 2026-"), "{}", told[0]);
    assert_eq!(told[1], "imported");
    assert_eq!(told[2], "provisioned → legitimate");
    assert!(told[3].starts_with("activated: epoch 1, license lic_"), "{}", told[3]);
    assert_eq!(told[4], "spoke under epoch 1");
    assert_eq!(told[5], "resumed from epoch 1: epoch 2");
    assert!(story.windows(2).all(|pair| pair[0].index <= pair[1].index));
}
