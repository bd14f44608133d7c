//! A source is what the NATS server enforces: these are the permissions that the development cluster gives out.

use async_nats::{Client, ConnectOptions, Event};
use futures::{FutureExt, StreamExt};
use ops::dev::nats::{NatsServer, Permissions, User, start};
use ops::dev::ports;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(10);

fn user(name: &str, may: Permissions) -> User {
    User { name: name.into(), password: format!("{name}-password"), may }
}

fn source(name: &str) -> User {
    user(name, Permissions::Source { source: name.into(), inbox: format!("_INBOX_dev_{name}.>") })
}

async fn server(dir: &std::path::Path) -> NatsServer {
    let users =
        [user("nodes", Permissions::Nodes), user("tap", Permissions::Tap), source("shop"), source("thief")];
    let address = ports::free(1).unwrap()[0];
    start(&tests::nats_server(), dir, address, "home", &users).await.unwrap()
}

/// A connection and what the server tells it about violations.
async fn connect(server: &NatsServer, name: &str) -> (Client, mpsc::UnboundedReceiver<String>) {
    let (say, said) = mpsc::unbounded_channel();
    let client = ConnectOptions::with_user_and_password(name.into(), format!("{name}-password"))
        .custom_inbox_prefix(format!("_INBOX_dev_{name}"))
        .event_callback(move |event| {
            let say = say.clone();
            async move {
                if let Event::ServerError(error) = event {
                    let _ = say.send(error.to_string());
                }
            }
        })
        .connect(server.url())
        .await
        .unwrap();
    (client, said)
}

async fn violation(said: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(PATIENCE, said.recv())
        .await
        .expect("the server refuses within seconds")
        .unwrap()
        .to_lowercase()
}

#[tokio::test]
async fn a_source_is_heard_under_its_own_name_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).await;
    let (nodes, _quiet) = connect(&server, "nodes").await;
    let mut heard = nodes.subscribe("muster.v1.home.up.>").await.unwrap();
    nodes.flush().await.unwrap();

    let (thief, mut said) = connect(&server, "thief").await;
    thief.publish("muster.v1.home.up.shop.dev_x.heartbeat", "forged".into()).await.unwrap();
    assert!(violation(&mut said).await.contains("publish"));
    thief.publish("muster.v1.home.up.thief.dev_x.heartbeat", "own".into()).await.unwrap();
    let message = tokio::time::timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
    assert_eq!(
        (message.subject.as_str(), &message.payload[..]),
        ("muster.v1.home.up.thief.dev_x.heartbeat", &b"own"[..])
    );
}

#[tokio::test]
async fn a_source_cannot_listen_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).await;
    for subject in ["muster.v1.home.up.>", "_INBOX_dev_shop.>", ">"] {
        let (thief, mut said) = connect(&server, "thief").await;
        let _listening = thief.subscribe(subject).await.unwrap();
        assert!(violation(&mut said).await.contains("subscription"), "{subject}");
    }
}

#[tokio::test]
async fn a_node_speaks_in_the_inboxes_of_sources_and_elsewhere_only_to_answer_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).await;
    let (nodes, mut said) = connect(&server, "nodes").await;
    let mut heard = nodes.queue_subscribe("muster.v1.home.up.>", "muster-nodes".into()).await.unwrap();
    nodes.flush().await.unwrap();

    let (shop, _quiet) = connect(&server, "shop").await;
    let subject = "muster.v1.home.up.shop.dev_shop.hello";
    let asking = tokio::spawn({
        let shop = shop.clone();
        async move { shop.request(subject, "hello".into()).await }
    });
    let request = tokio::time::timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
    let reply = request.reply.unwrap();
    assert!(reply.starts_with("_INBOX_dev_shop."), "{reply}");
    nodes.publish(reply, "ticket".into()).await.unwrap();
    assert_eq!(&asking.await.unwrap().unwrap().payload[..], b"ticket");

    // As one does that asks through another region's server: its inbox stands in no list here.
    shop.publish_with_reply(subject, "_INBOX_dev_far.1", "hello".into()).await.unwrap();
    let request = tokio::time::timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
    let reply = request.reply.unwrap();
    nodes.publish(reply.clone(), "ticket".into()).await.unwrap();
    nodes.publish(reply, "once more".into()).await.unwrap();
    let refused = violation(&mut said).await;
    assert!(refused.contains("publish") && refused.contains("_inbox_dev_far.1"), "{refused}");

    for unasked in ["_INBOX_dev_far.2", "muster.v1.home.up.shop.dev_shop.heartbeat", "$SYS.REQ.SERVER.PING"] {
        nodes.publish(unasked, "unasked".into()).await.unwrap();
        assert!(violation(&mut said).await.contains("publish"), "{unasked}");
    }
}

#[tokio::test]
async fn a_source_that_wants_more_than_a_terminal_needs_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).await;
    let (nodes, _quiet) = connect(&server, "nodes").await;
    let mut heard = nodes.subscribe("muster.v1.home.up.>").await.unwrap();
    nodes.flush().await.unwrap();
    let subject = "muster.v1.home.up.thief.dev_x.heartbeat";

    let (thief, mut said) = connect(&server, "thief").await;
    let mut listening = Vec::new();
    for number in 0..65 {
        listening.push(thief.subscribe(format!("_INBOX_dev_thief.{number}")).await.unwrap());
    }
    assert!(violation(&mut said).await.contains("maximum subscriptions"));

    // The client library would not send it: so it is written as an attacker does.
    let mut stream =
        tokio::net::TcpStream::connect(server.url().trim_start_matches("nats://")).await.unwrap();
    let connect = "CONNECT {\"verbose\":false,\"user\":\"thief\",\"pass\":\"thief-password\"}\r\n";
    // What is announced is enough.
    let message = format!("{connect}PUB {subject} 8193\r\n");
    stream.write_all(message.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    assert!(answer.to_lowercase().contains("maximum payload violation"), "{read:?} {answer}");
    nodes.flush().await.unwrap();
    assert!(heard.next().now_or_never().is_none(), "nothing of it reaches a node");
}

#[tokio::test]
async fn a_tap_hears_everything_and_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).await;
    let (tap, mut said) = connect(&server, "tap").await;
    let mut heard = tap.subscribe("muster.v1.home.up.>").await.unwrap();
    tap.flush().await.unwrap();
    let (shop, _quiet) = connect(&server, "shop").await;
    shop.publish("muster.v1.home.up.shop.dev_x.heartbeat", "sealed".into()).await.unwrap();
    assert_eq!(&tokio::time::timeout(PATIENCE, heard.next()).await.unwrap().unwrap().payload[..], b"sealed");
    tap.publish("muster.v1.home.up.shop.dev_x.heartbeat", "sealed".into()).await.unwrap();
    assert!(violation(&mut said).await.contains("publish"));
}
