//! Health tells the truth, and metrics tell it in numbers.

use crate::support::authority::Authority;
use crate::support::in_time;
use crate::support::members::{config, lot_created, timers};
use crate::support::served::{Served, TOKEN, certify, client, served, served_among};
use nodes::api::EarlyHealth;
use nodes::api::shapes::{Live, Ready, Refusal, RefusalCode, WhyNotCode};
use nodes::bus::BusHealth;
use openraft::async_runtime::watch::WatchReceiver;
use reqwest::StatusCode;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leads_and_hears_nats_is_ready_and_without_nats_it_says_so() {
    let served = served().await;
    let mut serving = served.members.core(1).serving();
    in_time("serving", serving.wait_for(|serving| *serving)).await.unwrap();
    let ask = async |path: &str| {
        let response = served.http.get(format!("{}{path}", served.url)).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    };
    let (status, body) = ask("/health/ready").await;
    let ready: Ready = serde_json::from_str(&body).unwrap();
    assert_eq!((status, ready.ready, ready.leader), (StatusCode::OK, true, Some(1)), "{body}");

    served.bus.send_replace(BusHealth::Disconnected);
    let (status, body) = ask("/health/ready").await;
    let ready: Ready = serde_json::from_str(&body).unwrap();
    assert_eq!((status, ready.ready), (StatusCode::SERVICE_UNAVAILABLE, false));
    assert_eq!(ready.why_not.iter().map(|why| why.code).collect::<Vec<_>>(), [WhyNotCode::NoBus]);
    let (status, body) = ask("/health/live").await;
    assert_eq!((status, serde_json::from_str::<Live>(&body).unwrap().live), (StatusCode::OK, true));
    let (status, body) = ask("/health/api").await;
    let ready: Ready = serde_json::from_str(&body).unwrap();
    assert_eq!((status, ready.ready), (StatusCode::OK, true), "operators are served all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_in_the_queue_group_is_not_ready_although_it_serves_operators() {
    let served = served().await;
    let mut serving = served.members.core(1).serving();
    in_time("serving", serving.wait_for(|serving| *serving)).await.unwrap();
    served.joined.send_replace(false);
    let judged = ready(&served).await;
    assert_eq!(judged.why_not.iter().map(|why| why.code).collect::<Vec<_>>(), [WhyNotCode::NotJoined]);
    let api = served.http.get(format!("{}/health/api", served.url)).send().await.unwrap();
    assert_eq!(api.status(), StatusCode::OK);
    let metrics = served.http.get(format!("{}/metrics", served.url)).bearer_auth(TOKEN).send().await.unwrap();
    assert!(metrics.text().await.unwrap().contains("\nmuster_ingress_joined 0\n"));
    // Without NATS it cannot join: that says it all.
    served.bus.send_replace(BusHealth::Disconnected);
    let judged = ready(&served).await;
    assert_eq!(judged.why_not.iter().map(|why| why.code).collect::<Vec<_>>(), [WhyNotCode::NoBus]);
    served.bus.send_replace(BusHealth::Connected);
    served.joined.send_replace(true);
    assert!(ready(&served).await.ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_from_the_others_lives_and_is_not_ready_until_it_reaches_them_again() {
    let served = served_among(3, |_| {}).await;
    let mut serving = served.members.core(1).serving();
    in_time("serving", serving.wait_for(|serving| *serving)).await.unwrap();
    assert!(ready(&served).await.ready);

    served.members.board.cut_off(1);
    in_time("not serving", serving.wait_for(|serving| !*serving)).await.unwrap();
    let judged = ready(&served).await;
    let codes: Vec<_> = judged.why_not.iter().map(|why| why.code).collect();
    assert!(codes == [WhyNotCode::NoQuorum] || codes == [WhyNotCode::NoLeader], "{codes:?}");
    assert!(judged.why_not.iter().all(|why| !why.what_to_do.is_empty()));
    let api = served.http.get(format!("{}/health/api", served.url)).send().await.unwrap();
    assert_eq!(api.status(), StatusCode::SERVICE_UNAVAILABLE, "nothing can be committed here");
    let live = served.http.get(format!("{}/health/live", served.url)).send().await.unwrap();
    assert_eq!(live.status(), StatusCode::OK, "to start it again would not help");

    served.members.board.heal();
    in_time("serving again", serving.wait_for(|serving| *serving)).await.unwrap();
    assert!(ready(&served).await.ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hears_its_leader_but_lags_behind_says_by_how_much_until_it_caught_up() {
    let served = served_among(3, |api| api.limits.ready_lag_entries = 3).await;
    if served.members.leader().await == 1 {
        served.members.core(1).raft().trigger().transfer_leader(2).await.unwrap();
    }
    let mut led = served.members.core(1).raft().metrics();
    let elsewhere = led.wait_until(|metrics| metrics.current_leader.is_some_and(|leader| leader != 1));
    in_time("another leads", elsewhere).await.unwrap();
    served.members.board.withhold(1);
    let leader = served.members.leader().await;
    let mut committed = 0;
    for number in 1..=8 {
        let outcomes = served.members.core(leader).proposer().propose_events(&[lot_created(number)]).await;
        committed = outcomes.unwrap().index;
    }
    let mut reports = served.members.core(1).reports();
    let applied_elsewhere = reports.wait_for(|reports| {
        let mut statuses = reports.values().filter_map(|report| report.status.as_ref());
        statuses.any(|status| status.applied >= committed)
    });
    in_time("a report", applied_elsewhere).await.map(drop).unwrap();
    let judged = ready(&served).await;
    let codes: Vec<_> = judged.why_not.iter().map(|why| why.code).collect();
    assert_eq!(codes, [WhyNotCode::Lagging]);
    assert!(judged.lag_entries >= 8, "{judged:?}");

    served.members.board.heal();
    served.members.all_applied(committed).await;
    assert_eq!(ready(&served).await.why_not, []);
}

/// A repair may take hours: whoever ends what does not live must not end it.
#[tokio::test(flavor = "multi_thread")]
async fn before_its_log_is_open_a_node_says_that_it_lives_and_is_not_ready_and_then_the_api_takes_over() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let mut config = config(dir.path(), 1, 1, timers());
    certify(&mut config.api, &authority, dir.path());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let early = EarlyHealth::start(listener.try_clone().unwrap(), &config.api).unwrap();
    // A client of its own each time: one that keeps connections may use the one that is just being closed.
    let ask = async |path: &str| client(&authority, None).get(format!("{url}{path}")).send().await.unwrap();
    let live = ask("/health/live").await;
    assert_eq!((live.status(), live.json::<Live>().await.unwrap().live), (StatusCode::OK, true));
    let ready = ask("/health/ready").await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json::<Ready>().await.unwrap().why_not[0].code, WhyNotCode::Starting);
    assert_eq!(ask("/health/api").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let other = ask("/v1/status").await;
    assert_eq!(other.json::<Refusal>().await.unwrap().code, RefusalCode::Unavailable);
    early.stop().await;
    let again = EarlyHealth::start(listener, &config.api).unwrap();
    assert_eq!(ask("/health/live").await.status(), StatusCode::OK, "the socket went over");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_about_to_stop_sends_work_elsewhere_while_it_still_answers() {
    let served = served().await;
    let mut serving = served.members.core(1).serving();
    in_time("serving", serving.wait_for(|serving| *serving)).await.unwrap();
    assert!(ready(&served).await.ready);
    served.server.drain();
    let codes: Vec<_> = ready(&served).await.why_not.iter().map(|why| why.code).collect();
    assert_eq!(codes, [WhyNotCode::Draining]);
    let live = served.http.get(format!("{}/health/live", served.url)).send().await.unwrap();
    assert_eq!(live.status(), StatusCode::OK);
}

async fn ready(served: &Served) -> Ready {
    let response = served.http.get(format!("{}/health/ready", served.url)).send().await.unwrap();
    let (status, ready) = (response.status(), response.json::<Ready>().await.unwrap());
    let expected = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    assert_eq!(status, expected);
    ready
}

/// Names of metrics in the text, without what a type adds to them.
fn families(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).map(ToOwned::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_open_metrics_text_with_every_name_documented_and_no_device_named() {
    let served = served().await;
    served.members.core(1).proposer().propose_events(&[lot_created(1)]).await.unwrap();
    let response =
        served.http.get(format!("{}/metrics", served.url)).bearer_auth(TOKEN).send().await.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    let text = response.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("\nmuster_raft_leads 1\n") && text.contains("\nmuster_node_ready "), "{text}");
    assert!(!text.contains("dev_") && !text.contains("lic_"), "{text}");
    let document = include_str!("../../METRICS.md");
    let served_names = families(&text);
    for name in &served_names {
        assert!(document.contains(&format!("`{name}`")), "METRICS.md lacks {name}");
    }
    for name in [
        "muster_disk_fsync_seconds",
        "muster_fold_apply_seconds",
        "muster_disk_free_bytes",
        "muster_ingress_queued_heartbeats",
        "muster_log_missing_entries",
    ] {
        assert!(served_names.contains(name), "{name} is not served:\n{text}");
    }
}
