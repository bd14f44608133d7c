//! Whether NATS is reached, takes this terminal's user, lets it speak and hear, and a node answers: one hello, which
//! costs nobody anything and is not logged.

use super::finding::FindingCode::{
    ClockDiffers, NatsAnswered, NatsForbidden, NatsNoNode, NatsPasswordUnreadable, NatsRefused, NatsSilent,
    NatsTls, NatsUnreachable,
};
use super::finding::{FindingCode, Level, Report};
use crate::shell::bus::connect_options;
use crate::shell::clock::Clock;
use crate::shell::config::Config;
use crate::shell::entropy::Entropy;
use async_nats::{Client, ConnectErrorKind, Event, ServerAddr, StatusCode};
use events::envelope::Ticket;
use events::envelope::ticket::encode_hello;
use events::ids::DeviceId;
use futures::StreamExt;
use rand_core::Rng;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// For the connection, and for the answer, each.
const PATIENCE: Duration = Duration::from_secs(5);
const CLOCK_SLACK_MILLIS: u64 = 300_000;

type Outcome = (FindingCode, String);

/// Looks at each server. While one of them answers, the agent goes on: the others are a warning.
pub async fn examine(config: &Config, device: Option<DeviceId>, report: &mut Report) {
    // A file that cannot be read is no matter of routes.
    if let Err(error) = connect_options(&config.nats) {
        report.add(NatsPasswordUnreadable, error);
        return;
    }
    let mut outcomes = Vec::new();
    for server in config.nats.url.as_slice() {
        let (code, about) = match connect(config, server).await {
            Ok((client, errors)) => match device {
                Some(device) => hello(config, device, &client, errors, report).await,
                None => {
                    (NatsAnswered, "connected; without a device there is nobody to say hello for".to_owned())
                }
            },
            Err(outcome) => outcome,
        };
        outcomes.push((code, format!("{}: {about}", server.as_url_str())));
    }
    let answered = outcomes.iter().any(|(code, _)| *code == NatsAnswered);
    for (code, about) in outcomes {
        match code.level() {
            Level::Problem if answered => report.add_as(code, Level::Warning, about),
            level => report.add_as(code, level, about),
        }
    }
}

/// A connection, and what the server complains about on it.
async fn connect(config: &Config, server: &ServerAddr) -> Result<(Client, mpsc::Receiver<String>), Outcome> {
    let (sender, errors) = mpsc::channel(4);
    let note = move |event| {
        if let Event::ServerError(error) = event {
            let _full = sender.try_send(error.to_string());
        }
        std::future::ready(())
    };
    let options =
        connect_options(&config.nats).map_err(|error| (NatsPasswordUnreadable, error.to_string()))?;
    let options = options.connection_timeout(PATIENCE).max_reconnects(1).ignore_discovered_servers();
    match timeout(PATIENCE, options.event_callback(note).connect(server)).await {
        Ok(Ok(client)) => Ok((client, errors)),
        Ok(Err(error)) => {
            let code = match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => NatsRefused,
                ConnectErrorKind::Tls => NatsTls,
                _ => NatsUnreachable,
            };
            Err((code, error.to_string()))
        }
        Err(_elapsed) => Err((NatsUnreachable, format!("no connection within {} s", PATIENCE.as_secs()))),
    }
}

async fn hello(
    config: &Config,
    device: DeviceId,
    client: &Client,
    mut errors: mpsc::Receiver<String>,
    report: &mut Report,
) -> Outcome {
    let inbox = format!("_INBOX_{device}.{:016x}", Entropy.next_u64());
    let subject = format!("muster.v1.{}.up.{}.{device}.hello", config.region, config.source);
    let failed = |error: String| (NatsUnreachable, error);
    let mut answers = match client.subscribe(format!("{inbox}.*")).await {
        Ok(answers) => answers,
        Err(error) => return failed(error.to_string()),
    };
    let sent = client.publish_with_reply(subject, format!("{inbox}.1"), encode_hello(device).into()).await;
    if let Err(error) = sent {
        return failed(error.to_string());
    }
    let answer = async {
        tokio::select! {
            answer = answers.next() => Ok(answer),
            Some(complaint) = errors.recv() => Err(complaint),
        }
    };
    match timeout(PATIENCE, answer).await {
        Ok(Ok(Some(message))) if message.status == Some(StatusCode::NO_RESPONDERS) => {
            (NatsNoNode, format!("nobody listens for region `{}`", config.region))
        }
        Ok(Ok(Some(message))) => match Ticket::parse_answer(&message.payload) {
            Ok(ticket) => {
                compare_clocks(&ticket, report);
                (
                    NatsAnswered,
                    format!("a ticket of generation {}, log index {}", ticket.generation, ticket.applied),
                )
            }
            Err(_) => (NatsSilent, "an answer that is no ticket".to_owned()),
        },
        Ok(Ok(None)) => failed("the connection was closed".to_owned()),
        Ok(Err(complaint)) => (NatsForbidden, complaint),
        Err(_elapsed) => (NatsSilent, format!("no ticket within {} s", PATIENCE.as_secs())),
    }
}

/// Nobody signed the ticket: a hint, no more (protocol.md rule 14).
fn compare_clocks(ticket: &Ticket, report: &mut Report) {
    let wall = Clock::start().now().wall;
    let apart = wall.millis_since(ticket.stamp).max(ticket.stamp.millis_since(wall));
    if apart > CLOCK_SLACK_MILLIS {
        report.add(ClockDiffers, format!("clock {wall}, ticket {}", ticket.stamp));
    }
}
