//! (a) A request over one nats-server to a process that does nothing but answer.

use super::load::{Connection, Pace, alike, send};
use super::processes::CpuMark;
use super::report::Measured;
use super::{Plan, stage};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use events::envelope::heartbeat::HEARTBEAT_BYTES;
use futures::{FutureExt as _, StreamExt as _};
use ops::dev::children::{Child, spawn};
use ops::dev::ports;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SUBJECT: &str = "echo";
const GROUP: &str = "echoes";

/// Server, responder and the load generator's connections.
pub struct Echo {
    connections: Vec<Connection>,
    _responder: Child,
    _server: Child,
}

impl Echo {
    pub async fn start(plan: &Plan, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).context("a folder for the echo")?;
        let address = ports::free(1)?[0];
        let config = dir.join("nats.conf");
        std::fs::write(&config, format!("listen: \"{address}\"\nmax_pending: 67108864\n"))
            .context("nats.conf")?;
        let mut command = Command::new(&plan.nats_server);
        command.arg("--config").arg(&config);
        let server = spawn("nats-server of the echo", command, &dir.join("nats.log"))?;
        let url = format!("nats://{address}");
        let mut connections = Vec::new();
        for number in 0..stage::CONNECTIONS {
            let client = connect(&url).await?;
            connections.push(Connection::open(client, format!("answers.{number}.*")).await?);
        }
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.arg("--respond").arg(&url);
        let responder = spawn("the echo's responder", command, &dir.join("responder.log"))?;
        let echo = Echo { connections, _responder: responder, _server: server };
        echo.wait_until_it_answers().await?;
        Ok(echo)
    }

    async fn wait_until_it_answers(&self) -> Result<()> {
        let client = &self.connections[0].client;
        for _ in 0..200 {
            if client.request(SUBJECT, Bytes::new()).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        anyhow::bail!("the echo's responder does not answer")
    }

    pub async fn measure(&mut self, plan: &Plan, window: usize) -> Result<Measured> {
        self.send(plan.requests_max, Pace::Window(window, plan.measure_for)).await
    }

    pub async fn measure_paced(&mut self, plan: &Plan, rate: f64) -> Result<Measured> {
        self.send(plan.requests_max, Pace::PerSecond(rate, plan.measure_for)).await
    }

    async fn send(&mut self, requests_max: usize, pace: Pace) -> Result<Measured> {
        let payload = Bytes::from(vec![7; HEARTBEAT_BYTES]);
        let count = requests_max / stage::CONNECTIONS;
        let lists: Vec<_> = (0..stage::CONNECTIONS)
            .map(|number| alike(SUBJECT, &format!("answers.{number}"), &payload, count))
            .collect();
        let mark = CpuMark::now();
        let (connections, sent) = send(std::mem::take(&mut self.connections), &lists, pace).await?;
        let cpu = mark.cores_since();
        self.connections = connections;
        Ok(Measured::of(&sent, cpu, |answer| answer.len() == HEARTBEAT_BYTES))
    }
}

pub async fn connect(url: &str) -> Result<async_nats::Client> {
    let options = async_nats::ConnectOptions::new().retry_on_initial_connect().max_reconnects(None);
    let client = options.connect(url).await.with_context(|| format!("connecting to {url}"))?;
    client.flush().await.with_context(|| format!("connecting to {url}"))?;
    Ok(client)
}

/// The responder's process: answers every request with its own bytes, until it is killed.
pub async fn respond(url: &str) -> Result<()> {
    let client = connect(url).await?;
    let mut requests = client.queue_subscribe(SUBJECT, GROUP.to_owned()).await.context("subscribing")?;
    while let Some(first) = requests.next().await {
        let mut next = Some(first);
        while let Some(message) = next {
            if let Some(reply) = message.reply {
                client.publish(reply, message.payload).await.context("answering")?;
            }
            next = requests.next().now_or_never().flatten();
        }
    }
    Ok(())
}
