//! Who is told what changed, and how.

use super::Secret;
use super::check::Checker;
use super::error::ConfigError;
use super::file::WebhookFile;
use crate::webhooks::SigningSecret;
use crate::webhooks::event::EventKind;
use std::path::PathBuf;

/// Receivers of one cluster.
const WEBHOOKS_MAX: usize = 16;
const NAME_LENGTH_MAX: usize = 32;
const TIMEOUT_MS: u64 = 10_000;

/// One receiver.
#[derive(Clone)]
pub struct WebhookConfig {
    /// For logs, metrics and the cursor: the same name on every node.
    pub name: String,
    /// Never printed: a token may be part of it.
    pub url: Secret,
    pub secret: SigningSecret,
    /// Names of events, or `noun.*`; none means all.
    pub events: Vec<String>,
    /// Certificates that the receiver is checked against; none means those of the system.
    pub ca_file: Option<PathBuf>,
    /// An attempt ends within this time, in milliseconds.
    pub timeout_ms: u64,
}

impl WebhookConfig {
    #[must_use]
    pub fn wants(&self, kind: EventKind) -> bool {
        self.events.is_empty() || self.events.iter().any(|filter| kind.matches(filter))
    }
}

impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookConfig").field("name", &self.name).field("events", &self.events).finish()
    }
}

impl Checker<'_> {
    pub(super) fn webhooks(&self, files: Vec<WebhookFile>) -> Result<Vec<WebhookConfig>, ConfigError> {
        if files.len() > WEBHOOKS_MAX {
            return Err(
                self.refuse("webhooks", format!("expected at most {WEBHOOKS_MAX}, got {}", files.len()))
            );
        }
        let mut webhooks: Vec<WebhookConfig> = Vec::new();
        for file in files {
            let webhook = self.webhook(file)?;
            if webhooks.iter().any(|other| other.name == webhook.name) {
                return Err(self.refuse("webhooks.name", format!("two are named `{}`", webhook.name)));
            }
            webhooks.push(webhook);
        }
        Ok(webhooks)
    }

    fn webhook(&self, file: WebhookFile) -> Result<WebhookConfig, ConfigError> {
        let name = file.name;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > NAME_LENGTH_MAX || !name.chars().all(fits) {
            let why = format!("expected 1 to {NAME_LENGTH_MAX} of a-z, 0-9 and `-`, got `{name}`");
            return Err(self.refuse("webhooks.name", why));
        }
        let url = file.url.parse::<reqwest::Url>().ok();
        if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            let why = format!("expected a URL such as https://hooks.example.net/muster for `{name}`");
            return Err(self.refuse("webhooks.url", why));
        }
        let secret = self.secret("webhooks.secret_file", &file.secret_file)?;
        let secret = SigningSecret::parse(secret.expose())
            .map_err(|unfit| self.refuse("webhooks.secret_file", unfit.to_string()))?;
        for filter in &file.events {
            if !EventKind::ALL.iter().any(|kind| kind.matches(filter)) {
                let known: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
                let why =
                    format!("no event is named `{filter}`; expected `noun.*` or one of {}", known.join(", "));
                return Err(self.refuse("webhooks.events", why));
            }
        }
        let ca_file = self.authorities("webhooks.ca_file", file.ca_file.as_deref())?;
        let timeout_ms = file.timeout_ms.unwrap_or(TIMEOUT_MS);
        self.within("webhooks.timeout_ms", timeout_ms, 100, 60_000)?;
        Ok(WebhookConfig {
            name,
            url: Secret::new(file.url),
            secret,
            events: file.events,
            ca_file,
            timeout_ms,
        })
    }
}
