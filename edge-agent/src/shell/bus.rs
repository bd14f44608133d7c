//! NATS as the agent uses it: publish a request, hear every answer below the device's own inbox.
//!
//! ```text
//! up       muster.v1.<region>.up.<source>.<device>.<kind>       (for a tamper report: the lot instead of the device)
//! answer   _INBOX_<device>.<token of this process>.<request>
//! ```
//!
//! Every answer is wanted, not only the first: two nodes may answer one request, and the newer verdict counts.

use super::config::{Config, NatsConfig};
use super::entropy::Entropy;
use super::spans::Spans;
use super::traceparent::{self, TraceContext};
use crate::machine::{RequestId, Transmit, TransmitKind};
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Subscriber, connection::State};
use bytes::Bytes;
use events::ids::{DeviceId, LotId};
use futures::StreamExt;
use rand_core::Rng;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// A connection that takes nothing for so long is no better than none; everything that is asked is asked again.
const QUEUE_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("cannot read the NATS password `{}`: {source}", file.display())]
    Password { file: PathBuf, source: std::io::Error },
    #[error("cannot use the NATS servers {servers}: {why}")]
    Connect { servers: String, why: String },
    #[error("the NATS connection was closed for good")]
    Closed,
    #[error("cannot write spans to `{}`: {source}; see `traces_file`", file.display())]
    Spans { file: PathBuf, source: std::io::Error },
}

/// Who this terminal is on the bus. Without a device there is nothing that could be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub device: Option<DeviceId>,
    pub lot: LotId,
}

impl Address {
    /// The sender in subjects and inboxes.
    fn who(&self) -> String {
        self.device.map_or_else(|| self.lot.to_string(), |device| device.to_string())
    }
}

pub struct Bus {
    client: Client,
    answers: Subscriber,
    subject_prefix: String,
    address: Address,
    token: String,
    traces: bool,
    spans: Option<Spans<RequestId>>,
    connected: Arc<Notify>,
    /// The newest request that found no connection; it leaves as soon as there is one.
    held: Option<Transmit>,
}

impl Bus {
    /// Connects in the background, for ever, with full jitter: returns before the server is reached.
    pub async fn open(config: &Config, address: Address) -> Result<Self, BusError> {
        let servers = &config.nats.url;
        let refused = |why: String| BusError::Connect { servers: servers.to_string(), why };
        let connected = Arc::new(Notify::new());
        let options = connect_options(&config.nats)?
            .retry_on_initial_connect()
            .max_reconnects(None)
            .event_callback(notify_connected(connected.clone()));
        let client = options.connect(servers.as_slice()).await;
        let client = client.map_err(|error| refused(error.to_string()))?;
        let token = format!("{:016x}", Entropy.next_u64());
        // A terminal without a device hears the answers to what it asks for its lot.
        let inbox = format!("_INBOX_{}.{token}.*", address.who());
        let answers = client.subscribe(inbox).await.map_err(|error| refused(error.to_string()))?;
        let subject_prefix = format!("muster.v1.{}.up.{}.", config.region, config.source);
        let spans = config.traces_file.as_deref().map(open_spans).transpose()?;
        let traces = config.traces || spans.is_some();
        Ok(Bus { client, answers, subject_prefix, address, token, traces, spans, connected, held: None })
    }

    /// Publishes; without a connection only the newest request is kept, since a queue of old attempts would come
    /// out as a burst.
    pub async fn publish(&mut self, transmit: Transmit) {
        if self.client.connection_state() != State::Connected {
            self.held = Some(transmit);
            return;
        }
        let who = match (transmit.kind, self.address.device) {
            (TransmitKind::Tamper, _) => self.address.lot.to_string(),
            (_, _) => self.address.who(),
        };
        let subject = format!("{}{who}.{}", self.subject_prefix, transmit.kind.as_str());
        let reply = format!("_INBOX_{who}.{}.{}", self.token, transmit.request);
        let headers = self.traces.then(|| {
            let context = TraceContext::generate(&mut Entropy);
            tracing::debug!(subject, traceparent = %context, "request");
            if let Some(spans) = &mut self.spans {
                spans.begin(transmit.request, context, transmit.kind.as_str(), &who);
            }
            let mut headers = HeaderMap::new();
            headers.insert(traceparent::HEADER, context.to_string());
            headers
        });
        // The machine sends again what finds no answer, whatever became of it.
        let _left = self.hand_over(subject, reply, headers, transmit.payload).await;
    }

    /// Asks for the update offer of the lot. Lost without a connection, and false then: it is asked again.
    pub async fn ask_update(&self, request: RequestId, payload: Vec<u8>) -> bool {
        let who = self.address.who();
        let subject = format!("{}{who}.update", self.subject_prefix);
        let reply = format!("_INBOX_{who}.{}.{request}", self.token);
        self.hand_over(subject, reply, None, payload.into()).await
    }

    /// Hands a request to the client if it can leave now. The client would queue it without a connection, and wait once
    /// its queue is full: stale requests would leave as a burst, and the agent's loop would stand still until then. Whether
    /// the client took it.
    async fn hand_over(
        &self,
        subject: String,
        reply: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> bool {
        if self.client.connection_state() != State::Connected {
            tracing::debug!(subject, "a request found no connection");
            return false;
        }
        let published = timeout(QUEUE_PATIENCE, async {
            match headers {
                Some(headers) => {
                    self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await
                }
                None => self.client.publish_with_reply(subject, reply, payload).await,
            }
        });
        match published.await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::debug!(%error, "a request was not published; it will be retried"),
            Err(_elapsed) => tracing::warn!("the NATS connection takes nothing; the request will be retried"),
        }
        false
    }

    /// The next answer. Sends what waited for a connection.
    /// Safe to cancel.
    pub async fn next_answer(&mut self) -> Result<(RequestId, Bytes), BusError> {
        loop {
            let message = tokio::select! {
                message = self.answers.next() => message.ok_or(BusError::Closed)?,
                () = self.connected.notified() => {
                    if let Some(held) = self.held.take() {
                        self.publish(held).await;
                    }
                    continue;
                }
            };
            let request = message.subject.as_str().rsplit('.').next().and_then(|last| last.parse().ok());
            if let Some(request) = request {
                if let Some(spans) = &mut self.spans {
                    spans.answered(request);
                }
                return Ok((request, message.payload));
            }
        }
    }

    /// Sends what is still in the client's buffer.
    pub async fn flush(&self) {
        if self.client.connection_state() == State::Connected {
            let _ = timeout(QUEUE_PATIENCE, self.client.flush()).await;
        }
    }
}

fn open_spans(file: &Path) -> Result<Spans<RequestId>, BusError> {
    Spans::open(file, "muster-agent").map_err(|source| BusError::Spans { file: file.to_owned(), source })
}

type Notified = std::future::Ready<()>;

fn notify_connected(connected: Arc<Notify>) -> impl Fn(Event) -> Notified + Send + Sync + 'static {
    move |event| {
        tracing::info!(%event, "NATS");
        if matches!(event, Event::Connected) {
            connected.notify_one();
        }
        std::future::ready(())
    }
}

/// Who connects, and how: the same for the agent and for `doctor`.
pub(crate) fn connect_options(nats: &NatsConfig) -> Result<ConnectOptions, BusError> {
    let mut options = ConnectOptions::new()
        .name("muster-agent")
        .retain_servers_order()
        .reconnect_delay_callback(reconnect_delay)
        .connection_timeout(Duration::from_secs(10));
    if let (Some(user), Some(password)) = (&nats.user, password(nats)?) {
        options = options.user_and_password(user.clone(), password.to_string());
    }
    if let Some(file) = &nats.ca_file {
        options = options.add_root_certificates(file.clone()).require_tls(true);
    }
    Ok(options)
}

fn password(nats: &NatsConfig) -> Result<Option<Zeroizing<String>>, BusError> {
    let Some(file) = &nats.password_file else { return Ok(nats.password.clone()) };
    let text = std::fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(|source| BusError::Password { file: file.clone(), source })?;
    Ok(Some(Zeroizing::new(text.trim_end().to_owned())))
}

/// Full jitter: uniform below 250 ms doubled with each attempt, at most 30 s.
fn reconnect_delay(attempt: usize) -> Duration {
    let bound = (250_u64 << attempt.min(10)).min(30_000);
    Duration::from_millis(Entropy.next_u64() % bound)
}
