//! What one source does costs itself, and nobody of its name elsewhere.

use crate::world::{World, answered, limits, reason};
use events::envelope::Refusal;
use events::vocabulary::LicenseSuspended;
use events::vocabulary::rejection::RejectionReason;
use nodes::bus::subject::UpKind;
use nodes::ingress::IngressLimits;

/// More than a full bucket of the tests' limits and what one burst takes beside it.
const FLOOD: usize = 2_000;

#[tokio::test]
async fn a_source_of_forged_activations_is_not_listened_to_any_more_and_its_namesake_elsewhere_is() {
    let mut world = World::new().await;
    let (victim, other) = (world.burn(), world.burn());
    let ticket = victim.hello(&world).await;
    let mut forged = victim.seal_activation(&world, &ticket, &victim.activation_body(None)).message;
    *forged.last_mut().unwrap() ^= 1;
    let flood = (0..FLOOD).map(|_| world.send(0, UpKind::Activation, "shop", &victim.name(), forged.clone()));
    let mut tried = 0;
    for mut inbox in flood.collect::<Vec<_>>() {
        match reason(&answered(&mut inbox).await) {
            RejectionReason::NotAuthentic => tried += 1,
            other => assert_eq!(other, RejectionReason::RateExceeded),
        }
    }
    assert!((100..1_000).contains(&tried), "{tried}");

    let code = world.sell_code();
    let ticket = other.hello(&world).await;
    let prepared = other.seal_activation(&world, &ticket, &other.activation_body(Some(code)));
    let ask = |region| {
        world.send_in(region, 0, UpKind::Activation, "shop", &other.name(), prepared.message.clone())
    };
    let (mut here, mut elsewhere) = (ask("eu"), ask("us"));
    assert_eq!(reason(&answered(&mut here).await), RejectionReason::RateExceeded);
    assert_ne!(
        answered(&mut elsewhere).await.len(),
        Refusal::BYTES,
        "a shop of another region has its own name"
    );
}

#[tokio::test]
async fn a_source_that_repeats_a_resume_without_end_is_not_listened_to_any_more() {
    let mut world = World::new().await;
    let (victim, other) = (world.burn(), world.burn());
    let mut live = victim.activate(&mut world).await;
    victim.beat(&world, &mut live).await;
    let ticket = victim.hello(&world).await;
    let (_, captured) = victim.seal_resume(&live, &ticket, 1);
    let flood = (0..FLOOD).map(|_| world.send(0, UpKind::Resume, "thief", &victim.name(), captured.clone()));
    for mut inbox in flood.collect::<Vec<_>>() {
        answered(&mut inbox).await;
    }
    let others = other.activate(&mut world).await;
    let ticket = other.hello(&world).await;
    let (_, resume) = other.seal_resume(&others, &ticket, 2);
    let through_it = world.ask(UpKind::Resume, "thief", &other.name(), resume.clone()).await;
    assert_eq!(reason(&through_it), RejectionReason::RateExceeded, "its repeats were opened often enough");
    let own = world.ask(UpKind::Resume, &other.source, &other.name(), resume).await;
    assert_ne!(own.len(), Refusal::BYTES);
    let mut next = victim.resume(&world, &live, 3).await;
    victim.beat(&world, &mut next).await;
}

#[tokio::test]
async fn when_places_are_few_they_are_for_devices_whose_license_counts() {
    let mut world = World::with_limits(IngressLimits { queue_messages: 4, ..limits() }).await;
    let mut terminals = Vec::new();
    for _ in 0..5 {
        let terminal = world.burn();
        let mut live = terminal.activate(&mut world).await;
        terminal.beat(&world, &mut live).await;
        terminals.push((terminal, live));
    }
    for (terminal, _) in &terminals[1..4] {
        let slot = world.nodes[0].fold.read(|fold| fold.slot_of(&terminal.id)).unwrap();
        let license = world.nodes[0].fold.read(|fold| fold.device(slot)?.license()).unwrap();
        let suspended = LicenseSuspended { license, by: "ada".into(), reason: "chargeback".into() };
        world.commit(&[suspended.into()]);
    }
    world.log.hold(true);
    let mut inboxes = Vec::new();
    for (terminal, live) in &mut terminals {
        let message = terminal.seal_heartbeat(live);
        inboxes.push(world.send(0, UpKind::Heartbeat, &terminal.source, &terminal.name(), message));
        world.admitted(0).await;
    }
    world.log.hold(false);
    let mut refused = Vec::new();
    for inbox in &mut inboxes {
        let answer = answered(inbox).await;
        refused.push(answer.len() == Refusal::BYTES && reason(&answer) == RejectionReason::Unavailable);
    }
    assert!(refused[1..4].contains(&true), "half of the places is not theirs: {refused:?}");
    assert!(!refused[0] && !refused[4], "{refused:?}");
}
