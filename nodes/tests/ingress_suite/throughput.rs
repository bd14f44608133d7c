//! How many heartbeats one node's ingress takes to the log and back. Small in every run; large on demand:
//! `MUSTER_BENCH_DEVICES=20000 MUSTER_BENCH_BEATS=20 cargo nextest run -p nodes throughput --no-capture`.

use crate::terminal::{Live, Terminal};
use crate::world::{World, rng};
use events::envelope::ResumptionSecret;
use events::ids::BootId;
use events::keyring::Purpose;
use events::vocabulary::shared::Suite;
use events::vocabulary::{DeviceActivated, Event};
use nodes::bus::Message;
use std::time::Instant;

fn from_environment(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A session as an admitting node would attest it, without P-384: the fold checks no signature.
pub(crate) fn attest(world: &mut World, terminal: &Terminal) -> Live {
    let code = world.sell_code();
    let secret = ResumptionSecret::generate(&mut rng());
    let subject = terminal.id.as_bytes();
    let wrapped = world.keyring.wrap(&mut rng(), Purpose::Resumption, subject, 1, secret.as_bytes());
    let applied = world.nodes[0].fold.read(|fold| fold.applied());
    world.commit(&[Event::from(DeviceActivated {
        device: terminal.id,
        code: Some(world.keyring.code_digest(&code)),
        transcript: terminal.id.as_bytes().to_vec(),
        signature: vec![0; 96],
        mismatched: vec![],
        ticket_generation: 1,
        ticket_applied: applied,
        boot: BootId::from_bytes([1; 16]),
        boot_count: 1,
        firmware: 7,
        suite: Suite::Aes256Gcm,
        epoch: 1,
        epoch_claimed: 0,
        server_nonce: [0; 32],
        resumption: wrapped,
        source: terminal.source.parse().unwrap(),
    })]);
    let keys = secret.session_keys(terminal.id, 1, Suite::Aes256Gcm);
    Live { epoch: 1, secret, keys, sequence: 0, acked: 0, seen: applied }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput_of_heartbeats_through_one_ingress() {
    let devices = from_environment("MUSTER_BENCH_DEVICES", 64);
    let beats = from_environment("MUSTER_BENCH_BEATS", 8);
    let mut world = World::new().await;
    let fleet: Vec<_> = (0..devices)
        .map(|_| {
            let terminal = world.burn();
            let live = attest(&mut world, &terminal);
            (terminal, live)
        })
        .collect();
    let mut messages = Vec::with_capacity(devices * beats);
    for mut beating in fleet.iter().cycle().take(devices).map(|(t, live)| (t, live.clone())) {
        let (terminal, live) = (beating.0, &mut beating.1);
        let subject = format!("muster.v1.eu.up.{}.{}.heartbeat", terminal.source, terminal.id);
        let inbox = format!("_INBOX_{}.1", terminal.id);
        for _ in 0..beats {
            live.acked = live.sequence;
            let sealed = terminal.seal_heartbeat(live);
            messages.push(Message::new(subject.clone(), inbox.clone(), sealed));
        }
    }
    let mut answers = world.nodes[0].bus.listen("*.1");
    // In the order of a real fleet: every device once, then again.
    let order = (0..beats).flat_map(|beat| (0..devices).map(move |device| device * beats + beat));
    let started = Instant::now();
    let mut answered = 0;
    for at in order {
        world.nodes[0].bus.send(messages[at].clone());
        while answers.try_recv().is_ok() {
            answered += 1;
        }
    }
    while answered < devices * beats {
        crate::world::answered(&mut answers).await;
        answered += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    let counters = world.nodes[0].ingress.counters();
    eprintln!(
        "{answered} heartbeats in {seconds:.3} s: {:.0}/s in {} batches",
        answered as f64 / seconds,
        counters.batches
    );
    assert_eq!(counters.verdicts as usize, devices * beats, "{counters:?}");
    assert_eq!(world.nodes[0].fold.read(|fold| fold.counts().heartbeats) as usize, devices * beats);
}
