//! `muster webhook test` against a receiver over HTTPS, as a person tries it before trusting a pager to it.

use crate::support::{Ran, muster};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum_server::tls_rustls::RustlsConfig;
use data_encoding::BASE64;
use events::ids::ClusterId;
use hmac::{Hmac, KeyInit, Mac};
use ops::cluster::certificates::Authority;
use sha2::Sha256;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;

type Delivery = (HeaderMap, Bytes);

/// A receiver with a certificate of its own authority, and the folder of a cluster on paper that tells it.
struct Pager {
    dir: TempDir,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
}

impl Pager {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cluster = ClusterId::from_bytes([7; 16]);
        let authority = Authority::generate(cluster, 2026).unwrap();
        let server = authority.certify_node(cluster, 1, "127.0.0.1").unwrap();
        let stranger = Authority::generate(cluster, 2026).unwrap();
        std::fs::write(dir.path().join("ca.pem"), &authority.own().certificate).unwrap();
        std::fs::write(dir.path().join("stranger.pem"), &stranger.own().certificate).unwrap();
        ops::tls::install_provider();
        let tls = RustlsConfig::from_pem(server.certificate.into_bytes(), server.key.as_bytes().to_vec());
        let tls = tls.await.unwrap();
        let (sender, deliveries) = mpsc::unbounded_channel();
        let app = Router::new().route("/muster", post(hear)).with_state(sender);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let port = socket.local_addr().unwrap().port();
        let serving = axum_server::from_tcp_rustls(socket, tls).unwrap().serve(app.into_make_service());
        tokio::spawn(serving);

        let laid_out =
            muster(dir.path(), &["cluster", "init", "--dir", "c", "--nats", "nats://127.0.0.1:4222"]);
        assert_eq!(laid_out.code, 0, "{}", laid_out.stderr);
        let secret = muster(dir.path(), &["webhook", "secret", "--out", "c/nodes/1/pager.secret"]);
        assert_eq!(secret.code, 0, "{}", secret.stderr);
        let told = format!(
            "\n[[webhooks]]\nname = \"pager\"\nurl = \"https://127.0.0.1:{port}/muster\"\nsecret_file = \
             \"pager.secret\"\nca_file = \"../../../ca.pem\"\n"
        );
        let pager = Pager { dir, deliveries };
        pager.write(&(pager.read() + &told));
        pager
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("c/nodes/1/node.toml")
    }

    fn read(&self) -> String {
        std::fs::read_to_string(self.config()).unwrap()
    }

    fn write(&self, config: &str) {
        std::fs::write(self.config(), config).unwrap();
    }

    fn secret(&self) -> String {
        std::fs::read_to_string(self.config().with_file_name("pager.secret")).unwrap()
    }

    /// `muster webhook test`, while the receiver serves on this runtime.
    async fn test(&self) -> Ran {
        let dir: PathBuf = self.dir.path().to_owned();
        let config = self.config();
        let run = move |dir: &Path| {
            muster(dir, &["webhook", "test", "--config", config.to_str().unwrap(), "--json"])
        };
        tokio::task::spawn_blocking(move || run(&dir)).await.unwrap()
    }
}

/// As Standard Webhooks has it, and as a receiver computes it.
fn signature(secret: &str, signed: &[u8]) -> String {
    let key = BASE64.decode(secret.trim().strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(signed);
    format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
}

async fn hear(
    State(taken): State<mpsc::UnboundedSender<Delivery>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    taken.send((headers, body)).unwrap();
    StatusCode::NO_CONTENT
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_over_https_gets_a_signed_event_if_the_configured_authority_signed_its_certificate() {
    let mut pager = Pager::start().await;
    let ran = pager.test().await;
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&said[0]["webhook"], &said[0]["taken"]), (&"pager".into(), &true.into()));
    let came = tokio::time::timeout(Duration::from_secs(10), pager.deliveries.recv()).await;
    let (headers, body) = came.unwrap().unwrap();
    let head = |name: &str| headers[name].to_str().unwrap().to_owned();
    let signed =
        [format!("{}.{}.", head("webhook-id"), head("webhook-timestamp")).as_bytes(), &body].concat();
    assert_eq!(head("webhook-signature"), signature(&pager.secret(), &signed));
    let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (event["type"].as_str(), event["id"].as_str()),
        (Some("webhook.test"), Some(&*head("webhook-id")))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_whose_certificate_somebody_else_signed_is_told_nothing_and_the_answer_says_what_to_do() {
    let mut pager = Pager::start().await;
    let good = pager.read();
    for other in ["ca_file = \"../../../stranger.pem\"\n", ""] {
        pager.write(&good.replacen("ca_file = \"../../../ca.pem\"\n", other, 1));
        let ran = pager.test().await;
        assert_eq!(ran.code, 5, "{other}: {}{}", ran.stdout, ran.stderr);
        let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let answer = said[0]["answer"].as_str().unwrap();
        assert!(answer.contains("certificate") && answer.contains("`ca_file`"), "{other}: {answer}");
        assert!(!answer.contains("/muster"), "a token may be part of the URL: {answer}");
    }
    assert!(pager.deliveries.try_recv().is_err());
    pager.write(&good.replacen("../../../ca.pem", "not-there.pem", 1));
    let ran = pager.test().await;
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains("webhooks.ca_file") && ran.stdout.contains("not-there.pem"),
        "{}",
        ran.stdout
    );
}
