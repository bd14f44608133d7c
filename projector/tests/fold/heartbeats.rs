//! Heartbeats: routine, retried, replayed, late (protocol.md rules 2, 8 and 9).

use crate::terminal::{COMMITTED, Heartbeat, Terminal};
use crate::world::{INTERVAL, World, source};
use events::batch::HeartbeatRow;
use events::vocabulary::heartbeat::condition;
use events::vocabulary::shared::Legitimacy;
use projector::{Heard, HeartbeatOutcome, HeartbeatStatus, Judgement, Outcome};

const RETRIED: Heartbeat = Heartbeat::Judged(HeartbeatStatus::Retried);

fn heard(terminal: &Terminal, sequence: u32) -> Heard {
    Heard { epoch: terminal.epoch, sequence, digest: sequence, acked: 0, seen: terminal.seen }
}

#[test]
fn a_routine_heartbeat_is_committed_as_a_row_and_gets_the_usual_verdict() {
    let mut world = World::new();
    let terminal = Terminal::alive(&mut world, 1);
    let heard = heard(&terminal, 2);
    assert_eq!(world.fold.judge(terminal.slot, &heard), Judgement::Routine);
    assert_eq!(world.row(terminal.row(&heard)), HeartbeatOutcome::usual(INTERVAL));
    assert_eq!(world.fold.counts().heartbeats, 2);
    assert_eq!(world.fold.source(&source("home-1")).unwrap().heartbeats, 2);
    assert_eq!(world.fold.device(terminal.slot).unwrap().last_heard(), world.now());
}

#[test]
fn rule_2_the_same_bytes_not_yet_answered_are_a_retry_and_logged_once() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    assert_eq!(terminal.deliver(&mut world, 2, 77), COMMITTED);
    terminal.acked = 1;
    assert_eq!(terminal.deliver(&mut world, 2, 77), RETRIED);
    assert_eq!(world.fold.counts().heartbeats, 2);
    assert_eq!(world.flags(), []);
}

#[test]
fn rule_2_the_same_bytes_after_they_were_answered_are_a_replay() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    assert_eq!(terminal.deliver(&mut world, 2, 77), COMMITTED);
    assert_eq!(terminal.deliver(&mut world, 3, 78), COMMITTED, "says that 2 was answered");
    assert_eq!(terminal.deliver(&mut world, 2, 77), Heartbeat::Refused(Judgement::Replay));
    assert_eq!(world.flags(), [], "a node counts it for the source; the device is not to blame");
}

#[test]
fn rule_2_the_same_bytes_in_an_older_epoch_are_a_replay() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    assert_eq!(terminal.deliver(&mut world, 2, 77), COMMITTED);
    let mut captured = Terminal { acked: 1, ..terminal.clone() };
    assert!(terminal.resume(&mut world));
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(captured.deliver(&mut world, 2, 77), Heartbeat::Refused(Judgement::Replay));
    assert_eq!(
        captured.deliver(&mut world, 3, 78),
        Heartbeat::Refused(Judgement::Stale),
        "late, not replayed"
    );
}

#[test]
fn rule_2_an_older_duplicate_whose_content_was_forgotten_is_neither_retry_nor_replay() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    for sequence in 2..20 {
        assert_eq!(terminal.deliver(&mut world, sequence, sequence), COMMITTED);
    }
    assert_eq!(terminal.deliver(&mut world, 5, 5), Heartbeat::Refused(Judgement::Stale));
    assert_eq!(terminal.deliver(&mut world, 5, 6), Heartbeat::Refused(Judgement::Stale));
}

#[test]
fn the_window_is_moved_only_by_what_was_committed() {
    let mut world = World::new();
    let terminal = Terminal::alive(&mut world, 1);
    let before = world.fold.clone();
    for sequence in [2, 3, 1000, u32::MAX] {
        assert_ne!(world.fold.judge(terminal.slot, &heard(&terminal, sequence)), Judgement::Stale);
    }
    assert_eq!(world.fold, before);
}

#[test]
fn heartbeats_out_of_order_are_all_committed_within_the_window() {
    let mut world = World::new();
    let terminal = Terminal::alive(&mut world, 1);
    for sequence in [70, 10, 69, 7] {
        assert_eq!(world.row(terminal.row(&heard(&terminal, sequence))).status, HeartbeatStatus::Committed);
    }
    assert_eq!(world.row(terminal.row(&heard(&terminal, 6))).status, HeartbeatStatus::EpochStale);
}

#[test]
fn rule_9_a_heartbeat_that_has_seen_more_than_this_node_is_not_judged_here() {
    let world = &mut World::new();
    let terminal = Terminal::alive(world, 1);
    let ahead = Heard { seen: world.applied() + 1, ..heard(&terminal, 2) };
    assert_eq!(world.fold.judge(terminal.slot, &ahead), Judgement::BehindSeen);
    assert_eq!(world.fold.judge_regardless(terminal.slot, &ahead), Judgement::Routine);
    let lacking = Heard { epoch: 9, ..heard(&terminal, 2) };
    assert_eq!(world.fold.judge(terminal.slot, &lacking), Judgement::UnknownEpoch);
}

#[test]
fn what_does_not_fit_a_row_is_an_event() {
    let world = &mut World::new();
    let terminal = Terminal::alive(world, 1);
    let judge =
        |sequence, acked| world.fold.judge(terminal.slot, &Heard { acked, ..heard(&terminal, sequence) });
    assert_eq!(judge(300, 45), Judgement::Routine);
    assert_eq!(judge(300, 44), Judgement::Irregular, "more than 255 are not answered");
    assert_eq!(judge(300, 300), Judgement::Irregular, "no message knows of its own answer");
    assert_eq!(judge(0, 0), Judgement::Stale, "sequences count from 1");
}

#[test]
fn rule_8_a_body_sent_again_under_a_new_epoch_counts_once() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let before = world.fold.counts().heartbeats;
    terminal.source = source("office-2");
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    terminal.rekey(&mut world);
    terminal.number -= 1;
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(world.fold.counts().heartbeats, before + 1);
}

#[test]
fn a_terminal_that_roams_is_heard_under_its_new_source() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    terminal.source = source("office-2");
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(world.fold.device(terminal.slot).unwrap().source(), Some(&source("office-2")));
    assert_eq!(world.flags(), []);
}

#[test]
fn a_restricted_boot_check_is_told_in_the_story_and_flags_nobody() {
    let mut world = World::new();
    let terminal = Terminal::alive(&mut world, 1);
    let row = terminal.row(&heard(&terminal, 2));
    let _ = world.row(HeartbeatRow { condition: condition::RESTRICTED, ..row });
    let story = world.fold.story(&terminal.id);
    assert_eq!(story.last().unwrap().what, "reports a restricted boot check");
    assert_eq!(world.fold.device(terminal.slot).unwrap().condition(), condition::RESTRICTED);
    assert_eq!(world.flags(), []);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Legitimate);
}

#[test]
fn a_row_of_an_epoch_or_slot_that_is_not_there_changes_nothing() {
    let mut world = World::new();
    let terminal = Terminal::alive(&mut world, 1);
    let row = terminal.row(&heard(&terminal, 2));
    assert_eq!(world.row(HeartbeatRow { epoch_low: 2, ..row }).status, HeartbeatStatus::Again);
    assert_eq!(world.row(HeartbeatRow { slot: 999, ..row }).status, HeartbeatStatus::EpochStale);
    assert_eq!(world.row(HeartbeatRow { sequence: 0, ..row }).status, HeartbeatStatus::Again);
    assert_eq!(world.fold.counts().heartbeats, 1);
}

#[test]
fn a_heartbeat_event_of_an_unknown_device_is_not_authentic() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    terminal.id = crate::world::device_id(55);
    let event = terminal.observed(&heard(&terminal, 2));
    assert_eq!(
        world.tell(event),
        Outcome::Refused(events::vocabulary::rejection::RejectionReason::NotAuthentic)
    );
}
