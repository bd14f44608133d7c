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
use edge_agent::shell::state_file::StateFileError;
use edge_agent::shell::traceparent;
use events::ids::{RegionName, SourceName};
use futures::StreamExt;
use std::path::PathBuf;
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("cannot use the NATS server `{url}`: {why}")]
    Connect { url: String, why: String },
    #[error("the fleet's NATS connection was closed for good")]
    Closed,
    #[error("cannot use the state directory `{}`: {source}", folder.display())]
    StateDir { folder: PathBuf, source: std::io::Error },
    #[error(transparent)]
    StateFile(#[from] StateFileError),
}

/// As whom the fleet connects.
#[derive(Clone)]
pub struct FleetConnection {
    pub url: String,
    pub user: String,
    pub password: Zeroizing<String>,
    pub region: RegionName,
    pub source: SourceName,
    /// The user may subscribe to `*.<token>.>`.
    pub token: String,
    /// Send a `traceparent` header with each request.
    pub traces: bool,
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
    traces: bool,
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
        let options =
            ConnectOptions::with_user_and_password(user, password).name("muster fleet").max_reconnects(None);
        let client = options.connect(&connection.url).await.map_err(|error| refused(error.to_string()))?;
        let inbox = format!("*.{}.>", connection.token);
        let answers = client.subscribe(inbox).await.map_err(|error| refused(error.to_string()))?;
        client.flush().await.map_err(|error| refused(error.to_string()))?;
        let subject_prefix = format!("muster.v1.{}.up.{}.", connection.region, connection.source);
        let (token, traces) = (connection.token.clone(), connection.traces);
        Ok(Wire { client, answers, subject_prefix, token, traces })
    }

    /// Hands the request to the client, which writes it when it can; waits while its queue is full.
    pub async fn publish(
        &self,
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
        let published = if self.traces {
            let mut headers = HeaderMap::new();
            headers.insert(traceparent::HEADER, traceparent::generate(&mut Entropy));
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
                return Ok(Answer { terminal, request, bytes: message.payload });
            }
        }
    }
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
