//! The operators' API over real TLS, in front of a cluster of one.

use crate::support::factory::Factory;
use crate::support::served::{TOKEN, served};
use events::ids::CodeBatchId;
use events::license::code::ActivationCode;
use events::vocabulary::license::Plan;
use events::vocabulary::shared::Legitimacy;
use nodes::api::shapes::{
    CodePage, DevicePage, Done, ImportReport, IssueCodes, LotList, Ordered, PlainCode, Refusal, RefusalCode,
    Role, Status, Story,
};
use nodes::entropy::{EntropyRng, OsEntropy};
use projector::view::BreakerView;
use reqwest::StatusCode;
use serde_json::json;
use zeroize::Zeroizing;

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_told() {
    let served = served().await;
    for token in [None, Some(""), Some("0123456789abcdef0123456789abcdeX"), Some("0")] {
        let mut request = served.http.get(format!("{}/v1/status", served.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.json::<Refusal>().await.unwrap().code, RefusalCode::Unauthorized);
    }
    let status: Status = served.get("/v1/status").await;
    assert_eq!(status.counters["api_unauthorized"], 4);
    served.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_who_leads_and_how_far_everybody_is() {
    let served = served().await;
    let status: Status = served.get("/v1/status").await;
    assert_eq!((status.role, status.leader, status.node), (Role::Leader, Some(1), 1));
    assert!(status.applied >= 2 && status.committed >= Some(2));
    assert_eq!(status.members.len(), 1);
    assert!(status.members[0].reachable && status.automation.running);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_22_an_imported_manifest_brings_lot_station_and_devices_and_may_be_imported_again() {
    let served = served().await;
    let factory = Factory::new();
    let manifest = factory.manifest(&served.members.keyring().public(), 1..=5);
    let report: ImportReport = served.done("/v1/manifests", &manifest).await;
    assert_eq!((report.imported, report.duplicate, report.refused.len()), (5, 0, 0));
    let again: ImportReport = served.done("/v1/manifests", &manifest).await;
    assert_eq!((again.imported, again.duplicate, again.refused.len()), (0, 5, 0));

    let lots: LotList = served.get("/v1/lots").await;
    assert_eq!((lots.lots[0].devices, lots.stations[0].used), (5, 5));
    let page: DevicePage = served.get("/v1/devices?limit=3").await;
    assert_eq!(page.devices.len(), 3);
    let next = page.next.clone().unwrap().0;
    let rest: DevicePage = served.get(&format!("/v1/devices?limit=3&after={next}")).await;
    assert_eq!((rest.devices.len(), rest.next), (2, None));
    assert_eq!(rest.devices[0].legitimacy, Legitimacy::Provisioned);
    let none: DevicePage = served.get("/v1/devices?legitimacy=revoked").await;
    assert!(none.devices.is_empty());
    let story: Story = served.get(&format!("/v1/devices/{}/story", page.devices[0].device)).await;
    assert!(!story.lines.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_another_factory_or_an_altered_one_changes_nothing() {
    let served = served().await;
    let public = served.members.keyring().public();
    let mut manifest = Factory::new().manifest(&public, 1..=2);
    manifest.factory_key = Factory::new().manifest(&public, 1..=2).factory_key.clone();
    let (status, refusal) = served.refused("/v1/manifests", &manifest).await;
    assert_eq!((status, refusal.code), (StatusCode::UNPROCESSABLE_ENTITY, RefusalCode::Malformed));
    assert!(refusal.message.contains("signature"), "{}", refusal.message);
    let page: DevicePage = served.get("/v1/devices").await;
    assert!(page.devices.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_issued_once_and_voided_and_never_told_back() {
    let served = served().await;
    let code = ActivationCode::generate(&mut EntropyRng(&OsEntropy));
    let plain = || PlainCode(Zeroizing::new(code.to_string()));
    let issue = IssueCodes {
        batch: CodeBatchId::from_bytes([1; 8]),
        plan: Plan { name: "basic".into(), entitlements: vec![], term_seconds: 0, lease_seconds: 3600 },
        reseller: "corner shop".into(),
        codes: vec![plain()],
    };
    let first: Done = served.done("/v1/codes", &issue).await;
    let second: Done = served.done("/v1/codes", &issue).await;
    assert!(!first.duplicate && second.duplicate);
    let list: CodePage = served.get("/v1/codes").await;
    assert_eq!((list.batches[0].issued, list.batches[0].void), (1, 0));
    let void = json!({ "code": code.to_string(), "reason": "lost in the post" });
    let _: Done = served.done("/v1/codes/void", &void).await;
    let list: CodePage = served.get("/v1/codes").await;
    assert_eq!(list.batches[0].void, 1);

    let typo = json!({ "code": "0000-typo", "reason": "x" });
    let (_, refusal) = served.refused("/v1/codes/void", &typo).await;
    assert!(!refusal.message.contains("typo"), "a code is never told back: {}", refusal.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_restricts_a_device_and_the_answer_names_the_order() {
    let served = served().await;
    let manifest = Factory::new().manifest(&served.members.keyring().public(), 1..=1);
    let _: ImportReport = served.done("/v1/manifests", &manifest).await;
    let page: DevicePage = served.get("/v1/devices").await;
    let path = format!("/v1/devices/{}/operations", page.devices[0].device);
    let order = json!({ "kind": "restrict", "by": "eve", "reason": "stolen" });
    let ordered: Ordered = served.done(&path, &order).await;
    assert!(ordered.index > 0);
    let page: DevicePage = served.get("/v1/devices?legitimacy=restricted").await;
    assert_eq!(page.devices.len(), 1);
    let (_, metrics) = served.asked(TOKEN, "/metrics").await;
    let counted = "\nmuster_operations_total{kind=\"restrict\",became=\"ordered\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_of_the_breaker_and_a_person_resets_it_once_per_key() {
    let served = served().await;
    let status: Status = served.get("/v1/status").await;
    let BreakerView { open, restricted, limit, .. } = status.breaker;
    assert_eq!((open, restricted, limit), (false, 0, 10));
    let reset = json!({ "by": "ada", "reason": "looked at" });
    let done: Done = served.done("/v1/breaker/reset", &reset).await;
    assert!(!done.duplicate && done.index > status.applied);
    let (code, refusal) = served.refused("/v1/breaker/reset", &json!({ "by": "ada", "reason": "" })).await;
    assert_eq!((code, refusal.code), (StatusCode::UNPROCESSABLE_ENTITY, RefusalCode::Malformed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_is_refused_with_code_field_and_place() {
    let served = served().await;
    let unknown_field = json!({ "code": "x", "reason": "y", "colour": "blue" });
    let (status, refusal) = served.refused("/v1/codes/void", &unknown_field).await;
    assert_eq!((status, refusal.code), (StatusCode::UNPROCESSABLE_ENTITY, RefusalCode::Malformed));
    assert!(refusal.message.contains("unknown field `colour`") && refusal.message.contains("line 1"));

    let large = json!({ "code": "x".repeat(100_000), "reason": "y" });
    let (status, refusal) = served.refused("/v1/codes/void", &large).await;
    assert_eq!((status, refusal.code), (StatusCode::PAYLOAD_TOO_LARGE, RefusalCode::Oversized));

    for path in ["/v1/devices/dev_nope", "/v1/devices?limit=0", "/v1/devices?colour=blue"] {
        let response =
            served.http.get(format!("{}{path}", served.url)).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert_eq!(response.json::<Refusal>().await.unwrap().code, RefusalCode::Malformed);
    }
    let response =
        served.http.get(format!("{}/v1/nothing", served.url)).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(response.json::<Refusal>().await.unwrap().code, RefusalCode::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_alone_has_nobody_to_hand_over_to() {
    let served = served().await;
    let (status, refusal) = served.refused("/v1/leader/transfer", &json!({})).await;
    assert_eq!((status, refusal.code), (StatusCode::SERVICE_UNAVAILABLE, RefusalCode::Unavailable));
    let (_, refusal) = served.refused("/v1/leader/transfer", &json!({ "to": 9 })).await;
    assert_eq!(refusal.code, RefusalCode::NotFound);
}
