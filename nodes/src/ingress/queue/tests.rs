use super::*;
use events::vocabulary::{CodeVoided, Tick};

const ID: BatchId = BatchId { node: 1, boot: 2, counter: 3 };

fn row(slot: Slot, sequence: Sequence, digest: u32) -> HeartbeatRow {
    HeartbeatRow { slot, epoch_low: 1, sequence, digest, seen_low: 0, unacked: 1, condition: 0 }
}

fn a_queue() -> Queue<&'static str, u32> {
    Queue::new(QueueLimits { rows_max: 8, events_max: 4 })
}

/// Every token is there.
fn free<R>() -> Toll<impl FnOnce() -> bool, impl FnOnce(&R) -> bool> {
    Toll { new: || true, again: |_: &R| true }
}

#[test]
fn the_same_bytes_again_are_answered_with_the_first_and_logged_once() {
    let mut queue = a_queue();
    assert_eq!(queue.row(row(1, 1, 7), Favour::Favoured, free(), "first"), RowPlace::Placed);
    assert_eq!(queue.row(row(1, 1, 7), Favour::Favoured, free(), "while filling"), RowPlace::Joined);
    let taken = queue.take(ID);
    assert_eq!(taken.rows, ["first"]);
    assert_eq!(queue.row(row(1, 1, 7), Favour::Favoured, free(), "in flight"), RowPlace::Joined);
    let joined = queue.committed(taken.contents, 40);
    assert_eq!(joined, [(0, "while filling"), (0, "in flight")]);
    assert_eq!(
        queue.row(row(1, 1, 7), Favour::Favoured, free(), "not applied"),
        RowPlace::Settling(40, "not applied")
    );
    queue.applied(39);
    assert!(matches!(
        queue.row(row(1, 1, 7), Favour::Favoured, free(), "still not"),
        RowPlace::Settling(40, _)
    ));
    queue.applied(40);
    assert_eq!(queue.row(row(1, 1, 7), Favour::Favoured, free(), "the fold's to judge"), RowPlace::Placed);
}

#[test]
fn other_content_under_the_same_sequence_does_not_join() {
    let mut queue = a_queue();
    queue.row(row(1, 1, 7), Favour::Favoured, free(), "first");
    assert_eq!(queue.row(row(1, 1, 8), Favour::Favoured, free(), "other"), RowPlace::Contradicts("other"));
    assert_eq!(queue.row(row(1, 2, 8), Favour::Favoured, free(), "next"), RowPlace::Placed);
}

#[test]
fn a_batch_that_failed_leaves_nothing_behind() {
    let mut queue = a_queue();
    queue.row(row(1, 1, 7), Favour::Favoured, free(), "first");
    queue.row(row(1, 1, 7), Favour::Favoured, free(), "second");
    let taken = queue.take(ID);
    let joined = queue.failed(&taken.contents);
    assert_eq!(joined, [(0, "second")]);
    assert_eq!(queue.row(row(1, 1, 7), Favour::Favoured, free(), "retry"), RowPlace::Placed);
}

#[test]
fn repeating_a_heartbeat_does_not_use_up_its_devices_rate() {
    let mut queue = a_queue();
    assert_eq!(queue.row(row(1, 1, 7), Favour::Common, free(), "first"), RowPlace::Placed);
    let repeats = Toll { new: || panic!("a repetition must not ask for a token"), again: |_: &_| true };
    assert_eq!(queue.row(row(1, 1, 7), Favour::Common, repeats, "again"), RowPlace::Joined);
    let drained = Toll { new: || false, again: |_: &_| true };
    assert_eq!(queue.row(row(1, 2, 7), Favour::Common, drained, "next"), RowPlace::TooFast("next"));
}

#[test]
fn a_heartbeat_that_is_repeated_a_thousand_times_is_waited_for_by_few() {
    let mut queue = a_queue();
    queue.row(row(1, 1, 7), Favour::Favoured, free(), "first");
    let joined = (0..1_000)
        .filter(|_| queue.row(row(1, 1, 7), Favour::Favoured, free(), "again") == RowPlace::Joined)
        .count();
    assert_eq!(joined, usize::from(JOINED_PER_ROW_MAX));
    let spent = Toll { new: || true, again: |_: &_| false };
    queue.row(row(2, 1, 7), Favour::Favoured, free(), "another");
    assert_eq!(queue.row(row(2, 1, 7), Favour::Favoured, spent, "again"), RowPlace::TooOften("again"));
}

#[test]
fn nobody_pays_for_a_place_that_he_does_not_get() {
    let mut queue = a_queue();
    for slot in 0..8 {
        queue.row(row(slot, 1, 0), Favour::Favoured, free(), "crowd");
    }
    let asked = Toll { new: || panic!("there is no place to pay for"), again: |_: &_| true };
    assert_eq!(queue.row(row(99, 1, 0), Favour::Favoured, asked, "late"), RowPlace::Full("late"));
}

#[test]
fn a_crowd_of_others_does_not_take_the_places_of_licensed_devices() {
    let mut queue = a_queue();
    let placed = |place| place == RowPlace::Placed;
    let common =
        (0..20).filter(|&slot| placed(queue.row(row(slot, 1, 0), Favour::Common, free(), "c"))).count();
    assert_eq!(common, 4);
    let favoured =
        (100..120).filter(|&slot| placed(queue.row(row(slot, 1, 0), Favour::Favoured, free(), "f"))).count();
    assert_eq!(favoured, 4);
}

#[test]
fn events_have_their_own_bounds_and_come_back_when_there_is_no_place() {
    let mut queue = a_queue();
    let tick = Event::from(Tick {});
    assert!(queue.event(&tick, Favour::Common, None, 1).is_ok());
    assert!(queue.event(&tick, Favour::Common, None, 2).is_ok());
    assert!(matches!(queue.event(&tick, Favour::Common, None, 3), Err(Refused::Full(3))));
    assert!(queue.event(&tick, Favour::Favoured, None, 4).is_ok());
    assert_eq!(queue.take(ID).events, [1, 2, 4]);
    let code = events::ids::CodeDigest::from_bytes([0; 16]);
    let huge = Event::from(CodeVoided { code, reason: "x".repeat(300_000) });
    assert!(matches!(queue.event(&huge, Favour::Favoured, None, 5), Err(Refused::Malformed(5, _))));
}

#[test]
fn a_message_under_way_is_not_put_in_twice() {
    let mut queue = a_queue();
    let (tick, tag) = (Event::from(Tick {}), Some([7; 16]));
    assert!(queue.event(&tick, Favour::Common, tag, 1).is_ok());
    assert!(matches!(queue.event(&tick, Favour::Common, tag, 2), Err(Refused::UnderWay(2))));
    let taken = queue.take(ID);
    assert!(matches!(queue.event(&tick, Favour::Common, tag, 3), Err(Refused::UnderWay(3))));
    queue.committed(taken.contents, 9);
    assert!(matches!(queue.event(&tick, Favour::Common, tag, 4), Err(Refused::UnderWay(4))));
    queue.applied(9);
    assert!(queue.event(&tick, Favour::Common, tag, 5).is_ok());
}

#[test]
fn whatever_fills_the_queue_fits_one_batch() {
    let mut queue: Queue<(), ()> = Queue::new(QueueLimits::within_batch(usize::MAX));
    for slot in 0..BATCH_HEARTBEATS_MAX as u32 + 9 {
        queue.row(row(slot, 1, 0), Favour::Favoured, free(), ());
    }
    let code = events::ids::CodeDigest::from_bytes([0; 16]);
    let event = Event::from(CodeVoided { code, reason: "x".repeat(1_000) });
    while queue.event(&event, Favour::Favoured, None, ()).is_ok() {}
    assert!(queue.take(ID).batch.encode().is_ok());
}
