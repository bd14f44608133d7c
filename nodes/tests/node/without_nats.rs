//! NATS may refuse a node for as long as it likes: terminals wait, and nobody else.

use crate::support::in_time;
use crate::support::members::lot_created;
use crate::support::served::TOKEN;
use crate::whole::{House, awaits_leader};
use nodes::config::{NatsConfig, NatsLogin, Secret};
use nodes::node::{Node, NodeDeps};
use projector::Outcome;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A NATS server as far as a login goes.
struct Doorkeeper {
    address: SocketAddr,
    password: watch::Sender<&'static str>,
}

impl Doorkeeper {
    async fn start(password: &'static str) -> Doorkeeper {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (password, taken) = watch::channel(password);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(receive(client, taken.clone()));
            }
        });
        Doorkeeper { address, password }
    }
}

async fn receive(mut client: TcpStream, password: watch::Receiver<&'static str>) -> std::io::Result<()> {
    let (said, mut answers) = client.split();
    let mut said = BufReader::new(said).lines();
    let info = r#"{"server_name":"door","version":"2.15.1","proto":1,"headers":true,"max_payload":65536}"#;
    answers.write_all(format!("INFO {info}\r\n").as_bytes()).await?;
    while let Some(line) = said.next_line().await? {
        if line.starts_with("CONNECT") && !line.contains(&format!(r#""pass":"{}""#, *password.borrow())) {
            return answers.write_all(b"-ERR 'Authorization Violation'\r\n").await;
        }
        if line.starts_with("PING") {
            answers.write_all(b"PONG\r\n").await?;
        }
    }
    Ok(())
}

async fn asked(house: &House, node: &Node, path: &str) -> (u16, String) {
    let url = format!("https://localhost:{}{path}", node.api_address().port());
    let answer = house.http().get(url).bearer_auth(TOKEN).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_password_nats_refuses_starts_votes_commits_and_heals_once_it_is_taken() {
    let door = Doorkeeper::start("another").await;
    let house = House::new(1);
    let mut config = house.config(1);
    let password = Secret::new("hunter2".to_owned());
    config.nats = NatsConfig {
        urls: vec![format!("nats://{}", door.address)],
        login: NatsLogin::Password { user: "nodes".to_owned(), password },
        ca_file: None,
    };
    let deps = in_time("word of NATS", NodeDeps::system(&config)).await.unwrap();
    let node = in_time("a start without NATS", Node::start(config, deps)).await.unwrap();
    assert_eq!(awaits_leader(&node).await, 1, "it votes");
    let mut serving = node.core().serving();
    in_time("readiness for operators", serving.wait_for(|serving| *serving)).await.unwrap();
    let lot = [lot_created(1)];
    let written = node.core().proposer().propose_events(&lot);
    assert_eq!(in_time("a commit", written).await.unwrap().events, [Outcome::Accepted]);
    assert_eq!(asked(&house, &node, "/health/api").await.0, 200);
    let (status, why) = asked(&house, &node, "/health/ready").await;
    assert!(status == 503 && why.contains("NO_BUS") && why.contains("login"), "{why}");
    assert!(!why.contains("hunter2"));
    let (_, metrics) = asked(&house, &node, "/metrics").await;
    assert!(metrics.contains("muster_nats_state{state=\"refused\"} 1"), "{metrics}");

    door.password.send_replace("hunter2");
    let heals = async {
        while asked(&house, &node, "/health/ready").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time("a login that is taken", heals).await;
    in_time("a stop", node.stop()).await.unwrap();
}
