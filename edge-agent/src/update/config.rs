//! `[update]`: whose offers this terminal believes, and how it fetches and installs them.

use super::http;
use crate::shell::config::{HookCommand, Millis};
use events::identity::key::PublicKey;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateConfig {
    /// Public update keys, 97 bytes in hexadecimal, as `muster keys update` shows them. Without one no offer is taken.
    pub keys: Vec<PublicKey>,
    /// Kind of artifact → the vendor's program that installs it, as a list of absolute path and arguments.
    pub install: BTreeMap<String, HookCommand>,
    /// A hook that takes longer is killed, with everything that it started [default: 30 minutes].
    pub install_timeout_ms: Option<Millis>,
    /// Where a signed offer lies too, for terminals that do not reach NATS.
    pub offer_url: Option<OfferUrl>,
    /// How often a terminal that hears no verdicts asks [default: 6 hours].
    pub ask_interval_ms: Option<Millis>,
    /// Certificates that HTTPS servers are checked against (PEM) [default: those of the system].
    pub ca_file: Option<PathBuf>,
    /// First back-off between tries of a download; it doubles up to 5 minutes [default: 1 s].
    pub retry_first_ms: Option<Millis>,
}

impl UpdateConfig {
    #[must_use]
    pub fn install_timeout(&self) -> Duration {
        self.install_timeout_ms.map_or(Duration::from_secs(30 * 60), Millis::as_duration)
    }

    #[must_use]
    pub fn ask_interval(&self) -> Duration {
        self.ask_interval_ms.map_or(Duration::from_secs(6 * 3600), Millis::as_duration)
    }

    #[must_use]
    pub fn retry_first(&self) -> Duration {
        self.retry_first_ms.map_or(Duration::from_secs(1), Millis::as_duration)
    }

    /// Whether this terminal could take any offer.
    #[must_use]
    pub fn is_used(&self) -> bool {
        !self.keys.is_empty() && !self.install.is_empty()
    }
}

/// A URL that can be fetched. It holds no login: URLs are shown and logged.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct OfferUrl(String);

impl OfferUrl {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for OfferUrl {
    type Error = String;

    fn try_from(url: String) -> Result<Self, String> {
        let expected = "`[update] offer_url`: expected http://host/path or https://host/path";
        if url.contains('@') {
            return Err(format!("{expected}, without a login: what is offered is public"));
        }
        match http::can_fetch(&url) {
            true => Ok(OfferUrl(url)),
            false => Err(expected.to_owned()),
        }
    }
}
