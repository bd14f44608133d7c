//! Whatever comes, the process lives, counts it, and goes on serving.

use crate::world::{LOT, World, limits};
use events::vocabulary::Event;
use nodes::bus::Message;
use nodes::bus::subject::UpKind;
use nodes::ingress::IngressLimits;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

fn sample<S: Strategy>(runner: &mut TestRunner, strategy: &S) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

#[tokio::test]
async fn random_bytes_on_every_subject_harm_nobody() {
    let mut world = World::with_limits(IngressLimits { parked_per_source: 4, ..limits() }).await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let before = world.events().len();
    let mut runner = TestRunner::deterministic();
    let payload = proptest::collection::vec(any::<u8>(), 0..2_100);
    let subject = "[ -~]{0,90}";
    for _ in 0..400 {
        for kind in UpKind::ALL {
            let mut bytes = sample(&mut runner, &payload);
            // Half of them look right for the first bytes, so that they come further.
            if bytes.len() > 20 && sample(&mut runner, &any::<bool>()) {
                bytes[..4].copy_from_slice(&[1, sample(&mut runner, &(1u8..11)), 0, 0]);
                bytes[4..20].copy_from_slice(terminal.id.as_bytes());
            }
            world.send(0, kind, "fuzzer", &terminal.name(), bytes.clone());
            world.send(0, kind, "fuzzer", &LOT.to_string(), bytes);
        }
        let inbox = format!("_INBOX_{}.1", terminal.id);
        let subject = format!("muster.v1.eu.up.{}", sample(&mut runner, &subject));
        world.nodes[0].bus.send(Message::new(subject, inbox, vec![1, 7, 0, 0]));
    }
    terminal.beat(&world, &mut live).await;
    let grown = &world.events()[before..];
    assert!(grown.iter().all(|event| matches!(event, Event::RejectionSummary(_))), "{grown:?}");
}

#[tokio::test]
async fn no_flipped_bit_of_an_honest_message_gets_through() {
    let mut world = World::with_limits(IngressLimits { activations_waiting: 4_096, ..limits() }).await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    let ticket = terminal.hello(&world).await;
    let resume = terminal.seal_resume(&live, &ticket, 1).1;
    let activation = terminal.seal_activation(&world, &ticket, &terminal.activation_body(None)).message;
    let heartbeat = terminal.seal_heartbeat(&mut live.clone());
    let (before, p384) = (world.events().len(), world.nodes[0].ingress.counters().p384);
    for (kind, message) in
        [(UpKind::Heartbeat, heartbeat), (UpKind::Resume, resume), (UpKind::Activation, activation)]
    {
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 1 << (at % 8);
            world.send(0, kind, "flipper", &terminal.name(), changed);
        }
    }
    terminal.beat(&world, &mut live).await;
    let grown = &world.events()[before..];
    assert!(grown.iter().all(|event| matches!(event, Event::RejectionSummary(_))), "{grown:?}");
    assert_eq!(world.nodes[0].ingress.counters().p384, p384, "none of them comes as far as P-384");
}
