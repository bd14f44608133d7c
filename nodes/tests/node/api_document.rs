//! The OpenAPI document tells the truth: every real answer is one that it describes, and every path of it is served.

use crate::support::device::Device;
use crate::support::factory::Factory;
use crate::support::served::{Served, TOKEN, served};
use nodes::api::shapes::{DevicePage, ImportReport, LicensePage};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn document(served: &Served) -> Value {
    served.get("/v1/openapi.json").await
}

/// The schema of an answer, with everything that it refers to.
fn schema(document: &Value, path: &str, method: &str, status: u16) -> Value {
    let responses = &document["paths"][path][method]["responses"];
    let response = match responses.get(status.to_string()) {
        Some(response) => response,
        None => &responses["default"],
    };
    let content = response["content"].as_object().unwrap_or_else(|| panic!("{method} {path}: {status}"));
    let schema = &content.values().next().unwrap()["schema"];
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    whole
}

/// Asks, and holds the answer against its schema.
async fn check(
    served: &Served,
    document: &Value,
    method: Method,
    path: &str,
    url: &str,
    body: Value,
) -> Value {
    let request = served.http.request(method.clone(), format!("{}{url}", served.url)).bearer_auth(TOKEN);
    let response = if method == Method::GET { request } else { request.json(&body) }.send().await.unwrap();
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    let schema = schema(document, path, &method.as_str().to_lowercase(), status);
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(
        errors.is_empty(),
        "{method} {url} answered {status}, which the document does not describe:\n{}\n{answer}",
        errors.join("\n")
    );
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_one_that_the_document_describes() {
    let served = served().await;
    let document = document(&served).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let device = Device::new();
    served.members.core(1).proposer().propose_events(&device.life_of_a_clone()).await.unwrap();
    let manifest = Factory::new().manifest(&served.members.keyring().public(), 1..=3);
    let manifest = serde_json::to_value(&manifest).unwrap();
    let get =
        async |path: &str, url: &str| check(&served, &document, Method::GET, path, url, Value::Null).await;
    let post = async |path: &str, url: &str, body: Value| {
        check(&served, &document, Method::POST, path, url, body).await
    };

    let report = post("/v1/manifests", "/v1/manifests", manifest).await;
    assert_eq!(serde_json::from_value::<ImportReport>(report).unwrap().imported, 3);
    let licenses: LicensePage = served.get("/v1/licenses").await;
    let (license, id) = (licenses.licenses[0].license, device.id());
    let page: DevicePage = served.get("/v1/devices").await;
    let spare = page.devices.iter().find(|found| found.device != id).unwrap().device;

    let suspend = json!({ "reason": "chargeback" });
    for verb in ["suspend", "resume"] {
        let path = format!("/v1/licenses/{{id}}/{verb}");
        post(&path, &format!("/v1/licenses/{license}/{verb}"), suspend.clone()).await;
    }
    let transfer = json!({ "from": id, "to": spare, "reason": "broken board" });
    post("/v1/licenses/{id}/transfer", &format!("/v1/licenses/{license}/transfer"), transfer).await;
    let renew = json!({ "expires": 0, "reason": "paid" });
    post("/v1/licenses/{id}/renew", &format!("/v1/licenses/{license}/renew"), renew).await;
    let code = events::license::code::ActivationCode::generate(&mut nodes::entropy::EntropyRng(
        &nodes::entropy::OsEntropy,
    ));
    let reissue = json!({ "code": code.to_string(), "reason": "lost its state" });
    post("/v1/licenses/{id}/reissue", &format!("/v1/licenses/{license}/reissue"), reissue).await;
    let order = json!({ "kind": "restrict", "by": "kim", "reason": "stolen" });
    post("/v1/devices/{id}/operations", &format!("/v1/devices/{spare}/operations"), order).await;
    post("/v1/codes/void", "/v1/codes/void", json!({ "code": "typo", "reason": "x" })).await;
    post("/v1/leader/transfer", "/v1/leader/transfer", json!({})).await;
    post("/v1/snapshot", "/v1/snapshot", json!({})).await;
    post("/v1/checkpoints", "/v1/checkpoints", json!({})).await;
    for query in ["?index=0", "?since=1", "?index=none"] {
        get("/v1/proofs", &format!("/v1/proofs{query}")).await;
    }

    for path in [
        "/v1/status",
        "/v1/devices",
        "/v1/flags",
        "/v1/operations",
        "/v1/licenses",
        "/v1/lots",
        "/v1/sources",
        "/v1/codes",
        "/v1/checkpoints",
        "/v1/keys",
        "/health/api",
        "/health/live",
        "/health/ready",
    ] {
        get(path, path).await;
    }
    get("/v1/devices/{id}", &format!("/v1/devices/{id}")).await;
    get("/v1/devices/{id}/story", &format!("/v1/devices/{id}/story")).await;
    get("/v1/licenses/{id}", &format!("/v1/licenses/{license}")).await;
    get("/v1/devices/{id}", "/v1/devices/dev_nope").await;
    get("/v1/devices", "/v1/devices?limit=0").await;
    let flags = served.get::<Value>("/v1/flags").await;
    if let Some(flag) = flags["flags"][0]["id"].as_str() {
        let clear = json!({ "by": "kim", "reason": "proof of purchase" });
        post("/v1/flags/{id}/clear", &format!("/v1/flags/{flag}/clear"), clear).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_of_the_document_is_served_with_its_method_and_no_other() {
    let served = served().await;
    let document = document(&served).await;
    let paths = document["paths"].as_object().unwrap();
    let expected: BTreeSet<&str> = [
        "/health/api",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/v1/codes",
        "/v1/codes/void",
        "/v1/devices",
        "/v1/devices/{id}",
        "/v1/devices/{id}/operations",
        "/v1/devices/{id}/story",
        "/v1/events",
        "/v1/flags",
        "/v1/flags/{id}/clear",
        "/v1/leader/transfer",
        "/v1/licenses",
        "/v1/licenses/{id}",
        "/v1/licenses/{id}/reissue",
        "/v1/licenses/{id}/renew",
        "/v1/licenses/{id}/resume",
        "/v1/licenses/{id}/suspend",
        "/v1/licenses/{id}/transfer",
        "/v1/lots",
        "/v1/manifests",
        "/v1/openapi.json",
        "/v1/operations",
        "/v1/snapshot",
        "/v1/sources",
        "/v1/stations",
        "/v1/stations/{id}/revoke",
        "/v1/status",
    ]
    .into();
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    assert!(described.is_superset(&expected), "{:?} are not described", expected.difference(&described));
    for (path, methods) in paths {
        let url = format!("{}{}", served.url, path.replace("{id}", "nobody"));
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let described = methods.get(method.as_str().to_lowercase()).is_some();
            // A stranger is sent away before a handler does anything, and after the path was found.
            let asked =
                served.http.request(method.clone(), &url).bearer_auth(TOKEN).header("content-length", "0");
            let status = asked.send().await.unwrap().status().as_u16();
            assert_eq!(status != 405 && status != 404, described, "{method} {path}: {status}");
        }
    }
}
