//! What terminals bring from their spools: one event for many bodies, never a row, and no more than a spool holds.

use crate::terminal::{Live, Terminal};
use crate::world::{HEARTBEAT_MILLIS, World, reason};
use events::envelope::{HeartbeatStatus, RequestDigest};
use events::limits::{SPOOL_BODIES_MAX, SPOOLED_BODIES_MAX};
use events::time::Timestamp;
use events::vocabulary::Event;
use events::vocabulary::heartbeat::SpooledBody;
use events::vocabulary::rejection::RejectionReason;

/// As many as one heartbeat brings, of numbers that no other heartbeat of these tests has.
fn part(at: u32) -> Vec<SpooledBody> {
    let body = |number| SpooledBody {
        boot_count: 1,
        number,
        uptime_seconds: number,
        firmware: 7,
        made: Timestamp::ZERO,
        condition: 0,
    };
    let first = 10_000 + at * SPOOLED_BODIES_MAX as u32;
    (first..first + SPOOLED_BODIES_MAX as u32).rev().map(body).collect()
}

fn drained(world: &World) -> usize {
    world.events().iter().filter(|event| matches!(event, Event::SpoolDrained(_))).count()
}

fn spooled(world: &World, terminal: &Terminal) -> u64 {
    world.nodes[0].fold.read(|fold| {
        let slot = fold.slot_of(&terminal.id).unwrap();
        fold.device(slot).unwrap().summary().spooled
    })
}

async fn bring(world: &World, terminal: &Terminal, live: &mut Live, at: u32) -> bytes::Bytes {
    let message = terminal.seal_spool(live, &part(at));
    let answer = terminal.send_heartbeat(world, 0, &message).await;
    if live.keys.open_verdict(&RequestDigest::of(&message), &answer).is_ok() {
        terminal.accept(live, &message, &answer);
    }
    answer
}

#[tokio::test]
async fn a_heartbeat_that_brings_a_spool_is_one_event_and_its_verdict_answers_for_all() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let message = terminal.seal_spool(&mut live, &part(0));
    let answer = terminal.send_heartbeat(&world, 0, &message).await;
    let verdict = terminal.accept(&mut live, &message, &answer);
    assert_eq!(verdict.status, HeartbeatStatus::Committed);
    assert_eq!((drained(&world), world.rows()), (1, 0));
    assert_eq!(spooled(&world, &terminal), 32);
    // Sent again, because its answer was lost: answered from state.
    let entries = world.log.entries().len();
    let answer = terminal.send_heartbeat(&world, 0, &message).await;
    assert_eq!(terminal.accept(&mut live, &message, &answer).status, HeartbeatStatus::Retried);
    assert_eq!(world.log.entries().len(), entries);
    assert_eq!(spooled(&world, &terminal), 32);
}

#[tokio::test]
async fn a_terminal_catches_up_with_one_spool_at_once_and_then_at_twice_its_rate() {
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let at_once = (SPOOL_BODIES_MAX / SPOOLED_BODIES_MAX) as u32;
    for at in 0..at_once {
        bring(&world, &terminal, &mut live, at).await;
    }
    assert_eq!(spooled(&world, &terminal), SPOOL_BODIES_MAX as u64);
    let entries = world.log.entries().len();
    let refused = bring(&world, &terminal, &mut live, at_once).await;
    assert_eq!(reason(&refused), RejectionReason::RateExceeded);
    assert_eq!(world.log.entries().len(), entries, "counted, and not logged");
    assert_eq!(spooled(&world, &terminal), SPOOL_BODIES_MAX as u64);

    // How it is now may be told all the same.
    assert_eq!(terminal.beat(&world, &mut live).await.status, HeartbeatStatus::Committed);

    world.clock.advance(u64::from(HEARTBEAT_MILLIS) / 2 * SPOOLED_BODIES_MAX as u64);
    bring(&world, &terminal, &mut live, at_once).await;
    assert_eq!(spooled(&world, &terminal), (SPOOL_BODIES_MAX + SPOOLED_BODIES_MAX) as u64);
    let refused = bring(&world, &terminal, &mut live, at_once + 1).await;
    assert_eq!(reason(&refused), RejectionReason::RateExceeded);
}

#[tokio::test]
async fn two_nodes_that_take_the_same_spool_count_it_once() {
    let mut world = World::new().await;
    world.add_twin().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let message = terminal.seal_spool(&mut live, &part(0));
    let (one, other) = tokio::join!(
        terminal.send_heartbeat(&world, 0, &message),
        terminal.send_heartbeat(&world, 1, &message)
    );
    for answer in [one, other] {
        terminal.accept(&mut live, &message, &answer);
    }
    assert_eq!(spooled(&world, &terminal), 32);
}
