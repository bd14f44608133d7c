//! Rubbish on every subject, from a source that may speak, while honest terminals go on (design.md section 13).

use async_nats::Client;
use events::batch::access;
use events::envelope::{Header, MessageKind};
use events::ids::DeviceId;
use events::limits::MESSAGE_BYTES_MAX;
use events::vocabulary::Event;
use futures::StreamExt;
use ops::dev::attack::connect;
use ops::dev::sources::{GUESSER, GUESSER_TOKEN};
use ops::dev::stage::Stage;
use ops::offline::{Fold, open_log, read_keyring};
use std::time::{Duration, Instant};

const KINDS: [&str; 6] = ["hello", "activation", "resume", "heartbeat", "tamper", "update"];
const PATIENCE: Duration = Duration::from_secs(10);

struct Attacker {
    nats: Client,
    region: String,
    bytes_sent: u64,
}

impl Attacker {
    async fn of(stage: &Stage) -> Self {
        let nats = connect(&stage.nats.url(), &stage.users[GUESSER]).await.unwrap();
        Attacker { nats, region: stage.region.to_string(), bytes_sent: 0 }
    }

    fn subject(&self, device: &str, kind: &str) -> String {
        format!("muster.v1.{}.up.{GUESSER}.{device}.{kind}", self.region)
    }

    async fn send(&mut self, device: &str, kind: &str, payload: Vec<u8>) {
        self.bytes_sent += payload.len() as u64;
        let reply = format!("_INBOX_{device}.{GUESSER_TOKEN}.rubbish");
        self.nats.publish_with_reply(self.subject(device, kind), reply, payload.into()).await.unwrap();
    }

    /// The answer to one message, if there is one within `patience`.
    async fn ask(&self, device: &str, kind: &str, payload: Vec<u8>, patience: Duration) -> Option<Vec<u8>> {
        let inbox = format!("_INBOX_{device}.{GUESSER_TOKEN}.{}", payload.len());
        let mut answers = self.nats.subscribe(inbox.clone()).await.unwrap();
        self.nats.publish_with_reply(self.subject(device, kind), inbox, payload.into()).await.unwrap();
        let answer = tokio::time::timeout(patience, answers.next()).await.ok()??;
        Some(answer.payload.to_vec())
    }
}

/// A heartbeat of the right form, whose seal is rubbish.
fn sealed_rubbish(device: DeviceId, sequence: u32) -> Vec<u8> {
    let header = Header { suite: 1, epoch: 1, sequence, ..Header::new(MessageKind::Heartbeat, device) };
    [&header.encode()[..], &[0x5a; 48]].concat()
}

/// Rubbish of many shapes; each of them is wrong in one way.
fn rubbish(device: DeviceId, number: u32) -> Vec<u8> {
    let sealed = sealed_rubbish(device, number);
    match number % 8 {
        0 => Vec::new(),
        1 => vec![0xff; 7],
        2 => sealed[..39].to_vec(),
        3 => [&[99], &sealed[1..]].concat(),
        4 => vec![number.to_le_bytes()[0]; MESSAGE_BYTES_MAX],
        5 => vec![1; MESSAGE_BYTES_MAX + 1],
        6 => [&sealed[..], &[0; 500]].concat(),
        _ => sealed,
    }
}

async fn acknowledged_after(stage: &Stage, more: u64) {
    let before = stage.crowd.counters().heartbeats_acknowledged;
    let deadline = Instant::now() + PATIENCE;
    while stage.crowd.counters().heartbeats_acknowledged < before + more {
        assert!(Instant::now() < deadline, "terminals stand still: {:?}", stage.crowd.counters());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn rubbish_on_every_subject_harms_nobody_and_does_not_grow_the_log() {
    let mut staged = tests::staged(20).await;
    let stage = &mut staged.stage;
    let mut attacker = Attacker::of(stage).await;
    let known = stage.burned.terminals[5].device;
    let stranger = DeviceId::from_bytes([0x77; 16]);
    let lot = stage.burned.lot.to_string();
    let before = stage.crowd.counters().heartbeats_acknowledged;
    let started = Instant::now();
    for number in 0..4_000_u32 {
        let device = if number % 2 == 0 { known } else { stranger };
        let kind = KINDS[number as usize % KINDS.len()];
        let names = [device.to_string(), lot.clone(), "dev_short".to_owned()];
        let name = &names[number as usize / 7 % names.len()];
        attacker.send(name, kind, rubbish(device, number)).await;
        if number % 200 == 0 {
            attacker.nats.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    attacker.nats.flush().await.unwrap();
    // 17 terminals beat once a second; all of them go on during the attack and after it.
    let seconds = started.elapsed().as_secs();
    let during = stage.crowd.counters().heartbeats_acknowledged - before;
    assert!(
        during + 17 * 2 >= 17 * seconds,
        "{during} heartbeats acknowledged within {seconds} s of rubbish"
    );
    acknowledged_after(stage, 34).await;
    stage.cluster.still_running().unwrap();
    stage.wait_until_all_legitimate(Duration::from_secs(1)).await.unwrap();

    // Two windows of summaries later, everything of the attack that reaches the log is in it.
    tokio::time::sleep(Duration::from_millis(2 * events::limits::REJECTION_WINDOW_MILLIS)).await;
    let statuses = stage.cluster.settle().await.unwrap();
    assert!(statuses.iter().all(|status| status.counts.flags.keys().all(|kind| kind.as_str() != "clone")));
    let windows = started.elapsed().as_millis() as u64 / events::limits::REJECTION_WINDOW_MILLIS + 1;
    let (summaries, bytes) = summaries_in_log(stage);
    assert!(summaries > 0, "the attack was counted");
    assert!(summaries <= 3 * windows, "{summaries} summaries in {windows} windows of three nodes");
    assert!(
        bytes * 100 <= attacker.bytes_sent,
        "{bytes} bytes of log for {} of rubbish",
        attacker.bytes_sent
    );
}

/// Rejection summaries in node 1's log, and their bytes.
fn summaries_in_log(stage: &Stage) -> (u64, u64) {
    let keyring = read_keyring(&stage.cluster.files.keyring).unwrap();
    let mut fold = Fold::new(open_log(&stage.cluster.data_directory(1).unwrap(), &keyring).unwrap());
    let (mut count, mut bytes) = (0, 0);
    while let Some(folded) = fold.next_within(u64::MAX).unwrap() {
        let Some((batch, _)) = &folded.batch else { continue };
        let batch = access(batch).unwrap();
        for (event, stored) in batch.decode_events().zip(batch.events.iter()) {
            if matches!(event.unwrap(), Event::RejectionSummary(_)) {
                count += 1;
                bytes += stored.bytes.len() as u64;
            }
        }
    }
    (count, bytes)
}

#[tokio::test]
async fn an_unknown_device_and_a_bad_tag_get_the_same_answer() {
    let staged = tests::staged(10).await;
    let attacker = Attacker::of(&staged.stage).await;
    let known = staged.stage.burned.terminals[5].device;
    let stranger = DeviceId::from_bytes([0x77; 16]);
    let mut answers = Vec::new();
    for device in [known, stranger] {
        let payload = sealed_rubbish(device, 3);
        answers.push(attacker.ask(&device.to_string(), "heartbeat", payload, PATIENCE).await);
    }
    assert!(answers[0].is_some(), "a bad tag is answered");
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn a_node_answers_nowhere_but_in_the_inbox_of_the_device_named() {
    let staged = tests::staged(10).await;
    let stage = &staged.stage;
    let attacker = Attacker::of(stage).await;
    let device = stage.burned.terminals[5].device;
    let other = stage.burned.terminals[6].device;
    let inbox = format!("_INBOX_{other}.{GUESSER_TOKEN}.stolen");
    let mut stolen = attacker.nats.subscribe(inbox.clone()).await.unwrap();
    let hello = events::envelope::ticket::encode_hello(device);
    let subject = attacker.subject(&device.to_string(), "hello");
    attacker.nats.publish_with_reply(subject, inbox, hello.clone().into()).await.unwrap();
    // An honest hello after it is answered: so the first one was seen, and dropped.
    assert!(attacker.ask(&device.to_string(), "hello", hello, PATIENCE).await.is_some());
    let nothing = tokio::time::timeout(Duration::from_millis(500), stolen.next()).await;
    assert!(nothing.is_err(), "a node answered into another device's inbox");
}
