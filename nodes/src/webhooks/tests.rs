//! What was pushed out before it could be delivered is told as a gap.

use super::counters::WebhookCounters;
use super::courier::Courier;
use super::*;
use crate::clock::SystemClock;
use crate::config::Secret;
use crate::entropy::OsEntropy;
use crate::storage::disk::OsDisk;
use events::ids::DeviceId;
use events::time::Timestamp;
use events::vocabulary::shared::Legitimacy;
use projector::{Change, Projector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn change() -> Change {
    let device = DeviceId::from_bytes([1; 16]);
    Change::Legitimacy { device, from: Legitimacy::Provisioned, to: Legitimacy::Legitimate }
}

/// Takes one request and returns its text.
async fn take_one(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        assert!(stream.read_buf(&mut text).await.unwrap() > 0);
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.unwrap();
    String::from_utf8(text).unwrap()
}

fn courier(url: String, projector: &SharedProjector, cursors: Arc<Cursors>) -> Courier {
    let hook = WebhookConfig {
        name: "pager".to_owned(),
        url: Secret::new(url),
        secret: SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
        events: vec!["device.restricted".to_owned()],
        ca_file: None,
        timeout_ms: 10_000,
    };
    Courier {
        cluster: ClusterId::from_bytes([7; 16]),
        receiver: Arc::new(Receiver::open(&hook).unwrap()),
        hook: Arc::new(hook),
        projector: projector.clone(),
        cursors,
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(OsEntropy),
        counters: Arc::new(WebhookCounters::new("pager")),
    }
}

#[tokio::test]
async fn what_was_pushed_out_undelivered_is_told_once_as_a_gap_and_delivery_goes_on_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let projector = SharedProjector::new(Projector::new());
    let cursors = Arc::new(Cursors::open(Arc::new(OsDisk), dir.path().join(CURSORS_FILE)).unwrap());
    let last = 2 * 8 * crate::feed::LIVE_KEPT as u64;
    (1..=last).for_each(|index| projector.feed().tell(index, Timestamp::ZERO, vec![change()]));
    cursors.begin("pager", 0);
    let courier = courier(url, &projector, cursors.clone());
    let counters = courier.counters.clone();
    let carrying = tokio::spawn(courier.run());
    let told = take_one(&listener).await;
    let from = last / 2 + 1;
    assert!(told.contains("webhook.gap") && told.contains(&format!("\"from\":{from}")), "{told}");
    let mut moved = cursors.moved();
    moved.wait_for(|at| at["pager"] == last).await.unwrap();
    assert_eq!(counters.read(0).gaps, 1);
    carrying.abort();
}

#[tokio::test]
async fn a_peers_higher_cursor_counts_a_lower_one_does_not_and_one_beyond_the_log_is_of_a_log_that_was_lost()
{
    let dir = tempfile::tempdir().unwrap();
    let open = || Cursors::open(Arc::new(OsDisk), dir.path().join(CURSORS_FILE)).unwrap();
    let cursors = open();
    assert_eq!(cursors.begin("pager", 40), 40, "a new one begins now");
    cursors.learn(&[("pager".to_owned(), 30), ("other".to_owned(), 7)].into());
    assert_eq!(cursors.begin("pager", 50), 40);
    cursors.learn(&[("pager".to_owned(), 45)].into());
    assert_eq!(cursors.begin("pager", 50), 45);
    assert_eq!(cursors.begin("other", 3), 3);
}
