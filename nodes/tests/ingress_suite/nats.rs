//! The bus on a real nats-server, and on one that must not be used.
//!
//! The server is `MUSTER_NATS_SERVER`, `.local/nats-server` below the repository's root, or the first on PATH; without
//! one these tests say so and pass.

use crate::terminal::Terminal;
use crate::world::{TOO_LONG, World, limits, source_id};
use events::envelope::Ticket;
use events::envelope::ticket::encode_hello;
use futures::StreamExt;
use nodes::bus::{Bus, BusError, BusHealth, NatsBus, NatsOptions};
use nodes::config::{NatsConfig, NatsLogin, Secret};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

fn options(address: SocketAddr) -> NatsOptions {
    let config =
        NatsConfig { urls: vec![format!("nats://{address}")], login: NatsLogin::Anonymous, ca_file: None };
    NatsOptions { config, name: "muster-test".into() }
}

/// A nats-server of this test, killed with it.
struct Server {
    binary: PathBuf,
    address: SocketAddr,
    child: Child,
    folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Option<Server> {
        Server::start_with("").await
    }

    /// With this configuration.
    async fn start_with(config: &str) -> Option<Server> {
        let Some(binary) = find_server() else {
            eprintln!("SKIPPED: no nats-server; name one with MUSTER_NATS_SERVER");
            return None;
        };
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("nats.conf"), config).unwrap();
        let child = spawn(&binary, address, folder.path());
        let server = Server { binary, address, child, folder };
        server.until_ready().await;
        Some(server)
    }

    async fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.binary, self.address, self.folder.path());
        self.until_ready().await;
    }

    async fn until_ready(&self) {
        let ready = async {
            while TcpStream::connect(self.address).await.is_err() {
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

fn spawn(binary: &Path, address: SocketAddr, folder: &Path) -> Child {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let quiet = Command::new(binary)
        .args(["--addr", &host, "--port", &port])
        .arg("--config")
        .arg(folder.join("nats.conf"))
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
    let bus = NatsBus::connect(&options(address)).await.unwrap();
    let health = bus.health().borrow().clone();
    assert!(matches!(&health, BusHealth::Refused(why) if why.contains("old-nats")), "{health:?}");
    let refused = bus.subscribe("muster.>", "muster-nodes").await.err().expect("no group is joined there");
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
    server.child = spawn(&server.binary, server.address, server.folder.path());
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
    let mut joined = nodes[0].0.joined();
    timeout(TOO_LONG, joined.wait_for(|joined| !*joined)).await.expect("it must leave").unwrap();
    // The server heard of it before what is asked from here on: only the other one answers.
    let counts = || [0, 1].map(|node: usize| nodes[node].0.counters().tickets);
    hello(&client, &terminal).await;
    let before = counts();
    for _ in 0..40 {
        hello(&client, &terminal).await;
    }
    let now = counts();
    assert_eq!(now[0], before[0]);
    // A hello that is slow to be answered is sent again.
    assert!(now[1] >= before[1] + 40, "{before:?}, {now:?}");
}

/// A terminal's user, confined to its own subjects as deployments confine it.
const CONFINED: &str = r#"
authorization {
  users: [
    { user: node, password: node }
    { user: honest, password: honest, permissions: { publish: "muster.v1.eu.up.home-1.>", subscribe: ">" } }
    { user: hostile, password: hostile, permissions: { publish: "muster.v1.eu.up.hostile.>", subscribe: "nothing" } }
  ]
}
"#;

#[tokio::test]
async fn a_login_that_the_server_refuses_is_told_and_tried_until_it_is_taken() {
    let another = CONFINED.replace("password: node", "password: another");
    let Some(mut server) = Server::start_with(&another).await else { return };
    let login = NatsLogin::Password { user: "node".into(), password: Secret::new("node".into()) };
    let config = NatsConfig { urls: vec![format!("nats://{}", server.address)], login, ca_file: None };
    let bus = NatsBus::connect(&NatsOptions { config, name: "muster-test".into() }).await.unwrap();
    let health = bus.health().borrow().clone();
    assert!(matches!(&health, BusHealth::Refused(why) if why.contains("login")), "{health:?}");
    std::fs::write(server.folder.path().join("nats.conf"), CONFINED).unwrap();
    server.restart().await;
    until_health(&bus, BusHealth::Connected).await;
    // And back: one that ran is refused as one that starts is.
    std::fs::write(server.folder.path().join("nats.conf"), &another).unwrap();
    server.restart().await;
    let mut health = bus.health();
    let refused = health.wait_for(|health| matches!(health, BusHealth::Refused(_)));
    timeout(TOO_LONG, refused).await.expect("the refusal must be told").unwrap();
}

/// One way each to break a client's connection, all of which the server passes on.
fn what_a_hostile_terminal_writes(device: &str) -> Vec<Vec<u8>> {
    let up = |device: &[u8], kind: &str| {
        [b"muster.v1.eu.up.hostile.", device, format!(".{kind} _INBOX_x.1 ").as_bytes()].concat()
    };
    let with_headers = |headers: &[u8]| {
        let lengths = format!("{} {}\r\n", headers.len(), headers.len() + 2);
        [b"HPUB ", &up(device.as_bytes(), "hello")[..], lengths.as_bytes(), headers, b"hi\r\n"].concat()
    };
    let replying = |reply: &[u8]| {
        [b"PUB muster.v1.eu.up.hostile.", device.as_bytes(), b".hello ", reply, b" 2\r\nhi\r\n"].concat()
    };
    vec![
        [b"PUB ", &up(b"\xff\xfe", "hello")[..], b"2\r\nhi\r\n"].concat(),
        replying(b"_INBOX_\xff\xfe"),
        replying("_INBOX_x\u{a0}\u{2003}y".as_bytes()),
        with_headers(b"NATS/1.0\r\n\xff: a\r\n\r\n"),
        with_headers(b"NATS/1.0 twelve\r\n\r\n"),
        with_headers(b"NATS/1.0\r\nno colon\r\n\r\n"),
        with_headers("NATS/1.0\r\n\u{e9}\u{a0}: a\r\n\r\n".as_bytes()),
        with_headers(b"HTTP/1.1\r\nx: y\r\n\r\n"),
    ]
}

/// The client library gives a connection up that brings bytes which are no text, with all that waits in it. The server
/// passes them on, whatever it confines their sender to.
#[tokio::test]
async fn nothing_that_a_terminal_writes_costs_a_node_its_connection_and_all_is_charged_to_its_source() {
    let Some(server) = Server::start_with(CONFINED).await else { return };
    let mut world = World::new().await;
    let terminal = world.burn();
    let login = |name: &str| NatsLogin::Password { user: name.into(), password: Secret::new(name.into()) };
    let config =
        NatsConfig { urls: vec![format!("nats://{}", server.address)], login: login("node"), ca_file: None };
    let bus = NatsBus::connect(&NatsOptions { config, name: "muster-test".into() }).await.unwrap();
    let bus = Arc::new(bus);
    let mut health = bus.health();
    until_health(&bus, BusHealth::Connected).await;
    health.mark_unchanged();
    let fold = world.nodes[0].fold.clone();
    let (ingress, _serving) = world.start_ingress(bus.clone(), fold, limits());
    let honest = async_nats::ConnectOptions::with_user_and_password("honest".into(), "honest".into());
    let honest = honest.connect(server.address.to_string()).await.unwrap();
    hello(&honest, &terminal).await;
    let mut hostile = TcpStream::connect(server.address).await.unwrap();
    let connect = br#"CONNECT {"verbose":false,"headers":true,"user":"hostile","pass":"hostile"}"#;
    hostile.write_all(&[&connect[..], b"\r\nPING\r\n"].concat()).await.unwrap();
    let hostile_messages = what_a_hostile_terminal_writes(&terminal.name());
    let count = hostile_messages.len() as u64;
    for _ in 0..3 {
        for message in &hostile_messages {
            hostile.write_all(message).await.unwrap();
        }
        let oversized = format!("PUB muster.v1.eu.up.hostile.{}.hello 900000\r\n", terminal.id);
        let oversized = [oversized.as_bytes(), &vec![b'x'; 900_000], b"\r\n"].concat();
        hostile.write_all(&oversized).await.unwrap();
        hello(&honest, &terminal).await;
    }
    let charged = |fold: &projector::Projector| {
        let source = fold.source(&source_id("hostile"));
        source.map_or(0, |source| source.refused.values().sum::<u64>())
    };
    world.until(0, |fold| charged(fold) >= 3 * (count + 1)).await;
    assert!(!health.has_changed().unwrap(), "the connection was never lost");
    assert_eq!(*health.borrow(), BusHealth::Connected);
    assert_eq!(ingress.counters().received, ingress.counters().tickets + 3 * (count + 1));
}
