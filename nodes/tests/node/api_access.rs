//! Who may do what: tokens by their digests, certificates by their names.

use crate::support::CLUSTER;
use crate::support::authority::Authority;
use crate::support::served::{TOKEN, client, served, token_of};
use nodes::api::shapes::{Refusal, RefusalCode};
use nodes::config::AccessRole;
use reqwest::StatusCode;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_its_own_work_and_is_told_who_may_do_the_rest() {
    let served = served().await;
    let url = |path: &str| format!("{}{path}", served.url);
    for (role, reads, operates, provisions, administers) in [
        (AccessRole::Viewer, true, false, false, false),
        (AccessRole::Operator, true, true, false, false),
        (AccessRole::Factory, false, false, true, false),
    ] {
        let token = token_of(role);
        let get = |path: &str| served.http.get(url(path)).bearer_auth(&token).send();
        assert_eq!(get("/v1/devices").await.unwrap().status().is_success(), reads, "{role}");
        assert_eq!(get("/v1/lots").await.unwrap().status(), StatusCode::OK, "{role}");
        let post = |path: &str| served.http.post(url(path)).bearer_auth(&token).json(&json!({})).send();
        // Who may is told what is malformed; who may not is told nothing of it.
        let refused_for_role = async |path: &str| {
            let response = post(path).await.unwrap();
            let refusal: Refusal = response.json().await.unwrap();
            refusal.code == RefusalCode::Forbidden
        };
        assert_eq!(refused_for_role("/v1/flags/fla_0000000000000/clear").await, !operates, "{role}");
        assert_eq!(refused_for_role("/v1/codes/void").await, !provisions, "{role}");
        assert_eq!(refused_for_role("/v1/leader/transfer").await, !administers, "{role}");
    }
    let token = token_of(AccessRole::Viewer);
    let refused = served.http.post(url("/v1/snapshot")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let refusal: Refusal = refused.json().await.unwrap();
    assert!(refusal.what_to_do.contains("admin"), "{}", refusal.what_to_do);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheme_of_a_token_is_told_in_letters_of_any_case_and_a_stranger_is_told_which_there_is() {
    let served = served().await;
    for (head, known) in [
        (format!("bearer {TOKEN}"), true),
        (format!("BEARER {TOKEN}"), true),
        (format!("Basic {TOKEN}"), false),
        (TOKEN.to_owned(), false),
    ] {
        let asked = served.http.get(format!("{}/v1/status", served.url)).header("Authorization", &head);
        let response = asked.send().await.unwrap();
        assert_eq!(response.status().is_success(), known, "{head}");
        let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap());
        assert_eq!(challenge, (!known).then_some("Bearer"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_names_its_role_or_stands_in_the_configuration() {
    let served = served().await;
    for (name, devices, orders) in [
        (format!("operator.kim.{CLUSTER}.muster"), StatusCode::OK, RefusalCode::Malformed),
        ("backoffice".to_owned(), StatusCode::OK, RefusalCode::Forbidden),
        (format!("factory.line-3.{CLUSTER}.muster"), StatusCode::FORBIDDEN, RefusalCode::Forbidden),
        // A node's certificate is no operator's, nor is that of another cluster's operator.
        (format!("node-1.{CLUSTER}.muster"), StatusCode::UNAUTHORIZED, RefusalCode::Unauthorized),
        ("operator.kim.clu_other.muster".to_owned(), StatusCode::UNAUTHORIZED, RefusalCode::Unauthorized),
    ] {
        let http = client(&served.authority, Some(&name));
        let response = http.get(format!("{}/v1/devices", served.url)).send().await.unwrap();
        assert_eq!(response.status(), devices, "{name}");
        let clear = format!("{}/v1/flags/fla_0000000000000/clear", served.url);
        let response = http.post(clear).json(&json!({ "colour": 1 })).send().await.unwrap();
        assert_eq!(response.json::<Refusal>().await.unwrap().code, orders, "{name}");
    }
    let stranger = Authority::new();
    let (certificate, key) = stranger.issue(vec![format!("admin.eve.{CLUSTER}.muster")]);
    let identity = reqwest::Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap();
    let root = reqwest::Certificate::from_pem(served.authority.certificate().as_bytes()).unwrap();
    let http = reqwest::Client::builder().tls_backend_rustls().tls_certs_only([root]).identity(identity);
    let refused = http.no_proxy().build().unwrap().get(format!("{}/v1/status", served.url)).send().await;
    assert!(refused.is_err(), "another authority's certificate ends the handshake");
}
