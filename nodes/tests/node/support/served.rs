//! One member with the operators' API over real TLS in front of it.

use super::PATIENCE;
use super::authority::Authority;
use super::members::{Members, config, timers};
use events::ids::NodeId;
use events::vocabulary::rejection::RejectionReason;
use nodes::api::shapes::Refusal;
use nodes::api::{ApiDeps, ApiServer};
use nodes::bus::BusHealth;
use nodes::config::{AccessRole, ApiClient, ApiConfig, ApiToken, NodeConfig, TokenDigest};
use nodes::entropy::OsEntropy;
use nodes::ingress::IngressCounters;
use nodes::node::counters::ingress_by_name;
use nodes::peers::PeerCounters;
use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub struct Served {
    pub members: Members,
    pub server: ApiServer,
    pub http: reqwest::Client,
    pub url: String,
    pub bus: watch::Sender<BusHealth>,
    /// Whether the node is in the queue group.
    pub joined: watch::Sender<bool>,
    pub authority: Authority,
}

/// A token of each role but admin's, which is [`TOKEN`].
pub fn token_of(role: AccessRole) -> String {
    format!("{role:-<32}")
}

pub async fn served() -> Served {
    served_with(|_| {}).await
}

/// As [`served`]; `change` has the last word on the API's configuration.
pub async fn served_with(change: impl FnOnce(&mut ApiConfig)) -> Served {
    served_among(1, change).await
}

/// Member 1 of `count`, with the API in front of it.
pub async fn served_among(count: NodeId, change: impl FnOnce(&mut ApiConfig)) -> Served {
    served_under(count, |config| change(&mut config.api)).await
}

/// As [`served_among`]; `change` has the last word on the whole configuration.
pub async fn served_under(count: NodeId, change: impl FnOnce(&mut NodeConfig)) -> Served {
    let members = Members::start(count).await;
    let core = members.core(1);
    let authority = Authority::new();
    let mut config = config(members.dir.path(), 1, count, timers());
    certify(&mut config.api, &authority, members.dir.path());
    let roles = [AccessRole::Viewer, AccessRole::Operator, AccessRole::Factory];
    config.api.tokens.extend(roles.map(|role| ApiToken {
        name: format!("a {role}"),
        role,
        digest: TokenDigest::of(&token_of(role)),
    }));
    let clients = members.dir.path().join("clients.pem");
    std::fs::write(&clients, authority.certificate()).unwrap();
    config.api.client_authority = Some(clients);
    config.api.clients = vec![ApiClient { name: "backoffice".to_owned(), role: AccessRole::Viewer }];
    change(&mut config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let (bus, bus_health) = watch::channel(BusHealth::Connected);
    let (joined, is_joined) = watch::channel(true);
    let deps = ApiDeps {
        config: Arc::new(config),
        raft: core.raft().clone(),
        projector: core.projector().clone(),
        proposer: core.proposer().clone(),
        keyring: members.keyring().clone(),
        entropy: Arc::new(OsEntropy),
        transport: members.transport(1),
        reports: core.reports(),
        automation: core.automation().clone(),
        clock_guard: core.clock_guard().clone(),
        peer_counters: Arc::new(PeerCounters::default()),
        serving: core.serving(),
        room: core.room(),
        bus: bus_health,
        joined: is_joined,
        measures: core.projector().measures().clone(),
        more_counters: Arc::new(|| ingress_by_name(&one_of_each())),
        missing_history: core.gaps().missing(),
        unproven_history: core.gaps().unproven(),
        webhooks: core.webhook_readings().clone(),
        notary: core.notary().clone(),
        history: core.history().clone(),
        ingress_levels: Arc::new(Default::default),
    };
    let server = ApiServer::start(listener, deps).unwrap();
    let http = client(&authority, None);
    members.leader().await;
    Served { members, server, http, url, bus, joined, authority }
}

/// Ingress that refused one message of each kind: what never occurred is not told.
fn one_of_each() -> IngressCounters {
    let refused = RejectionReason::ALL.iter().map(|reason| (reason.as_str(), 1)).collect();
    IngressCounters { refused, ..IngressCounters::default() }
}

/// Gives the API a certificate for `localhost`.
pub fn certify(api: &mut ApiConfig, authority: &Authority, dir: &Path) {
    let (certificate, key) = authority.issue(vec!["localhost".to_owned()]);
    (api.certificate, api.key) = (dir.join("api.pem"), dir.join("api.key"));
    std::fs::write(&api.certificate, certificate).unwrap();
    std::fs::write(&api.key, key).unwrap();
}

/// A client that believes the authority, and shows a certificate for `name` if there is one.
pub fn client(authority: &Authority, name: Option<&str>) -> reqwest::Client {
    // reqwest asks for a process-wide provider; the nodes name theirs.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = reqwest::Certificate::from_pem(authority.certificate().as_bytes()).unwrap();
    let mut client =
        reqwest::Client::builder().tls_backend_rustls().tls_certs_only([root]).no_proxy().timeout(PATIENCE);
    if let Some(name) = name {
        let (certificate, key) = authority.issue(vec![name.to_owned()]);
        let identity = reqwest::Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap();
        client = client.identity(identity);
    }
    client.build().unwrap()
}

impl Served {
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let response = self.http.get(format!("{}{path}", self.url)).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &impl serde::Serialize) -> (StatusCode, Value) {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(TOKEN).json(body);
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    pub async fn done<T: DeserializeOwned>(&self, path: &str, body: &impl serde::Serialize) -> T {
        let (status, value) = self.post(path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        serde_json::from_value(value).unwrap()
    }

    pub async fn refused(&self, path: &str, body: &impl serde::Serialize) -> (StatusCode, Refusal) {
        let (status, value) = self.post(path, body).await;
        (status, serde_json::from_value(value).unwrap())
    }

    /// The status and the body of a request with this token.
    pub async fn asked(&self, token: &str, path: &str) -> (StatusCode, String) {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(token);
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }
}
