//! What a user would do without muster: the heartbeats are messages of a JetStream, and a consumer folds them.
//!
//! One server, one replica, files; a pull consumer without acknowledgements, batches ahead of what is folded; the fold keeps
//! per device what muster's hot row keeps first of all. It is all that a JetStream client does at its best, and none of
//! what muster's fold does besides.

use super::super::echo::connect;
use super::super::load::{Connection, Pace, Request, send};
use super::super::stage::CONNECTIONS;
use super::{Log, ReplayPlan};
use anyhow::{Context as _, Result, bail, ensure};
use async_nats::{Client, Subject};
use bytes::Bytes;
use events::batch::{HeartbeatRow, access, split_stamp};
use events::log::record::EntryBody;
use futures::StreamExt as _;
use nodes::storage::log_reader::History;
use ops::dev::children::spawn;
use ops::dev::ports;
use ops::offline::{open_log, read_keyring};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const STREAM: &str = "HISTORY";
const SUBJECT: &str = "history";
const ANSWERS: &str = "history.answers";
/// Messages asked for at once; two such batches are under way at any time.
const BATCH: usize = 8192;
/// A device's id, and what a row of the log says.
const MESSAGE_BYTES: usize = 36;

/// What the consumer keeps of a device.
#[derive(Default)]
struct Device {
    sequence: u32,
    heartbeats: u64,
    last_heard: u64,
}

/// Heartbeats a second that a consumer folds.
pub(super) async fn measure(plan: &ReplayPlan, log: &Log, dir: &Path) -> Result<f64> {
    std::fs::create_dir_all(dir).context("a folder for JetStream")?;
    let address = ports::free(1)?[0];
    let config = dir.join("nats.conf");
    let store = std::path::absolute(dir).context("an absolute path")?;
    let text = format!("listen: \"{address}\"\njetstream {{ store_dir: \"{}\" }}\n", store.display());
    std::fs::write(&config, text).context("nats.conf")?;
    let mut command = Command::new(&plan.nats_server);
    command.arg("--config").arg(&config);
    let _server = spawn("nats-server of the history", command, &dir.join("nats.log"))?;
    let url = format!("nats://{address}");
    let client = connect(&url).await?;
    let stream = json!({ "name": STREAM, "subjects": [SUBJECT], "storage": "file", "num_replicas": 1 });
    ask(&client, &format!("STREAM.CREATE.{STREAM}"), &stream).await?;
    let published = publish(&url, messages(log, plan.messages)?).await?;

    let consumer = json!({
        "stream_name": STREAM,
        "config": { "deliver_policy": "all", "ack_policy": "none", "inactive_threshold": 60_000_000_000_u64 },
    });
    let created = ask(&client, &format!("CONSUMER.CREATE.{STREAM}"), &consumer).await?;
    let name = created["name"].as_str().context("the consumer has no name")?;
    consume(&client, name, published).await
}

async fn ask(client: &Client, what: &str, body: &Value) -> Result<Value> {
    let answer = client.request(format!("$JS.API.{what}"), body.to_string().into()).await;
    let answer = answer.with_context(|| format!("asking JetStream for {what}"))?;
    let answer: Value = serde_json::from_slice(&answer.payload).context("JetStream's answer")?;
    match answer.get("error") {
        Some(error) => bail!("JetStream refused {what}: {error}"),
        None => Ok(answer),
    }
}

/// The first heartbeats of the log, each as a message of its own.
fn messages(log: &Log, count: usize) -> Result<Vec<Bytes>> {
    let (keyring, mut messages) = (read_keyring(&log.keyring)?, Vec::with_capacity(count));
    for history in open_log(&log.data, &keyring)? {
        let History::Entry(held) = history? else { continue };
        let EntryBody::Batch(payload) = &held.entry.body else { continue };
        let (stamp, batch) = split_stamp(payload)?;
        messages.extend(access(batch)?.heartbeats.rows().map(|row| message(&row, stamp.as_millis())));
        if messages.len() >= count {
            break;
        }
    }
    messages.truncate(count);
    Ok(messages)
}

fn message(row: &HeartbeatRow, stamp: u64) -> Bytes {
    let mut bytes = Vec::with_capacity(MESSAGE_BYTES);
    bytes.extend_from_slice(&(u128::from(row.slot) * 0x9e37_79b9_7f4a_7c15_f39c_0c16).to_le_bytes());
    bytes.extend_from_slice(&row.sequence.to_le_bytes());
    bytes.extend_from_slice(&stamp.to_le_bytes());
    bytes.extend_from_slice(&row.digest.to_le_bytes());
    bytes.extend_from_slice(&row.seen_low.to_le_bytes());
    bytes.into()
}

async fn publish(url: &str, messages: Vec<Bytes>) -> Result<usize> {
    let (mut connections, mut lists) = (Vec::new(), Vec::new());
    let subject = Subject::from(SUBJECT);
    let share = messages.len().div_ceil(CONNECTIONS).max(1);
    for (number, part) in messages.chunks(share).enumerate() {
        connections.push(Connection::open(connect(url).await?, format!("{ANSWERS}.{number}.*")).await?);
        let request = |(at, payload): (usize, &Bytes)| Request {
            subject: subject.clone(),
            reply: Subject::from(format!("{ANSWERS}.{number}.{at}")),
            payload: payload.clone(),
        };
        lists.push(Arc::new(part.iter().enumerate().map(request).collect::<Vec<_>>()));
    }
    let (_, sent) = send(connections, &lists, Pace::Window(4096, Duration::from_secs(600))).await?;
    let stored = sent.iter().flat_map(|sent| &sent.answers).flatten();
    let stored = stored.filter(|answer| answer.payload.starts_with(b"{\"stream\":")).count();
    ensure!(stored == messages.len(), "JetStream stored {stored} of {} messages", messages.len());
    Ok(stored)
}

async fn consume(client: &Client, consumer: &str, count: usize) -> Result<f64> {
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.context("subscribing")?;
    let next = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{consumer}");
    let more = Bytes::from(json!({ "batch": BATCH }).to_string());
    let mut devices: HashMap<[u8; 16], Device> = HashMap::new();
    let (mut folded, mut asked) = (0, 0);
    let began = Instant::now();
    while folded < count {
        while asked < count && asked < folded + 2 * BATCH {
            client
                .publish_with_reply(next.clone(), inbox.clone(), more.clone())
                .await
                .context("asking for more")?;
            asked += BATCH;
        }
        let message = tokio::time::timeout(Duration::from_secs(30), messages.next()).await;
        let message = message.context("JetStream delivers no more")?.context("the connection was closed")?;
        if fold(&mut devices, &message.payload) {
            folded += 1;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let heard: u64 = devices.values().map(|device| device.heartbeats).sum();
    ensure!(heard == count as u64, "{heard} of {count} heartbeats were folded");
    Ok(count as f64 / seconds)
}

/// False for what is no heartbeat: the server's words about a batch.
fn fold(devices: &mut HashMap<[u8; 16], Device>, message: &[u8]) -> bool {
    let Some((id, rest)) = message.split_first_chunk::<16>().filter(|_| message.len() == MESSAGE_BYTES)
    else {
        return false;
    };
    let number =
        |at: usize| rest.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes);
    let device = devices.entry(*id).or_default();
    device.sequence = device.sequence.max(number(0));
    device.last_heard = device.last_heard.max(u64::from(number(4)) | u64::from(number(8)) << 32);
    device.heartbeats += 1;
    true
}
