//! Slow and greedy clients are bounded, and what is committed does not wait for them.

use crate::support::in_time;
use crate::support::members::lot_created;
use crate::support::served::{TOKEN, served_with, token_of};
use nodes::api::shapes::{Refusal, RefusalCode, Status};
use nodes::config::AccessRole;
use reqwest::StatusCode;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends a request's head, promises a body that never comes, and reads what is answered.
async fn promise_a_body(url: String, authority: String) -> String {
    loop {
        let answer = promise_once(&url, &authority).await;
        // Somebody else had the place just then.
        if !answer.starts_with("HTTP/1.1 429") {
            return answer;
        }
    }
}

async fn promise_once(url: &str, authority: &str) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let address = url.strip_prefix("https://").unwrap().replace("localhost", "127.0.0.1");
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.unwrap();
    let head = format!(
        "POST /v1/codes/void HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\
         content-length: 10\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The node may end the connection without the word that TLS asks for.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_ends_its_body_is_timed_out_and_commits_go_on_meanwhile() {
    let served = served_with(|api| {
        api.limits.requests = 1;
        api.limits.request_ms_max = 1_000;
    })
    .await;
    let slow = tokio::spawn(promise_a_body(served.url.clone(), served.authority.certificate().to_owned()));
    // The only place is taken by the slow one, sooner or later.
    let busy = in_time("the place to be taken", async {
        loop {
            let ask = served.http.get(format!("{}/v1/status", served.url)).bearer_auth(TOKEN);
            let response = ask.send().await.unwrap();
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                break response.json::<Refusal>().await.unwrap();
            }
        }
    })
    .await;
    assert_eq!(busy.code, RefusalCode::Busy);
    let proposer = served.members.core(1).proposer();
    let lot = [lot_created(7)];
    let committed = tokio::time::timeout(Duration::from_secs(5), proposer.propose_events(&lot));
    committed.await.expect("commits do not wait for a slow client").unwrap();
    let answer = slow.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("TIMED_OUT"), "{answer}");
    let status: Status = served.get("/v1/status").await;
    assert_eq!(status.counters["api_timed_out"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_noisy_token_fills_its_share_is_told_what_to_do_and_starves_nobody() {
    let served = served_with(|api| api.limits.requests = 8).await;
    let promise =
        || tokio::spawn(promise_a_body(served.url.clone(), served.authority.certificate().to_owned()));
    let _noisy = [promise(), promise()];
    let ask = async |token: &str| {
        let ask = served.http.get(format!("{}/v1/status", served.url)).bearer_auth(token);
        ask.send().await.unwrap()
    };
    // Its two places of eight are taken by the slow ones, sooner or later.
    let refused = in_time("the share to be taken", async {
        loop {
            let response = ask(TOKEN).await;
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                break response;
            }
        }
    })
    .await;
    assert_eq!(refused.headers()["retry-after"], "1");
    let refusal = refused.json::<Refusal>().await.unwrap();
    assert_eq!(refusal.code, RefusalCode::ShareTaken);
    assert!(
        refusal.message.contains('2') && refusal.what_to_do.contains("wait for their answers"),
        "{refusal:?}"
    );
    for _ in 0..8 {
        let status = ask(&token_of(AccessRole::Viewer)).await;
        assert_eq!(status.status(), StatusCode::OK, "another caller is served");
    }
    let status: Status = ask(&token_of(AccessRole::Viewer)).await.json().await.unwrap();
    assert!(status.counters["api_share_taken"] >= 1 && status.counters["api_busy"] == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_connect_and_say_nothing_hold_no_more_places_than_there_are_and_lock_nobody_out() {
    let served = served_with(|api| api.limits.connections = 16).await;
    let address = served.url.strip_prefix("https://").unwrap().replace("localhost", "127.0.0.1");
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(TcpStream::connect(&address).await.unwrap());
    }
    let status: Status = served.get("/v1/status").await;
    assert_eq!(status.counters["api_requests"], 1);
    // One address has half of the places, and the operator has one of them.
    let mut closed = 0;
    in_time("the others to be let go", async {
        for stranger in &mut strangers[..192] {
            closed += usize::from(matches!(stranger.read(&mut [0]).await, Ok(0) | Err(_)));
        }
    })
    .await;
    assert_eq!(closed, 192);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_who_watches() {
    let served = served_with(|_| {}).await;
    let mut live =
        served.http.get(format!("{}/v1/events", served.url)).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(live.status(), StatusCode::OK);
    let ended = tokio::spawn(async move { while let Ok(Some(_)) = live.chunk().await {} });
    let server = served.server;
    tokio::time::timeout(Duration::from_secs(4), server.stop()).await.expect("the drain is not used up");
    ended.await.unwrap();
}
