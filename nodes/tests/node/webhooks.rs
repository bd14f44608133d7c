//! What changed is told to other systems: in order, signed, at least once, by whoever leads; and nobody waits for them.

use crate::support::device::Device;
use crate::support::in_time;
use crate::support::listener::{Delivery, Listener, Mood, SECRET};
use crate::support::members::{Members, lot_created};
use crate::support::served::{TOKEN, served_under};
use data_encoding::BASE64;
use events::ids::{DeviceId, LogIndex, NodeId};
use events::vocabulary::OperationOrdered;
use events::vocabulary::operation::Cause;
use events::vocabulary::shared::OperationKind;
use hmac::{Hmac, KeyInit, Mac};
use nodes::api::shapes::Status;
use nodes::config::WebhookConfig;
use nodes::webhooks::event::EventKind;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

async fn propose(members: &Members, event: events::vocabulary::Event) -> LogIndex {
    let leader = members.leader().await;
    in_time("a commit", members.core(leader).proposer().propose_events(&[event])).await.unwrap().index
}

/// Lets people want that the device is looked at, once more.
async fn notify(members: &Members, device: DeviceId, reason: &str) -> LogIndex {
    let cause = Cause::Operator { name: "kim".to_owned(), reason: reason.to_owned() };
    let expires = events::time::Timestamp::ZERO;
    propose(members, OperationOrdered { kind: OperationKind::Notify, device, cause, expires }.into()).await
}

/// A device whose clone was found and restricted.
async fn a_clone(members: &Members) -> DeviceId {
    let device = Device::new();
    for event in device.life_of_a_clone() {
        propose(members, event).await;
    }
    device.id()
}

/// A device that is in order.
async fn a_terminal(members: &Members) -> DeviceId {
    let device = Device::new();
    for event in device.life() {
        propose(members, event).await;
    }
    device.id()
}

fn reasons(taken: &[Delivery]) -> Vec<String> {
    let notified = taken.iter().filter(|delivery| delivery.field("type") == "device.notified");
    notified.map(|delivery| delivery.event["data"]["reason"].as_str().unwrap().to_owned()).collect()
}

fn told(taken: &[Delivery], kind: &str) -> bool {
    taken.iter().any(|delivery| delivery.field("type") == kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_told_as_signed_cloud_events_in_the_order_of_the_log() {
    let listener = Listener::start(Mood::Takes).await;
    let members = Members::telling(1, vec![listener.webhook("pager", &[])]).await;
    let device = a_clone(&members).await;
    let taken = listener.until("the restriction", |taken| told(taken, "device.restricted")).await;
    let types: Vec<&str> = taken.iter().map(|delivery| delivery.field("type")).collect();
    let place =
        |kind: &str| types.iter().position(|of| *of == kind).unwrap_or_else(|| panic!("{kind}: {types:?}"));
    assert!(place("device.legitimate") < place("device.flagged"), "{types:?}");
    assert!(place("device.flagged") < place("operation.ordered"), "{types:?}");
    for delivery in &taken {
        assert_eq!(delivery.field("specversion"), "1.0");
        assert_eq!(delivery.field("source"), format!("urn:muster:{}", crate::support::CLUSTER));
        assert_eq!(delivery.headers["content-type"], "application/cloudevents+json");
        assert_eq!(delivery.headers["webhook-id"], delivery.field("id"));
        verify(delivery);
    }
    let flagged = &taken[place("device.flagged")];
    assert_eq!(flagged.field("subject"), device.to_string());
    assert_eq!(flagged.event["data"]["kind"], "clone");
    assert!(!flagged.event["data"]["evidence"].as_array().unwrap().is_empty());
    let ids: BTreeSet<&str> = taken.iter().map(|delivery| delivery.field("id")).collect();
    assert_eq!(ids.len(), taken.len(), "each once");
}

/// As a receiver verifies a delivery: HMAC over id, time and body.
fn verify(delivery: &Delivery) {
    let key = BASE64.decode(SECRET.trim_start_matches("whsec_").as_bytes()).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    let head = |name: &str| delivery.headers[name].to_str().unwrap();
    mac.update(format!("{}.{}.", head("webhook-id"), head("webhook-timestamp")).as_bytes());
    mac.update(&delivery.body);
    let expected = format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()));
    assert_eq!(head("webhook-signature"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_slows_neither_the_log_nor_another_receiver_and_misses_nothing() {
    let (dead, healthy) = (Listener::start(Mood::Hangs).await, Listener::start(Mood::Takes).await);
    let hooks =
        vec![dead.webhook("dead", &["device.notified"]), healthy.webhook("healthy", &["device.notified"])];
    let members = Members::telling(1, hooks).await;
    let device = a_terminal(&members).await;
    notify(&members, device, "0").await;
    dead.asked(1).await;
    let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for reason in &expected[1..] {
        notify(&members, device, reason).await;
    }
    let taken = healthy.until("all of them", |taken| taken.len() == expected.len()).await;
    assert_eq!(reasons(&taken), expected);
    assert!(dead.taken().is_empty(), "it hangs all the while");
    dead.mood.send_replace(Mood::Takes);
    let taken = dead.until("all of them, late", |taken| taken.len() == expected.len()).await;
    assert_eq!(reasons(&taken), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_leader_goes_on_where_the_last_one_was() {
    let listener = Listener::start(Mood::Takes).await;
    let mut members = Members::telling(3, vec![listener.webhook("pager", &["device.notified"])]).await;
    let device = a_terminal(&members).await;
    notify(&members, device, "a").await;
    let told = notify(&members, device, "b").await;
    listener.until("the first two", |taken| taken.len() == 2).await;
    for node in 1..=3 {
        kept(&members, node, told).await;
    }
    // From here on nothing gets through: what comes now waits for the next leader.
    listener.mood.send_replace(Mood::Answers(503));
    let last = notify(&members, device, "c").await;
    members.all_applied(last).await;
    let leader = members.leader().await;
    members.kill(leader).await;
    listener.mood.send_replace(Mood::Takes);
    notify(&members, device, "d").await;
    let taken =
        listener.until("the last two", |taken| reasons(taken).ends_with(&["c".into(), "d".into()])).await;
    let mut firsts = reasons(&taken);
    firsts.dedup();
    // At least once: what the dead leader had no time to tell of may come again, under its id.
    let ids: BTreeSet<&str> = taken.iter().map(|delivery| delivery.field("id")).collect();
    assert_eq!(ids.len(), 4, "{firsts:?}");
    assert_eq!(firsts[..2], ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_before_a_restart_is_not_delivered_again() {
    let listener = Listener::start(Mood::Takes).await;
    let mut members = Members::telling(1, vec![listener.webhook("pager", &["device.notified"])]).await;
    let device = a_terminal(&members).await;
    let last = notify(&members, device, "before").await;
    listener.until("the first", |taken| taken.len() == 1).await;
    kept(&members, 1, last).await;
    members.kill(1).await;
    members.open(1).await;
    notify(&members, device, "after").await;
    let taken = listener.until("the second", |taken| told_reason(taken, "after")).await;
    assert_eq!(reasons(&taken), ["before", "after"]);
}

/// Waits until a member's disk says that all up to `index` was delivered.
async fn kept(members: &Members, node: NodeId, index: LogIndex) {
    let file = members.data(node).join("webhooks.json");
    let cursor = || {
        let cursors =
            // The line after it proves it.
            serde_json::Deserializer::from_slice(&std::fs::read(&file).ok()?)
                .into_iter::<BTreeMap<String, LogIndex>>()
                .next()?
                .ok()?;
        cursors.get("pager").copied()
    };
    in_time(&format!("the cursor on the disk of node {node}"), async {
        while cursor() < Some(index) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

fn told_reason(taken: &[Delivery], reason: &str) -> bool {
    reasons(taken).iter().any(|told| told == reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_receiver_refuses_for_good_is_passed_over_and_what_fails_is_tried_again() {
    let listener = Listener::start(Mood::Answers(422)).await;
    let members = Members::telling(1, vec![listener.webhook("pager", &["device.notified"])]).await;
    let device = a_terminal(&members).await;
    notify(&members, device, "refused").await;
    let reading = || (members.core(1).webhook_readings())().remove(0);
    in_time("the refusal", async {
        while reading().refused == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    listener.mood.send_replace(Mood::Answers(500));
    notify(&members, device, "tried again").await;
    listener.asked(3).await;
    listener.mood.send_replace(Mood::Takes);
    let taken = listener.until("the second", |taken| !taken.is_empty()).await;
    assert_eq!(reasons(&taken), ["tried again"]);
    let reading = reading();
    assert_eq!((reading.refused, reading.gaps), (1, 0));
    assert!(reading.failed >= 1, "{reading:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_what_it_asked_for_and_nothing_from_before_it_was_there() {
    let listener = Listener::start(Mood::Takes).await;
    let mut members = Members::start(1).await;
    let device = a_terminal(&members).await;
    members.kill(1).await;
    members.tell(vec![listener.webhook("late", &["device.*"])]);
    members.open(1).await;
    notify(&members, device, "now").await;
    propose(&members, lot_created(7)).await;
    notify(&members, device, "and now").await;
    let taken = listener.until("both", |taken| taken.len() >= 2).await;
    assert_eq!(reasons(&taken), ["now", "and now"]);
    assert_eq!(listener.types(), ["device.notified", "device.notified"], "orders were not asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_whom_it_would_tell_so_that_one_that_would_tell_others_is_found() {
    let listener = Listener::start(Mood::Takes).await;
    let said = async |hooks: Vec<WebhookConfig>| {
        let served = served_under(1, |config| config.webhooks = hooks).await;
        let status: Status = served.get("/v1/status").await;
        let digest = status.webhook_receivers.unwrap();
        let (_, metrics) = served.asked(TOKEN, "/metrics").await;
        assert!(metrics.contains(&format!("\nmuster_webhook_receivers_digest {digest}\n")), "{metrics}");
        digest
    };
    let pager = said(vec![listener.webhook("pager", &[])]).await;
    assert_eq!(said(vec![listener.webhook("pager", &[])]).await, pager);
    assert_ne!(said(vec![listener.webhook("siem", &[])]).await, pager);
    assert_eq!(said(vec![]).await, 0);
}

/// (name, …) of each row of the guide.
#[test]
fn the_guide_names_every_event_and_no_other() {
    let rows = include_str!("../../WEBHOOKS.md").lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: Vec<&str> =
        rows.filter_map(|row| row.split('`').next()).filter(|name| name.contains('.')).collect();
    let mut known: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    known.extend([nodes::webhooks::event::GAP, nodes::webhooks::event::TEST]);
    assert_eq!(documented, known);
}
