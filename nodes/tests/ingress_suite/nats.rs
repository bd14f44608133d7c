//! The bus on a real nats-server, and on one that must not be used.
//!
//! The server is `MUSTER_NATS_SERVER`, `.local/nats-server` below the repository's root, or the first on PATH; without
//! one these tests say so and pass.

use crate::terminal::Terminal;
use crate::world::{TOO_LONG, World, limits};
use events::envelope::Ticket;
use events::envelope::ticket::encode_hello;
use futures::StreamExt;
use nodes::bus::{Bus, BusError, BusHealth, NatsBus, NatsOptions};
use nodes::config::{NatsConfig, NatsLogin};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

fn options(address: SocketAddr) -> NatsOptions {
    let config = NatsConfig { urls: vec![format!("nats://{address}")], login: NatsLogin::Anonymous };
    NatsOptions { config, name: "muster-test".into() }
}

/// A nats-server of this test, killed with it.
struct Server {
    binary: PathBuf,
    address: SocketAddr,
    child: Child,
}

impl Server {
    async fn start() -> Option<Server> {
        let Some(binary) = find_server() else {
            eprintln!("SKIPPED: no nats-server; name one with MUSTER_NATS_SERVER");
            return None;
        };
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let child = spawn(&binary, address);
        let server = Server { binary, address, child };
        server.until_ready().await;
        Some(server)
    }

    async fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.binary, self.address);
        self.until_ready().await;
    }

    async fn until_ready(&self) {
        let ready = async {
            while async_nats::connect(self.address.to_string()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(TOO_LONG, ready).await.expect("the server must start");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find_server() -> Option<PathBuf> {
    let named = std::env::var_os("MUSTER_NATS_SERVER").map(PathBuf::from);
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.local/nats-server");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("nats-server")).collect::<Vec<_>>();
    named.into_iter().chain([fetched]).chain(on_path).find(|candidate| candidate.is_file())
}

fn spawn(binary: &Path, address: SocketAddr) -> Child {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let quiet = Command::new(binary)
        .args(["--addr", &host, "--port", &port])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    quiet.unwrap()
}

async fn until_health(bus: &NatsBus, wanted: BusHealth) {
    let mut health = bus.health();
    let reached = health.wait_for(|health| *health == wanted);
    timeout(TOO_LONG, reached).await.expect("the bus must come to this").unwrap();
}

/// Says hello over the real server until a node answers; one that is not in the queue group yet does not.
async fn hello(client: &async_nats::Client, terminal: &Terminal) -> Ticket {
    let subject = format!("muster.v1.eu.up.{}.{}.hello", terminal.source, terminal.id);
    let inbox = format!("_INBOX_{}.1", terminal.id);
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    let ask = async {
        loop {
            let payload = encode_hello(terminal.id).into();
            client.publish_with_reply(subject.clone(), inbox.clone(), payload).await.unwrap();
            if let Ok(Some(answer)) = timeout(Duration::from_millis(200), answers.next()).await
                && answer.status.is_none()
            {
                return Ticket::parse_answer(&answer.payload).unwrap();
            }
        }
    };
    timeout(TOO_LONG, ask).await.expect("a node must answer")
}

#[tokio::test]
async fn a_server_with_known_bypasses_is_refused_by_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let old_server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let info = r#"INFO {"server_id":"X","server_name":"old-nats","version":"2.10.20","host":"127.0.0.1",
            "port":4222,"proto":1,"headers":true,"max_payload":1048576}"#
            .replace('\n', " ");
        stream.write_all(format!("{info}\r\n").as_bytes()).await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"PING\r\n") {
            said.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"PONG\r\n").await.unwrap();
        stream
    });
    let refused = NatsBus::connect(&options(address)).await.err().expect("it must be refused");
    assert!(matches!(&refused, BusError::ServerTooOld { server, .. } if server == "old-nats"), "{refused}");
    drop(old_server.await.unwrap());
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let Some(mut server) = Server::start().await else { return };
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let bus = NatsBus::connect(&options(server.address)).await.unwrap();
    assert_eq!(*bus.health().borrow(), BusHealth::Disconnected);
    server.child = spawn(&server.binary, server.address);
    until_health(&bus, BusHealth::Connected).await;
}

#[tokio::test]
async fn terminals_are_served_over_a_real_server_and_again_after_it_restarted() {
    let Some(mut server) = Server::start().await else { return };
    let mut world = World::new().await;
    let terminal = world.burn();
    let bus = Arc::new(NatsBus::connect(&options(server.address)).await.unwrap());
    let fold = world.nodes[0].fold.clone();
    let (ingress, _serving) = world.start_ingress(bus.clone(), fold, limits());
    let client = async_nats::connect(server.address.to_string()).await.unwrap();
    assert_eq!(hello(&client, &terminal).await.generation, 1);
    server.restart().await;
    until_health(&bus, BusHealth::Connected).await;
    let client = async_nats::connect(server.address.to_string()).await.unwrap();
    hello(&client, &terminal).await;
    timeout(TOO_LONG, ingress.drain()).await.expect("draining must end");
}

#[tokio::test]
async fn a_node_that_cannot_commit_leaves_the_group_to_the_others() {
    let Some(server) = Server::start().await else { return };
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let bus = Arc::new(NatsBus::connect(&options(server.address)).await.unwrap());
        let fold = world.nodes[0].fold.clone();
        nodes.push(world.start_ingress(bus, fold, limits()));
    }
    let client = async_nats::connect(server.address.to_string()).await.unwrap();
    hello(&client, &terminal).await;
    nodes[0].1.send_replace(false);
    let answered = |nodes: &Vec<(nodes::ingress::IngressHandle, _)>| nodes[0].0.counters().tickets;
    // Once it has left, only the other one answers.
    let mut before = answered(&nodes);
    let mut without = 0;
    while without < 10 {
        hello(&client, &terminal).await;
        without = if answered(&nodes) == before { without + 1 } else { 0 };
        before = answered(&nodes);
    }
    assert!(nodes[1].0.counters().tickets >= 10);
}

/// The client library takes bytes that are no UTF-8 for a broken connection. The server passes them on.
#[tokio::test]
async fn bytes_that_are_no_text_cost_a_reconnect_and_nothing_else() {
    let Some(server) = Server::start().await else { return };
    let mut world = World::new().await;
    let terminal = world.burn();
    let bus = Arc::new(NatsBus::connect(&options(server.address)).await.unwrap());
    let fold = world.nodes[0].fold.clone();
    let (_ingress, _serving) = world.start_ingress(bus, fold, limits());
    let client = async_nats::connect(server.address.to_string()).await.unwrap();
    hello(&client, &terminal).await;
    let mut hostile = TcpStream::connect(server.address).await.unwrap();
    hostile.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\nPING\r\n").await.unwrap();
    let subject = b"PUB muster.v1.eu.up.x.\xff\xfe.hello 2\r\nhi\r\n";
    let header = b"HPUB muster.v1.eu.up.x.y.hello 18 20\r\nNATS/1.0\r\n\xff: a\r\n\r\nhi\r\n";
    for _ in 0..3 {
        hostile.write_all(subject).await.unwrap();
        hostile.write_all(header).await.unwrap();
        hello(&client, &terminal).await;
    }
}
