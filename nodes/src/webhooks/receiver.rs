//! One receiver at the other end: a POST, and what its answer means.

use super::signature::SigningSecret;
use crate::config::WebhookConfig;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use std::error::Error;
use std::time::Duration;

const CLOUD_EVENT: &str = "application/cloudevents+json";
const AGENT: &str = concat!("muster/", env!("CARGO_PKG_VERSION"));

/// What became of one attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    /// The receiver will never take this event; it may take others.
    Refused(u16),
    /// Try again, not before the time that it asked for.
    Failed {
        why: String,
        retry_after: Option<Duration>,
    },
}

/// Why nothing can be sent to a receiver.
#[derive(Debug, thiserror::Error)]
#[error("webhook `{name}`: {why}")]
pub struct ReceiverError {
    name: String,
    why: String,
}

pub struct Receiver {
    http: reqwest::Client,
    url: String,
    secret: SigningSecret,
}

impl Receiver {
    pub fn open(hook: &WebhookConfig) -> Result<Self, ReceiverError> {
        let refused = |why: String| ReceiverError { name: hook.name.clone(), why };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .tls_backend_rustls()
            .user_agent(AGENT)
            .timeout(Duration::from_millis(hook.timeout_ms))
            // Elsewhere than configured nothing is told.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(file) = &hook.ca_file {
            let pem = std::fs::read(file)
                .map_err(|e| refused(format!("`ca_file` {} cannot be read: {e}", file.display())))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| refused(root_cause(e)))?;
            if roots.is_empty() {
                return Err(refused(format!("`ca_file` {} holds no certificate", file.display())));
            }
            http = http.tls_certs_only(roots);
        }
        let http = http.build().map_err(|e| refused(root_cause(e)))?;
        Ok(Receiver { http, url: hook.url.expose().to_owned(), secret: hook.secret.clone() })
    }

    /// One attempt; it ends within the webhook's timeout. `seconds` is the time of the attempt.
    pub async fn post(&self, id: &str, seconds: u64, body: &[u8]) -> Answer {
        let request = self
            .http
            .post(&self.url)
            .header(CONTENT_TYPE, CLOUD_EVENT)
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", self.secret.sign(id, seconds, body))
            .body(body.to_vec());
        match request.send().await {
            // What the answer says besides is not read.
            Ok(response) => judge(response.status(), response.headers()),
            Err(error) => Answer::Failed { why: root_cause(error), retry_after: None },
        }
    }
}

fn judge(status: StatusCode, headers: &HeaderMap) -> Answer {
    match status.as_u16() {
        200..=299 => Answer::Taken,
        // About this event. Other refusals are about the receiver or its configuration, which somebody may mend.
        400 | 409 | 413 | 415 | 422 => Answer::Refused(status.as_u16()),
        _ => {
            let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Answer::Failed {
                why: format!("it answered {status}"),
                retry_after: seconds.map(Duration::from_secs),
            }
        }
    }
}

/// The deepest reason, and never the URL: a token may be part of it.
fn root_cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &(dyn Error + 'static) = &error;
    let mut certificate = is_about_a_certificate(cause);
    while let Some(deeper) = cause.source() {
        cause = deeper;
        certificate |= is_about_a_certificate(cause);
    }
    match certificate {
        true => format!(
            "{cause}; the webhook's `ca_file` must hold who signed it, and the host of its `url` be a name in it"
        ),
        false => cause.to_string(),
    }
}

/// An IO error does not tell what it wraps as its source.
fn is_about_a_certificate(cause: &(dyn Error + 'static)) -> bool {
    match cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(within) => is_about_a_certificate(within),
        None => matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))),
    }
}
