//! Batches: once each, whole or not at all, and readable or the node halts.

use crate::terminal::Terminal;
use crate::world::{HOUR, World, code};
use events::batch::{Batch, BatchError, BatchId, EncodedEvent, stamped};
use events::time::Timestamp;
use events::vocabulary::{Event, EventError, Tick};
use projector::{ApplyError, Heard, HeartbeatStatus, Outcome, Projector};

#[test]
fn a_batch_that_comes_twice_changes_nothing_and_is_answered_from_what_was_kept() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let mut newcomer = Terminal::burned(&mut world, 2);
    let resumption = terminal.resumption(&world);
    let activation = newcomer.activation(&world, Some(code(2)));
    let heard = Heard { epoch: 1, sequence: 2, digest: 2, acked: 1, seen: terminal.seen };
    let events: Vec<Event> = vec![activation.into(), resumption.into(), crate::world::codes(0..3).into()];
    let batch = world.batch(&events, &[terminal.row(&heard)]);
    let first = world.commit_batch(&batch).outcomes;
    let (counts, licenses) = (world.fold.counts(), world.fold.licenses().count());
    let again = world.commit_batch(&batch).outcomes;
    assert!(!first.duplicate && again.duplicate);
    assert_eq!(again.events[..2], first.events[..2], "the devices still wait for these");
    assert_eq!(again.events[2], Outcome::Duplicate);
    assert_eq!(again.heartbeats.get(0).unwrap().status, HeartbeatStatus::Retried);
    assert_eq!(world.fold.counts(), counts);
    assert_eq!(world.fold.licenses().count(), licenses);
}

#[test]
fn a_batch_of_another_boot_of_the_same_node_is_another_batch() {
    let mut world = World::new();
    let mut batch = Batch::new(BatchId { node: 1, boot: 2, counter: 1 });
    batch.push(&crate::world::device(1).into()).unwrap();
    assert!(!world.commit_batch(&batch).outcomes.duplicate);
    assert!(world.commit_batch(&batch).outcomes.duplicate);
}

#[test]
fn time_never_goes_back_whatever_a_leader_stamps() {
    let mut world = World::new();
    let before = world.fold.stamp();
    let batch = world.batch(&[Tick {}.into()], &[]);
    let payload = stamped(Timestamp::from_millis(5), &batch.encode().unwrap());
    let index = world.applied() + 1;
    assert_eq!(world.fold.apply(index, &payload).unwrap().outcomes.stamp, before);
    world.log.push((index, payload));
    world.wait(HOUR);
    assert!(world.fold.stamp() > before);
}

#[test]
fn an_unknown_kind_halts_and_leaves_the_state_as_it_was() {
    let mut world = World::new();
    let mut batch = world.batch(&[crate::world::device(1).into()], &[]);
    batch.events.push(EncodedEvent { kind: 65_000, bytes: Vec::new() });
    let before = world.fold.clone();
    let index = world.applied() + 1;
    let payload = stamped(world.now(), &batch.encode().unwrap());
    let error = world.fold.apply(index, &payload).unwrap_err();
    let source = BatchError::Event(EventError::UnknownKind(65_000));
    assert_eq!(error, ApplyError::Entry { index, source });
    assert_eq!(world.fold, before);
}

#[test]
fn bytes_that_are_no_batch_halt_and_leave_the_state_as_it_was() {
    let mut world = World::new();
    let before = world.fold.clone();
    let index = world.applied() + 1;
    for payload in [&b"short"[..], &[0; 8], &[0xff; 400]] {
        assert!(world.fold.apply(index, payload).is_err());
        assert_eq!(world.fold, before);
    }
}

#[test]
fn an_entry_is_applied_once() {
    let mut world = World::new();
    let (index, payload) = world.log.last().unwrap().clone();
    let error = world.fold.apply(index, &payload).unwrap_err();
    assert_eq!(error, ApplyError::OutOfOrder { applied: index, got: index });
}

#[test]
fn entries_without_a_batch_only_move_the_index() {
    let mut fold = Projector::new();
    let before = fold.digest();
    fold.skip(0).unwrap();
    assert_eq!(fold.digest(), before, "a log may begin with entry 0");
    fold.skip(1).unwrap();
    assert_eq!(fold.applied(), 1);
    assert_ne!(fold.digest(), before, "the index is part of the state");
    assert_eq!(fold.skip(1), Err(ApplyError::OutOfOrder { applied: 1, got: 1 }));
    assert_eq!(fold.skip(0), Err(ApplyError::OutOfOrder { applied: 1, got: 0 }));
    assert_eq!(fold.applied(), 1);
}

#[test]
fn an_entry_that_does_not_follow_the_last_halts_and_leaves_the_state_as_it_was() {
    let mut world = World::new();
    let (before, applied) = (world.fold.clone(), world.applied());
    let payload = world.log.last().unwrap().1.clone();
    let error = world.fold.apply(applied + 2, &payload).unwrap_err();
    assert_eq!(error, ApplyError::Gap { applied, got: applied + 2 });
    let told = error.to_string();
    assert!(told.contains(&format!("a snapshot of entry {}", applied + 1)), "{told}");
    assert_eq!(world.fold.skip(applied + 2), Err(ApplyError::Gap { applied, got: applied + 2 }));
    assert_eq!(world.fold, before);
    assert_eq!(Projector::new().skip(2), Err(ApplyError::Gap { applied: 0, got: 2 }));
    let mut restored = Projector::from_snapshot(&before.to_snapshot()).unwrap();
    assert_eq!(restored.skip(applied + 2), Err(ApplyError::Gap { applied, got: applied + 2 }));
    restored.skip(applied + 1).unwrap();
}

#[test]
fn a_snapshot_that_was_damaged_anywhere_is_refused() {
    let mut world = World::new();
    Terminal::alive(&mut world, 1);
    let snapshot = world.fold.to_snapshot();
    assert_eq!(Projector::from_snapshot(&snapshot).unwrap(), world.fold);
    for at in 0..snapshot.len() {
        let mut damaged = snapshot.clone();
        damaged[at] ^= 1;
        assert!(Projector::from_snapshot(&damaged).is_err(), "byte {at}");
    }
    for length in 0..snapshot.len() {
        assert!(Projector::from_snapshot(&snapshot[..length]).is_err(), "length {length}");
    }
}

#[test]
fn every_difference_of_state_is_a_difference_of_digest() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let mut digests = vec![world.fold.digest()];
    for _ in 0..20 {
        terminal.beat(&mut world);
        digests.push(world.fold.digest());
    }
    let all = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), all);
    assert_eq!(digests[0].to_string().len(), 64);
}
