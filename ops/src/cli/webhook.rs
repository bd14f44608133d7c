//! `muster webhook`: secrets, and whether a receiver hears.

use super::Global;
use crate::exit::{NOT_HELD, USAGE, answered, coded};
use crate::output::Table;
use anyhow::Result;
use clap::Subcommand;
use nodes::clock::{Clock, SystemClock};
use nodes::config::{NodeConfig, WebhookConfig};
use nodes::entropy::{Entropy, OsEntropy};
use nodes::webhooks::event::CloudEvent;
use nodes::webhooks::{Answer, Receiver, SigningSecret};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum WebhookCommand {
    /// Make a secret that deliveries are signed with; the receiver verifies with the same
    Secret {
        /// Write it there, readable by its owner only, instead of printing it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Send a signed `webhook.test` to the receivers of a node's configuration, and say what each answered
    ///
    /// Each gets one attempt. Exit code 5 if one did not take it.
    Test {
        /// The node's configuration (TOML)
        #[arg(long, value_name = "FILE", env = "MUSTER_NODE_CONFIG")]
        config: PathBuf,
        /// Only the webhook of this name
        #[arg(long)]
        name: Option<String>,
    },
}

pub(crate) async fn run(global: &Global, command: WebhookCommand) -> Result<()> {
    match command {
        WebhookCommand::Secret { out } => secret(global, out),
        WebhookCommand::Test { config, name } => test(global, &config, name.as_deref()).await,
    }
}

#[derive(Serialize)]
struct Secret {
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

fn secret(global: &Global, out: Option<PathBuf>) -> Result<()> {
    let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
    OsEntropy.fill(&mut bytes[..]);
    let text = SigningSecret::text(&bytes);
    let said = match out {
        Some(file) if file.exists() => {
            let why = format!("{} is there already; a receiver may verify with it", file.display());
            return Err(coded(USAGE, why));
        }
        Some(file) => {
            crate::files::write_secret(&file, text.as_bytes())?;
            Secret { secret: None, file: Some(file) }
        }
        None => Secret { secret: Some(text.to_string()), file: None },
    };
    global.format().print(&said, |said| match (&said.secret, &said.file) {
        (Some(secret), _) => secret.clone(),
        (None, Some(file)) => format!(
            "wrote {}\nGive the receiver the same; nodes take it as `secret_file` of a [[webhooks]].",
            file.display()
        ),
        (None, None) => String::new(),
    })
}

#[derive(Serialize)]
struct Tested {
    webhook: String,
    taken: bool,
    answer: String,
}

async fn test(global: &Global, config: &std::path::Path, name: Option<&str>) -> Result<()> {
    let config = NodeConfig::load(config).map_err(|error| coded(USAGE, error.to_string()))?;
    let named = |hook: &&WebhookConfig| name.is_none_or(|name| hook.name == name);
    let hooks: Vec<_> = config.webhooks.iter().filter(named).collect();
    if hooks.is_empty() {
        let known: Vec<&str> = config.webhooks.iter().map(|hook| hook.name.as_str()).collect();
        let why = match known[..] {
            [] => "the configuration has no [[webhooks]]".to_owned(),
            _ => format!("no webhook has this name; there are: {}", known.join(", ")),
        };
        return Err(coded(USAGE, why));
    }
    let tested = futures::future::join_all(hooks.into_iter().map(|hook| attempt(config.cluster, hook))).await;
    let held = tested.iter().all(|tested| tested.taken);
    global.format().print(&tested, |tested| {
        let mut table = Table::with_head(&["webhook", "taken", "answer"]);
        for one in tested {
            let taken = if one.taken { "yes" } else { "no" };
            table.row([one.webhook.clone(), taken.to_owned(), one.answer.clone()]);
        }
        table.to_string()
    })?;
    if held { Ok(()) } else { Err(answered(NOT_HELD, "not every receiver took the test event")) }
}

async fn attempt(cluster: events::ids::ClusterId, hook: &WebhookConfig) -> Tested {
    let said = |taken, answer: String| Tested { webhook: hook.name.clone(), taken, answer };
    let receiver = match Receiver::open(hook) {
        Ok(receiver) => receiver,
        Err(error) => return said(false, error.to_string()),
    };
    let now = SystemClock::new().now();
    let event = CloudEvent::test(cluster, now);
    match receiver.post(&event.id, now.as_millis() / 1000, &event.body()).await {
        Answer::Taken => said(true, "taken".to_owned()),
        Answer::Refused(status) => said(false, format!("refused with {status}; look at the receiver's log")),
        Answer::Failed { why, .. } => said(false, why),
    }
}
