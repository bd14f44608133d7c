//! Long lists: what they ask for comes to the node as it was typed, and what the node answers is said as it comes.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use axum_server::tls_rustls::RustlsConfig;
use events::ids::{ClusterId, CodeBatchId, DeviceId, LicenseId};
use events::time::Timestamp;
use ops::cluster::certificates::Authority;
use ops::context::Context;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::{mpsc, watch};

type Asked = BTreeMap<String, String>;

/// A node that answers two pages of one license each, the second once it may.
struct Node {
    dir: TempDir,
    asked: mpsc::UnboundedReceiver<Asked>,
    goes_on: watch::Sender<bool>,
}

fn license(number: u8) -> Value {
    json!({
        "license": LicenseId::from_bytes([number; 16]),
        "device": DeviceId::from_bytes([number; 16]),
        "state": "active",
        "plan": { "name": "basic", "entitlements": [], "term_seconds": 0, "lease_seconds": 60 },
        "reseller": "A&B",
        "batch": CodeBatchId::from_bytes([number; 8]),
        "created": 7,
        "created_at": Timestamp::ZERO,
        "expires": Timestamp::ZERO,
        "leases": 0,
        "moves": [],
    })
}

async fn licenses(
    State((asked, goes_on)): State<(mpsc::UnboundedSender<Asked>, watch::Receiver<bool>)>,
    Query(query): Query<Asked>,
) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    let is_second = query.contains_key("after");
    if query.get("reseller").is_some_and(|name| name == "refused") {
        let refusal = json!({ "code": "DECLINED", "message": "it is not so", "what_to_do": "look again" });
        return Err((StatusCode::CONFLICT, Json(refusal)));
    }
    let breaks_off = query.get("reseller").is_some_and(|name| name == "breaks off");
    asked.send(query).unwrap();
    if is_second {
        goes_on.clone().wait_for(|goes_on| *goes_on).await.unwrap();
    }
    if is_second && breaks_off {
        return Err((StatusCode::CONFLICT, Json(json!({}))));
    }
    Ok(Json(match is_second {
        false => json!({ "licenses": [license(1)], "next": "a+b=&c" }),
        true => json!({ "licenses": [license(2)], "next": null }),
    }))
}

/// What was asked may be done.
async fn lost() -> (StatusCode, Json<Value>) {
    let refusal = json!({ "code": "UNKNOWN", "message": "no answer", "what_to_do": "post the same again" });
    (StatusCode::GATEWAY_TIMEOUT, Json(refusal))
}

async fn issues(Query(query): Query<Asked>) -> Json<Value> {
    let number = if query.contains_key("after") { 2 } else { 1 };
    let issue = json!({
        "batch": CodeBatchId::from_bytes([number; 8]),
        "plan": license(1)["plan"],
        "reseller": "A&B",
        "issued": 1,
        "used": 0,
        "void": 0,
    });
    Json(json!({ "batches": [issue], "next": if number == 1 { json!("a+b=&c") } else { Value::Null } }))
}

impl Node {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cluster = ClusterId::from_bytes([7; 16]);
        let authority = Authority::generate(cluster, 2026).unwrap();
        let node = authority.certify_node(cluster, 1, "127.0.0.1").unwrap();
        ops::tls::install_provider();
        let tls = RustlsConfig::from_pem(node.certificate.into_bytes(), node.key.as_bytes().to_vec());
        let tls = tls.await.unwrap();
        let (said, asked) = mpsc::unbounded_channel();
        let goes_on = watch::Sender::new(false);
        let app = Router::new()
            .route("/v1/licenses", get(licenses))
            .route("/v1/licenses/{id}", get(async || Json(license(1))))
            .route("/v1/licenses/{id}/renew", post(lost))
            .route("/v1/codes", get(issues))
            .with_state((said, goes_on.subscribe()));
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let url = format!("https://{}", socket.local_addr().unwrap());
        tokio::spawn(axum_server::from_tcp_rustls(socket, tls).unwrap().serve(app.into_make_service()));
        std::fs::write(dir.path().join("ca.pem"), &authority.own().certificate).unwrap();
        std::fs::write(dir.path().join("token"), "0123456789abcdef0123456789abcdef").unwrap();
        let context = Context {
            cluster,
            apis: vec![url],
            ca: "ca.pem".into(),
            token: Some("token".into()),
            client: None,
            public: "cluster.public.json".into(),
            keyring: None,
            factory: None,
            nats: vec![],
        };
        context.save(&dir.path().join("context.json")).unwrap();
        Node { dir, asked, goes_on }
    }

    fn list(&self, more: &[&str]) -> Command {
        self.command(&[&["license", "list"], more].concat())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tests::muster());
        command.args(arguments).args(["--context", "context.json"]);
        command.current_dir(self.dir.path()).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_said_before_the_next_one_came_and_names_reach_the_node_as_they_were_typed() {
    let mut node = Node::start().await;
    let mut child = node.list(&["--reseller", "A&B = \"C\""]).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = async || {
        tokio::time::timeout(Duration::from_secs(20), said.next_line())
            .await
            .expect("a line")
            .unwrap()
            .unwrap()
    };
    let head = line().await;
    assert!(head.starts_with("license"), "{head}");
    let first = line().await;
    assert!(first.starts_with(&LicenseId::from_bytes([1; 16]).to_string()), "{first}");
    node.goes_on.send_replace(true);
    let second = line().await;
    assert!(second.starts_with(&LicenseId::from_bytes([2; 16]).to_string()), "{second}");
    assert_eq!(line().await, "2 license(s)");
    for after in [None, Some("a+b=&c")] {
        let asked = node.asked.recv().await.unwrap();
        assert_eq!(asked["reseller"], "A&B = \"C\"");
        assert_eq!(asked.get("after").map(String::as_str), after, "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn for_programs_all_pages_are_one_document() {
    let node = Node::start().await;
    node.goes_on.send_replace(true);
    let mut child = node.list(&["--json"]).spawn().unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
    let listed: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(listed, json!([license(1), license(2)]));
    assert_eq!(said.lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_breaks_off_is_no_document_and_the_last_line_says_why() {
    let node = Node::start().await;
    node.goes_on.send_replace(true);
    let ran = node.list(&["--json", "--reseller", "breaks off"]).output().await.unwrap();
    assert_eq!(ran.status.code(), Some(4));
    let said = String::from_utf8(ran.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.len() == 2 && serde_json::from_str::<Value>(&said).is_err(), "{said}");
    let why: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!((&why["ok"], &why["exit_code"]), (&false.into(), &4.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_has_the_code_that_the_apis_document_names_for_people_and_for_programs() {
    let node = Node::start().await;
    let mut command = node.list(&["--reseller", "refused"]);
    let ran = command.stderr(Stdio::piped()).output().await.unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.contains("DECLINED: it is not so; look again"), "{said}");
    let ran = node.list(&["--json", "--reseller", "refused"]).output().await.unwrap();
    let why: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((&why["code"], &why["exit_code"]), (&"DECLINED".into(), &4.into()), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn issues_of_codes_are_shown_to_the_last_page() {
    let node = Node::start().await;
    let ran = node.command(&["code", "show", "--json"]).output().await.unwrap();
    let shown: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let batches: Vec<_> = shown["batches"].as_array().unwrap().iter().map(|issue| &issue["batch"]).collect();
    assert_eq!(batches, [&json!(CodeBatchId::from_bytes([1; 8])), &json!(CodeBatchId::from_bytes([2; 8]))]);
    assert!(shown["next"].is_null(), "{shown}");
}

/// Days count from the end that a license has: repeated, they would count twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_by_days_whose_answer_is_lost_names_the_end_to_repeat_it_with() {
    let node = Node::start().await;
    let id = LicenseId::from_bytes([1; 16]).to_string();
    let renew = ["license", "renew", &id, "--days", "30", "--reason", "paid"];
    let ran = node.command(&renew).stderr(Stdio::piped()).output().await.unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    let until = said.split("--until ").nth(1).and_then(|rest| rest.split('`').next()).expect(&said);
    assert_eq!(ran.status.code(), Some(3), "{said}");
    let exact = ["license", "renew", &id, "--until", until, "--reason", "paid"];
    let ran = node.command(&exact).stderr(Stdio::piped()).output().await.unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.code() == Some(3) && said.contains("UNKNOWN"), "the time is understood: {said}");
}
