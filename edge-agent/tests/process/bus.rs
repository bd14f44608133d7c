//! A nats-server of our own, and the model cluster behind it in the place of a node.

use crate::support::cluster::ModelCluster;
use crate::support::rng::SeededRng;
use edge_agent::machine::TransmitKind;
use events::time::Timestamp;
use futures::StreamExt;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

pub struct Bus {
    pub url: String,
    pub cluster: Arc<Mutex<ModelCluster>>,
    /// Subjects of answers that were asked for, in order.
    pub replies: Arc<Mutex<Vec<String>>>,
    /// Trace headers of requests.
    pub traceparents: Arc<Mutex<Vec<String>>>,
    /// Where answers to update requests were asked for, in order; nobody answers them.
    pub updates_asked: Arc<Mutex<Vec<String>>>,
    pub update_asked: Arc<Notify>,
    port: u16,
    server: Child,
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// `MUSTER_NATS_SERVER`, what `./ops/test` fetched, or PATH.
fn nats_server() -> PathBuf {
    let named = std::env::var_os("MUSTER_NATS_SERVER").map(PathBuf::from);
    let fetched = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.local/nats-server"));
    named.or_else(|| fetched.exists().then_some(fetched)).unwrap_or_else(|| PathBuf::from("nats-server"))
}

fn serve(port: u16) -> Child {
    Command::new(nats_server())
        .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("a nats-server: `./ops/test` fetches one, or name yours with MUSTER_NATS_SERVER")
}

impl Bus {
    /// From here on nobody is reached.
    pub fn stop_server(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Everybody can be reached again, at the same address.
    pub fn start_server(&mut self) {
        self.server = serve(self.port);
    }

    pub async fn start(seed: u64) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = serve(port);
        let url = format!("nats://127.0.0.1:{port}");
        let client =
            async_nats::ConnectOptions::new().retry_on_initial_connect().connect(&url).await.unwrap();
        let mut requests = client.subscribe("muster.v1.eu.up.shop-1.>").await.unwrap();
        client.flush().await.unwrap();
        let mut model = ModelCluster::new(SeededRng::new(seed));
        model.interval_millis = 200;
        // The agent's process has a real clock: a cluster from the future would look like a rollback.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        model.stamp = Timestamp::from_millis(wall.as_millis() as u64);
        let bus = Bus {
            url,
            cluster: Arc::new(Mutex::new(model)),
            replies: Arc::default(),
            traceparents: Arc::default(),
            updates_asked: Arc::default(),
            update_asked: Arc::default(),
            port,
            server,
        };
        let (cluster, replies) = (bus.cluster.clone(), bus.replies.clone());
        let traceparents = bus.traceparents.clone();
        let (updates_asked, update_asked) = (bus.updates_asked.clone(), bus.update_asked.clone());
        tokio::spawn(async move {
            while let Some(message) = requests.next().await {
                let reply = message.reply.clone().unwrap();
                if message.subject.ends_with(".update") {
                    updates_asked.lock().unwrap().push(reply.to_string());
                    update_asked.notify_one();
                    continue;
                }
                let kind = kind_of(message.subject.as_str());
                replies.lock().unwrap().push(reply.to_string());
                if let Some(parent) = message.headers.as_ref().and_then(|headers| headers.get("traceparent"))
                {
                    traceparents.lock().unwrap().push(parent.to_string());
                }
                let answer = cluster.lock().unwrap().handle(kind, &message.payload);
                if let Some(answer) = answer {
                    client.publish(reply, answer.into()).await.unwrap();
                }
            }
        });
        bus
    }
}

fn kind_of(subject: &str) -> TransmitKind {
    match subject.rsplit('.').next().unwrap() {
        "hello" => TransmitKind::Hello,
        "activation" => TransmitKind::Activation,
        "resume" => TransmitKind::Resume,
        "heartbeat" => TransmitKind::Heartbeat,
        "tamper" => TransmitKind::Tamper,
        other => panic!("a subject of an unknown kind: {other}"),
    }
}

/// Another server, on which users may do what its configuration says; nobody listens on it.
pub struct StrictServer {
    pub url: String,
    server: Child,
    _folder: tempfile::TempDir,
}

impl Drop for StrictServer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl StrictServer {
    pub async fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nats.conf");
        std::fs::write(&file, config).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(nats_server());
        command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--config"]).arg(file);
        let server = command.stderr(Stdio::null()).spawn().unwrap();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::task::yield_now().await;
        }
        StrictServer { url: format!("nats://127.0.0.1:{port}"), server, _folder: folder }
    }
}
