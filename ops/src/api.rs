//! The operators' API as seen from here: one cluster, several nodes, any of which may answer.
//!
//! Trusts the cluster's own authority and no other; shows the operator's token and certificate to nobody else.

use crate::context::{ClientCertificate, Context};
use crate::exit::{REFUSED, UNREACHABLE, USAGE, coded, refused};
use crate::output::name_of;
use anyhow::{Context as _, Result};
use nodes::api::shapes::{Refusal, RefusalCode};
use reqwest::{Identity, Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// A write waits for a commit, perhaps across an election.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A way into one cluster.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    urls: Vec<String>,
    token: Option<Zeroizing<String>>,
}

impl Api {
    /// Reads the authority, and the token or the certificate that the context names.
    pub fn of(context: &Context) -> Result<Self> {
        let wrong = |error: anyhow::Error| coded(USAGE, format!("{error:#}"));
        let read = |path: &Path| crate::files::read_text(path).map(Zeroizing::new).map_err(wrong);
        let token = context.token.as_deref().map(read).transpose()?;
        let token = token.map(|token| Zeroizing::new(token.trim().to_owned()));
        let identity = match &context.client {
            Some(ClientCertificate { certificate, key }) => {
                let both = Zeroizing::new([read(certificate)?.as_str(), read(key)?.as_str()].concat());
                let identity = Identity::from_pem(both.as_bytes()).with_context(|| {
                    format!("{} and {} are no certificate and its key", certificate.display(), key.display())
                });
                Some(identity.map_err(wrong)?)
            }
            None => None,
        };
        if token.is_none() && identity.is_none() {
            let why = "the context names no one who asks: it needs `token`, or `client` with `certificate` and `key`";
            return Err(coded(USAGE, why.to_owned()));
        }
        Api::new(context.apis.clone(), &read(&context.ca)?, token, identity)
    }

    /// An API behind any of `urls` whose certificates come from `ca` (PEM).
    fn new(
        urls: Vec<String>,
        ca: &str,
        token: Option<Zeroizing<String>>,
        identity: Option<Identity>,
    ) -> Result<Self> {
        crate::tls::install_provider();
        let authority =
            reqwest::Certificate::from_pem(ca.as_bytes()).context("reading the cluster's ca.pem")?;
        let http = reqwest::Client::builder();
        let http = match identity {
            Some(identity) => http.identity(identity),
            None => http,
        };
        let http = http
            .tls_backend_rustls()
            .tls_certs_only([authority])
            .https_only(true)
            .no_proxy()
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .build()
            .context("preparing the HTTPS client")?;
        Ok(Api { http, urls, token })
    }

    /// Asks the nodes one after the other until one answers.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.get_where(path, &[]).await
    }

    /// As [`Api::get`], with a query; what its values hold is encoded here.
    pub async fn get_where<T: DeserializeOwned>(&self, path: &str, query: Query<'_>) -> Result<T> {
        self.ask_any(Question { method: Method::GET, path, query, body: None::<&()>, key: None }).await
    }

    /// Tells any node; it finds the leader by itself.
    pub async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T> {
        // One key for all nodes: what the first one may have done is not done again by the next.
        let key = Some(idempotency_key());
        self.ask_any(Question { method: Method::POST, path, query: &[], body: Some(body), key }).await
    }

    /// Asks every node the same, at once; answers stand in the order of the context's URLs.
    pub async fn get_from_each<T: DeserializeOwned>(&self, path: &str) -> Vec<(String, Result<T>)> {
        let question = Question { method: Method::GET, path, query: &[], body: None::<&()>, key: None };
        let question = &question;
        let asks = self.urls.iter().map(|url| async move {
            (url.clone(), self.ask(url, question).await.and_then(Answer::into_result))
        });
        futures::future::join_all(asks).await
    }

    async fn ask_any<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        question: Question<'_, B>,
    ) -> Result<T> {
        let mut failures = Vec::new();
        let mut last_code = None;
        for url in &self.urls {
            match self.ask(url, &question).await {
                Ok(Answer::Unavailable(why, code)) => {
                    last_code = code.or(last_code);
                    failures.push(format!("{url}: {why}"));
                }
                Ok(answer) => return answer.into_result(),
                Err(error) => failures.push(format!("{url}: {error:#}")),
            }
        }
        let tried = failures.join("\n  ");
        Err(refused(
            UNREACHABLE,
            last_code,
            format!("no node could answer; tried\n  {tried}\nAre the nodes up? `muster cluster status`"),
        ))
    }

    async fn ask<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        url: &str,
        Question { method, path, query, body, key }: &Question<'_, B>,
    ) -> Result<Answer<T>> {
        let request = self.http.request(method.clone(), format!("{url}{path}"));
        let mut request = request.query(query);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.as_str());
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| anyhow::anyhow!(root_cause(&error)))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| anyhow::anyhow!(root_cause(&error)))?;
        if status.is_success() {
            let value =
                serde_json::from_slice(&bytes).with_context(|| format!("{path} answered another shape"))?;
            return Ok(Answer::Value(value));
        }
        let (why, code) = match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(Refusal { code, message, what_to_do }) => {
                (format!("{}: {message}; {what_to_do}", name_of(&code)), Some(code))
            }
            Err(_) => (format!("{status}: {}", String::from_utf8_lossy(&bytes)), None),
        };
        Ok(match status {
            StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_TIMEOUT => Answer::Unavailable(why, code),
            _ => Answer::Refused(why, code),
        })
    }
}

/// Names and values of a query.
pub type Query<'a> = &'a [(&'a str, String)];

struct Question<'a, B: ?Sized> {
    method: Method,
    path: &'a str,
    query: Query<'a>,
    body: Option<&'a B>,
    key: Option<String>,
}

enum Answer<T> {
    Value(T),
    /// This node cannot say now; another may.
    Unavailable(String, Option<RefusalCode>),
    /// Every node would say the same.
    Refused(String, Option<RefusalCode>),
}

impl<T> Answer<T> {
    fn into_result(self) -> Result<T> {
        match self {
            Answer::Value(value) => Ok(value),
            Answer::Unavailable(why, code) => Err(refused(UNREACHABLE, code, why)),
            Answer::Refused(why, code) => Err(refused(REFUSED, code, format!("the cluster refused: {why}"))),
        }
    }
}

/// 16 random bytes as hexadecimal digits.
fn idempotency_key() -> String {
    use nodes::entropy::Entropy;
    let mut bytes = [0_u8; 16];
    nodes::entropy::OsEntropy.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// reqwest wraps the reason several times; people want the last one.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
