//! (b) JetStream on three servers, each message on the files of a majority: with its default, which syncs them every
//! two minutes, and with `sync_interval: always`, which promises what muster promises.

use super::echo::connect;
use super::load::{Connection, Pace, alike, send};
use super::processes::CpuMark;
use super::report::Measured;
use super::{Plan, stage};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use events::envelope::heartbeat::HEARTBEAT_BYTES;
use ops::dev::children::{Child, spawn};
use ops::dev::ports;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SUBJECT: &str = "beats";
const STREAM: &str = "BEATS";
const SERVERS: usize = 3;

/// Three servers, one stream of three replicas, and connections to the server that leads it.
pub struct JetStream {
    connections: Vec<Connection>,
    _servers: Vec<Child>,
}

impl JetStream {
    pub async fn start(plan: &Plan, dir: &Path, always: bool) -> Result<Self> {
        let addresses = ports::free(2 * SERVERS)?;
        let (clients, routes) = addresses.split_at(SERVERS);
        let all: Vec<String> = routes.iter().map(|route| format!("\"nats-route://{route}\"")).collect();
        let sync = if always { "always" } else { "2m" };
        let mut servers = Vec::new();
        for number in 0..SERVERS {
            let own = dir.join(format!("{}-{number}", if always { "js-always" } else { "js-default" }));
            std::fs::create_dir_all(&own).context("a folder for JetStream")?;
            let text = format!(
                "listen: \"{}\"\nserver_name: \"s{number}\"\nmax_pending: 67108864\n\
                 jetstream {{ store_dir: \"{}\", sync_interval: {sync} }}\n\
                 cluster {{ name: \"bench\", listen: \"{}\", routes: [{}] }}\n",
                clients[number],
                std::path::absolute(&own).context("an absolute path")?.display(),
                routes[number],
                all.join(", "),
            );
            let config = own.join("nats.conf");
            std::fs::write(&config, text).context("nats.conf")?;
            let mut command = Command::new(&plan.nats_server);
            command.arg("--config").arg(&config);
            servers.push(spawn(&format!("nats-server s{number}"), command, &own.join("nats.log"))?);
        }
        let leader = create_stream(&format!("nats://{}", clients[0])).await?;
        let url = format!("nats://{}", clients[leader]);
        let mut connections = Vec::new();
        for number in 0..stage::CONNECTIONS {
            connections.push(Connection::open(connect(&url).await?, format!("acks.{number}.*")).await?);
        }
        Ok(JetStream { connections, _servers: servers })
    }

    pub async fn measure(&mut self, plan: &Plan, window: usize) -> Result<Measured> {
        let payload = Bytes::from(vec![7; HEARTBEAT_BYTES]);
        let count = plan.requests_max / stage::CONNECTIONS;
        let lists: Vec<_> =
            (0..stage::CONNECTIONS).map(|n| alike(SUBJECT, &format!("acks.{n}"), &payload, count)).collect();
        let mark = CpuMark::now();
        let pace = Pace::Window(window, plan.measure_for);
        let (connections, sent) = send(std::mem::take(&mut self.connections), &lists, pace).await?;
        let cpu = mark.cores_since();
        self.connections = connections;
        Ok(Measured::of(&sent, cpu, |answer| answer.starts_with(b"{\"stream\":")))
    }
}

/// Creates the stream as soon as the servers agree on a leader among them; returns which of them leads it.
async fn create_stream(url: &str) -> Result<usize> {
    let client = connect(url).await?;
    let config = json!({ "name": STREAM, "subjects": [SUBJECT], "storage": "file", "num_replicas": SERVERS });
    let create = Bytes::from(config.to_string());
    let mut said = String::new();
    for _ in 0..300 {
        let created = client.request(format!("$JS.API.STREAM.CREATE.{STREAM}"), create.clone()).await;
        if let Ok(answer) = created {
            said = String::from_utf8_lossy(&answer.payload).into_owned();
            if let Some(leader) = leader_of(&said) {
                return Ok(leader);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("JetStream made no stream of {SERVERS} replicas within 30 s; it said: {said}")
}

fn leader_of(info: &str) -> Option<usize> {
    let info: Value = serde_json::from_str(info).ok()?;
    info["cluster"]["leader"].as_str()?.strip_prefix('s')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_is_read_from_the_streams_information() {
        assert_eq!(leader_of(r#"{"cluster":{"leader":"s2"}}"#), Some(2));
        assert_eq!(leader_of(r#"{"error":{"code":503}}"#), None);
    }
}
