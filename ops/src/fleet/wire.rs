//! The fleet's one NATS connection.
//!
//! ```text
//! up       muster.v1.<region>.up.<source>.<device>.<kind>
//! answer   _INBOX_<device>.<token>.<terminal>.<request>      heard through one subscription: *.<token>.>
//! ```

use async_nats::{Client, ConnectOptions, HeaderMap, Subscriber};
use bytes::Bytes;
use edge_agent::machine::{RequestId, Transmit, TransmitKind};
use edge_agent::shell::bus::Address;
use edge_agent::shell::entropy::Entropy;
use edge_agent::shell::spans::Spans;
use edge_agent::shell::state_file::StateFileError;
use edge_agent::shell::traceparent::{self, TraceContext};
use events::ids::{RegionName, SourceName};
use futures::StreamExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("cannot use the NATS server `{url}`: {why}")]
    Connect { url: String, why: String },
    #[error("the fleet's NATS connection was closed for good")]
    Closed,
    #[error("cannot use the state directory `{}`: {source}", folder.display())]
    StateDir { folder: PathBuf, source: std::io::Error },
    #[error("cannot write spans to `{}`: {source}", file.display())]
    Spans { file: PathBuf, source: std::io::Error },
    #[error(transparent)]
    StateFile(#[from] StateFileError),
}

/// As whom the fleet connects.
#[derive(Clone)]
pub struct FleetConnection {
    pub url: String,
    pub user: String,
    pub password: Zeroizing<String>,
    /// Who signs the server's certificate (PEM); nothing is then said in the clear.
    pub authority: Option<PathBuf>,
    pub region: RegionName,
    pub source: SourceName,
    /// The user may subscribe to `*.<token>.>`.
    pub token: String,
    /// Tell each request and its answer as a span in this file, and send a `traceparent` header with it.
    pub traces_file: Option<PathBuf>,
}

impl std::fmt::Debug for FleetConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FleetConnection({} as {}, source {})", self.url, self.user, self.source)
    }
}

pub(super) struct Wire {
    client: Client,
    answers: Subscriber,
    subject_prefix: String,
    token: String,
    spans: Option<Spans<(usize, RequestId)>>,
}

/// Bytes that arrived for a terminal.
pub(super) struct Answer {
    pub terminal: usize,
    pub request: RequestId,
    pub bytes: Bytes,
}

impl Wire {
    pub async fn open(connection: &FleetConnection) -> Result<Self, FleetError> {
        let refused = |why: String| FleetError::Connect { url: connection.url.clone(), why };
        let (user, password) = (connection.user.clone(), connection.password.to_string());
        let mut options =
            ConnectOptions::with_user_and_password(user, password).name("muster fleet").max_reconnects(None);
        if let Some(authority) = &connection.authority {
            options = options.add_root_certificates(authority.clone()).require_tls(true);
        }
        let client = options.connect(&connection.url).await.map_err(|error| refused(error.to_string()))?;
        let inbox = format!("*.{}.>", connection.token);
        let answers = client.subscribe(inbox).await.map_err(|error| refused(error.to_string()))?;
        client.flush().await.map_err(|error| refused(error.to_string()))?;
        let subject_prefix = format!("muster.v1.{}.up.{}.", connection.region, connection.source);
        let spans = connection.traces_file.as_deref().map(open_spans).transpose()?;
        Ok(Wire { client, answers, subject_prefix, token: connection.token.clone(), spans })
    }

    /// Hands the request to the client, which writes it when it can; waits while its queue is full.
    pub async fn publish(
        &mut self,
        terminal: usize,
        address: Address,
        transmit: &Transmit,
    ) -> Result<(), FleetError> {
        let who = match (transmit.kind, address.device) {
            (TransmitKind::Tamper, _) | (_, None) => address.lot.to_string(),
            (_, Some(device)) => device.to_string(),
        };
        let subject = format!("{}{who}.{}", self.subject_prefix, transmit.kind.as_str());
        let reply = format!("_INBOX_{who}.{}.{terminal}.{}", self.token, transmit.request);
        let payload = transmit.payload.clone();
        let published = if let Some(spans) = &mut self.spans {
            let context = TraceContext::generate(&mut Entropy);
            spans.begin((terminal, transmit.request), context, transmit.kind.as_str(), &who);
            let mut headers = HeaderMap::new();
            headers.insert(traceparent::HEADER, context.to_string());
            self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await
        } else {
            self.client.publish_with_reply(subject, reply, payload).await
        };
        published.map_err(|_| FleetError::Closed)
    }

    /// The next answer to any terminal. Safe to cancel.
    pub async fn next_answer(&mut self) -> Result<Answer, FleetError> {
        loop {
            let message = self.answers.next().await.ok_or(FleetError::Closed)?;
            if let Some((terminal, request)) = addressee(message.subject.as_str()) {
                if let Some(spans) = &mut self.spans {
                    spans.answered((terminal, request));
                }
                return Ok(Answer { terminal, request, bytes: message.payload });
            }
        }
    }
}

fn open_spans(file: &Path) -> Result<Spans<(usize, RequestId)>, FleetError> {
    Spans::open(file, "muster-fleet").map_err(|source| FleetError::Spans { file: file.to_owned(), source })
}

/// Terminal and request of `_INBOX_<device>.<token>.<terminal>.<request>`.
fn addressee(subject: &str) -> Option<(usize, RequestId)> {
    let mut last = subject.rsplit('.');
    let request = last.next()?.parse().ok()?;
    let terminal = last.next()?.parse().ok()?;
    Some((terminal, request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_its_terminal_and_request() {
        assert_eq!(addressee("_INBOX_dev_0.fleet.17.4"), Some((17, 4)));
        assert_eq!(addressee("_INBOX_dev_0.fleet.x.4"), None);
        assert_eq!(addressee(""), None);
    }
}
