//! Live changes as server-sent events.

use crate::support::factory::Factory;
use crate::support::in_time;
use crate::support::served::{Served, TOKEN, served, served_with};
use nodes::api::shapes::{DevicePage, ImportReport, Refusal, RefusalCode};
use reqwest::{Response, StatusCode};
use serde_json::json;

async fn watch(served: &Served, last: Option<&str>) -> Response {
    let mut request = served.http.get(format!("{}/v1/events", served.url)).bearer_auth(TOKEN);
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last);
    }
    request.send().await.unwrap()
}

/// Reads until what was read holds `what`.
async fn read_until(stream: &mut Response, what: &str) -> String {
    let mut text = String::new();
    in_time(what, async {
        while !text.contains(what) {
            let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    })
    .await;
    text
}

async fn restrict_one(served: &Served) {
    let manifest = Factory::new().manifest(&served.members.keyring().public(), 1..=1);
    let _: ImportReport = served.done("/v1/manifests", &manifest).await;
    let page: DevicePage = served.get("/v1/devices").await;
    let path = format!("/v1/devices/{}/operations", page.devices[0].device);
    let order = json!({ "kind": "restrict", "by": "kim", "reason": "stolen" });
    assert_eq!(served.post(&path, &order).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restriction_is_told_live_and_again_to_who_comes_back_with_an_older_index() {
    let served = served().await;
    let mut live = watch(&served, None).await;
    assert_eq!(live.headers()["content-type"], "text/event-stream");
    restrict_one(&served).await;
    let told = read_until(&mut live, "\"to\":\"restricted\"").await;
    assert!(told.contains("event: changes") && told.contains("id: "), "{told}");
    drop(live);
    let mut again = watch(&served, Some("0")).await;
    let told = read_until(&mut again, "\"to\":\"restricted\"").await;
    assert!(told.contains("operation_ordered"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_only_so_many_watchers_and_a_malformed_index_is_refused() {
    let served = served_with(|api| api.limits.watchers = 1).await;
    let refused = watch(&served, Some("soon")).await;
    assert_eq!(refused.json::<Refusal>().await.unwrap().code, RefusalCode::Malformed);
    let first = watch(&served, None).await;
    let second = watch(&served, None).await;
    assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(second.json::<Refusal>().await.unwrap().code, RefusalCode::Busy);
    drop(first);
}
