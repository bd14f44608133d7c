//! Every operation of the document, asked by each role and by nobody.

use crate::support::served::{TOKEN, served, token_of};
use nodes::config::{AccessRole, Right};
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// What an operation needs; none is for those that are open to all.
fn needed(method: &str, path: &str) -> Option<Right> {
    Some(match (method, path) {
        ("get", "/health/live" | "/health/api" | "/health/ready") => return None,
        ("get", "/metrics" | "/v1/status" | "/v1/openapi.json" | "/v1/lots" | "/v1/codes") => Right::Look,
        ("get", "/v1/keys") => Right::Administer,
        ("post", "/v1/leader/transfer" | "/v1/snapshot") => Right::Administer,
        (
            "post",
            "/v1/lots"
            | "/v1/stations"
            | "/v1/stations/{id}/revoke"
            | "/v1/manifests"
            | "/v1/codes"
            | "/v1/codes/void",
        ) => Right::Provision,
        (
            "post",
            "/v1/devices/{id}/operations"
            | "/v1/flags/{id}/clear"
            | "/v1/breaker/reset"
            | "/v1/licenses/{id}/transfer"
            | "/v1/licenses/{id}/renew"
            | "/v1/licenses/{id}/suspend"
            | "/v1/licenses/{id}/resume"
            | "/v1/licenses/{id}/reissue"
            | "/v1/updates"
            | "/v1/updates/{id}/pause"
            | "/v1/updates/{id}/resume"
            | "/v1/updates/{id}/abort"
            | "/v1/checkpoints",
        ) => Right::Operate,
        (
            "get",
            "/v1/devices"
            | "/v1/devices/{id}"
            | "/v1/devices/{id}/story"
            | "/v1/flags"
            | "/v1/operations"
            | "/v1/licenses"
            | "/v1/licenses/{id}"
            | "/v1/sources"
            | "/v1/updates"
            | "/v1/updates/{id}"
            | "/v1/checkpoints"
            | "/v1/proofs"
            | "/v1/events",
        ) => Right::Read,
        other => panic!("{other:?} is new: say here what right it needs"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_of_the_document_is_refused_to_every_role_without_its_right_and_to_strangers() {
    let served = served().await;
    let document: Value = served.get("/v1/openapi.json").await;
    let status = async |method: &str, path: &str, token: Option<&str>| {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let url = format!("{}{}", served.url, path.replace("{id}", "nobody"));
        let request = served.http.request(method, url).header("content-length", "0");
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        // A watcher's answer has no end: its head is enough.
        request.send().await.unwrap().status()
    };
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let needed = needed(method, path);
            for stranger in [None, Some("0123456789abcdef0123456789abcdeX")] {
                let refused = status(method, path, stranger).await == StatusCode::UNAUTHORIZED;
                assert_eq!(refused, needed.is_some(), "{method} {path}: {stranger:?}");
            }
            for role in AccessRole::ALL {
                let token = if role == AccessRole::Admin { TOKEN.to_owned() } else { token_of(role) };
                let refused = status(method, path, Some(&token)).await == StatusCode::FORBIDDEN;
                let may = needed.is_none_or(|right| role.may(right));
                assert_eq!(refused, !may, "{method} {path}: {role}");
            }
            asked += 1;
        }
    }
    assert!(asked >= 40, "{asked} operations");
}

/// A head that is listed and not looked at would let somebody believe in it.
#[tokio::test(flavor = "multi_thread")]
async fn every_write_lists_the_key_that_makes_it_happen_once_or_may_be_repeated_as_it_is() {
    const REPEATED_AS_IT_IS: [&str; 5] =
        ["/v1/codes", "/v1/manifests", "/v1/checkpoints", "/v1/leader/transfer", "/v1/snapshot"];
    let served = served().await;
    let document: Value = served.get("/v1/openapi.json").await;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let Some(write) = methods.get("post") else { continue };
        let heads = write["parameters"].as_array().into_iter().flatten();
        let listed = heads.filter(|head| head["name"] == "Idempotency-Key").count();
        assert_eq!(listed, usize::from(!REPEATED_AS_IT_IS.contains(&path.as_str())), "{path}");
    }
}
