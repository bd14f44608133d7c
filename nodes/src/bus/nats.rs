//! The bus on NATS, through the vendor's client: it reconnects by itself and subscribes again. Between it and the
//! servers stands a relay that makes readable what terminals wrote ([`super::relay`]).
//!
//! Invariant: nothing is sent and no queue group is joined on a server whose version has known authorization
//! bypasses; this is checked at the first connection and at every one after it.

use super::relay::Relay;
use super::trust::Trust;
use super::{Bus, BusError, BusHealth, Message, Outgoing, Subscription};
use crate::config::{NatsConfig, NatsLogin};
use crate::rare_log::RareLog;
use async_nats::connection::State;
use async_nats::{
    Client, ClientError, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError, ServerInfo,
    Subscriber,
};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// The oldest server that is used (lessons.md 26).
const SERVER_VERSION_MIN: (u64, u64, u64) = (2, 12, 7);
const SERVER_VERSION_MIN_TEXT: &str = "2.12.7";

/// Messages of one subscription that wait in memory, each a little above 2 KiB at most; the client drops what comes above.
const SUBSCRIPTION_MESSAGES_MAX: usize = 16_384;
/// Commands that wait for the connection; a publisher waits above.
const COMMANDS_MAX: usize = 16_384;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Two without an answer and the connection counts as gone: a link that was cut without a word would else swallow this
/// node's share of the messages for minutes, and the node would call itself ready.
const PING_INTERVAL: Duration = Duration::from_secs(3);
const RECONNECT_DELAY_MILLIS_MAX: u64 = 2_000;
/// A server that forbids a subscription is asked again after this.
const FORBIDDEN_AGAIN: Duration = Duration::from_secs(5);

/// How this node finds its NATS servers and proves itself to them.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    pub config: NatsConfig,
    /// How the server's own listings name this connection.
    pub name: String,
}

/// A connection to NATS. Dropping it ends its watch over the connection.
pub struct NatsBus {
    client: Client,
    health: watch::Receiver<BusHealth>,
    watcher: AbortHandle,
    _relay: Relay,
}

impl NatsBus {
    /// Connects. A server that is not there yet, refuses the login or is too old is tried again in the background for as
    /// long as it takes, with the bus `Disconnected` or `Refused` meanwhile: a node votes, and serves operators, without
    /// NATS. What no server can heal is an error.
    pub async fn connect(options: &NatsOptions) -> Result<NatsBus, BusError> {
        let (events, received) = mpsc::channel(64);
        let servers =
            options.config.urls.iter().map(|url| url.parse::<ServerAddr>()).collect::<Result<Vec<_>, _>>();
        let servers = servers.map_err(|error| unusable(options, &error))?;
        let login = servers.iter().find(|server| server.has_user_pass()).cloned();
        let trust = Trust::of(&options.config).map_err(|error| unusable(options, &error))?;
        let relay = Relay::listen(servers, trust).await.map_err(|error| unusable(options, &error))?;
        let client_options = |retry| client_options(options, login.as_ref(), events.clone(), retry);
        let connect = |retry: bool| client_options(retry).connect(relay.url());
        let (client, first) = match connect(false).await {
            Ok(client) => {
                let health = judge(&client.server_info());
                (client, health)
            }
            Err(error) => {
                let health = without_connection(&error.kind().to_string());
                (connect(true).await.map_err(|error| unusable(options, &error))?, health)
            }
        };
        tell(&first);
        let (report, health) = watch::channel(first);
        let watcher = tokio::spawn(watch_connection(client.clone(), received, report)).abort_handle();
        Ok(NatsBus { client, health, watcher, _relay: relay })
    }

    fn check_usable(&self) -> Result<(), BusError> {
        match self.client.try_server_info() {
            Some(info) => check_version(&info),
            None => Ok(()),
        }
    }
}

impl Drop for NatsBus {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Bus for NatsBus {
    fn subscribe<'a>(
        &'a self,
        pattern: &'a str,
        group: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, BusError>> {
        async move {
            self.check_usable()?;
            let subscribed = self.client.queue_subscribe(pattern.to_owned(), group.to_owned()).await;
            let subscriber = subscribed.map_err(|_| BusError::Closed)?;
            Ok(Box::new(NatsSubscription { subscriber }) as Box<dyn Subscription>)
        }
        .boxed()
    }

    fn publish<'a>(&'a self, burst: &'a mut Vec<Outgoing>) -> BoxFuture<'a, Result<(), BusError>> {
        async move {
            if self.client.connection_state() != State::Connected {
                burst.clear();
                return Err(BusError::Disconnected);
            }
            for outgoing in burst.drain(..) {
                let published = self.client.publish(outgoing.subject, outgoing.payload).await;
                published.map_err(|_| BusError::Closed)?;
            }
            Ok(())
        }
        .boxed()
    }

    fn health(&self) -> watch::Receiver<BusHealth> {
        self.health.clone()
    }
}

struct NatsSubscription {
    subscriber: Subscriber,
}

impl Subscription for NatsSubscription {
    fn poll_burst(&mut self, cx: &mut Context<'_>, into: &mut Vec<Message>, max: usize) -> Poll<bool> {
        let mut taken = 0;
        while taken < max {
            match Pin::new(&mut self.subscriber).poll_next(cx) {
                Poll::Ready(Some(message)) => into.push(from_nats(message)),
                Poll::Ready(None) => return Poll::Ready(false),
                Poll::Pending if taken == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
            taken += 1;
        }
        Poll::Ready(true)
    }

    fn leave(&mut self) -> BoxFuture<'_, Result<(), BusError>> {
        async move { self.subscriber.drain().await.map_err(|_| BusError::Closed) }.boxed()
    }
}

fn from_nats(message: async_nats::Message) -> Message {
    let trace = message.headers.as_ref().and_then(|headers| headers.get("traceparent"));
    Message {
        trace: trace.map(|value| value.as_str().into()),
        subject: message.subject,
        reply: message.reply,
        payload: message.payload,
    }
}

fn client_options(
    options: &NatsOptions,
    login_of_url: Option<&ServerAddr>,
    events: mpsc::Sender<Event>,
    retry: bool,
) -> ConnectOptions {
    let slow = Arc::new(RareLog::default());
    let report = move |event| {
        let (events, slow) = (events.clone(), slow.clone());
        async move {
            match event {
                // One comes with each message that is dropped: they must not crowd out what the connection became.
                Event::SlowConsumer(_) => {
                    if let Some(more) = slow.may_speak() {
                        tracing::warn!(
                            more,
                            "NATS delivers faster than this node admits: messages are dropped"
                        );
                    }
                }
                event => {
                    let _ = events.send(event).await;
                }
            }
        }
    };
    let client = ConnectOptions::new()
        .name(&options.name)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_MESSAGES_MAX)
        .client_capacity(COMMANDS_MAX)
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(report);
    let client = if retry { client.retry_on_initial_connect() } else { client };
    match &options.config.login {
        NatsLogin::Anonymous => match login_of_url.and_then(|url| Some((url.username()?, url.password()?))) {
            Some((user, password)) => client.user_and_password(user.to_owned(), password.to_owned()),
            None => client,
        },
        NatsLogin::Password { user, password } => {
            client.user_and_password(user.clone(), password.expose().to_owned())
        }
        NatsLogin::Nkey { seed } => client.nkey(seed.expose().to_owned()),
    }
}

/// At once, then slower; a node is one client, so that nodes need no jitter to spare the server.
fn reconnect_delay(attempts: usize) -> Duration {
    let attempts = u64::try_from(attempts).unwrap_or(u64::MAX);
    Duration::from_millis(attempts.saturating_sub(1).saturating_mul(100).min(RECONNECT_DELAY_MILLIS_MAX))
}

/// How the bus stands after an attempt that failed, named as the client names it: the login was refused, or nobody is there yet.
fn without_connection(why: &str) -> BusHealth {
    let refused = [ConnectErrorKind::AuthorizationViolation, ConnectErrorKind::Authentication];
    if refused.iter().any(|kind| kind.to_string() == why) {
        return BusHealth::Refused(format!("NATS does not take this node's login: {why}"));
    }
    BusHealth::Disconnected
}

fn unusable(options: &NatsOptions, error: &impl std::fmt::Display) -> BusError {
    BusError::Connect { servers: options.config.servers(), why: error.to_string() }
}

/// Reports every change of the connection; checks the server's version each time a connection is made.
async fn watch_connection(
    client: Client,
    mut events: mpsc::Receiver<Event>,
    report: watch::Sender<BusHealth>,
) {
    let mut connects_again: Option<Instant> = None;
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sleep_until(connects_again.unwrap_or_else(Instant::now)), if connects_again.is_some() => {
                connects_again = None;
                let _ = client.force_reconnect().await;
                continue;
            }
        };
        let Some(event) = event else { return };
        let health = match event {
            Event::Connected => after_connect(&client).await,
            Event::Disconnected | Event::Closed | Event::Draining => BusHealth::Disconnected,
            Event::ServerError(error) => {
                tracing::warn!(%error, "the NATS server reports an error");
                match forbidden_subscription(&error) {
                    Some(why) => {
                        connects_again = Some(Instant::now() + FORBIDDEN_AGAIN);
                        BusHealth::Refused(why)
                    }
                    None => continue,
                }
            }
            Event::ClientError(error) => {
                tracing::debug!(%error, "the NATS client reports an error");
                match error {
                    ClientError::Other(why) if client.connection_state() != State::Connected => {
                        without_connection(&why)
                    }
                    ClientError::Other(_) | ClientError::MaxReconnects | ClientError::ServerNotInPool => {
                        continue;
                    }
                }
            }
            Event::LameDuckMode | Event::SlowConsumer(_) => continue,
        };
        report.send_if_modified(|known| {
            let changed = *known != health;
            if changed {
                tell(&health);
            }
            *known = health;
            changed
        });
    }
}

/// Once a change: attempts come every two seconds.
fn tell(health: &BusHealth) {
    match health {
        BusHealth::Connected => tracing::info!("NATS is connected"),
        BusHealth::Disconnected => {
            tracing::warn!("NATS cannot be reached: this node goes on without it, and tries again");
        }
        BusHealth::Refused(why) => {
            tracing::error!(why, "NATS cannot be used: this node goes on without it, and tries again");
        }
    }
}

/// The server does not let this node listen. It ends the subscription and keeps the connection, and says nothing when
/// somebody mends its rights: so this node comes again by itself.
fn forbidden_subscription(error: &ServerError) -> Option<String> {
    let ServerError::Other(text) = error else { return None };
    let forbidden = text.to_ascii_lowercase().contains("permissions violation for subscription");
    forbidden.then(|| format!("the NATS server does not let this node subscribe: {text}"))
}

async fn after_connect(client: &Client) -> BusHealth {
    // The event precedes the server's information; a flush passes only after both.
    if client.flush().await.is_err() {
        return BusHealth::Disconnected;
    }
    judge(&client.server_info())
}

fn judge(server: &ServerInfo) -> BusHealth {
    match check_version(server) {
        Ok(()) => BusHealth::Connected,
        Err(error) => BusHealth::Refused(error.to_string()),
    }
}

fn check_version(info: &ServerInfo) -> Result<(), BusError> {
    if parse_version(&info.version).is_some_and(|version| version >= SERVER_VERSION_MIN) {
        return Ok(());
    }
    Err(BusError::ServerTooOld {
        server: info.server_name.clone(),
        address: format!("{}:{}", info.host, info.port),
        version: info.version.clone(),
        needed: SERVER_VERSION_MIN_TEXT,
    })
}

/// `2.12.7`, `v2.12.7` or `2.12.7-RC.1`; a preview counts as what it previews.
fn parse_version(text: &str) -> Option<(u64, u64, u64)> {
    let numbers = text.trim_start_matches('v').split(['-', '+']).next()?;
    let mut parts = numbers.split('.').map(|part| part.parse::<u64>().ok());
    let version = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_server(version: &str) -> ServerInfo {
        ServerInfo { server_name: "nats-1".into(), version: version.into(), ..ServerInfo::default() }
    }

    #[test]
    fn a_server_with_known_bypasses_is_refused_by_name() {
        for old in ["2.12.6", "2.11.20", "1.99.99", "", "two"] {
            let error = check_version(&a_server(old)).unwrap_err().to_string();
            assert!(error.contains("nats-1") && error.contains("2.12.7"), "{error}");
        }
        for new in ["2.12.7", "v2.12.7", "2.15.1", "3.0.0", "2.13.0-RC.1"] {
            assert!(check_version(&a_server(new)).is_ok(), "{new} must be accepted");
        }
    }

    #[test]
    fn a_server_that_forbids_a_subscription_is_told_apart_from_other_trouble() {
        let forbidden = r#"Permissions Violation for Subscription to "muster.v1.*.up.*.*.hello" using queue "muster-nodes""#;
        assert!(forbidden_subscription(&ServerError::Other(forbidden.into())).is_some());
        let publish = r#"Permissions Violation for Publish to "a""#;
        assert!(forbidden_subscription(&ServerError::Other(publish.into())).is_none());
        assert!(forbidden_subscription(&ServerError::AuthorizationViolation).is_none());
    }

    #[test]
    fn reconnecting_starts_at_once_and_slows_down() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        assert_eq!(reconnect_delay(1_000_000), Duration::from_millis(RECONNECT_DELAY_MILLIS_MAX));
    }
}
