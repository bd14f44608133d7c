//! Which NATS servers, and as whom.

use super::check::Checker;
use super::error::ConfigError;
use super::file::NatsFile;
use super::{NatsConfig, NatsLogin};
use async_nats::ServerAddr;

impl Checker<'_> {
    pub(super) fn nats(&self, file: NatsFile) -> Result<NatsConfig, ConfigError> {
        if file.urls.is_empty() {
            return Err(self.refuse("nats.urls", "expected at least one URL such as nats://127.0.0.1:4222"));
        }
        for (number, url) in (1..).zip(&file.urls) {
            nats_server(url).map_err(|why| self.refuse("nats.urls", format!("URL {number}: {why}")))?;
        }
        let login = match (file.user, file.password_file, file.nkey_file) {
            (None, None, None) => NatsLogin::Anonymous,
            (Some(user), Some(path), None) => {
                NatsLogin::Password { user, password: self.secret("nats.password_file", &path)? }
            }
            (None, None, Some(path)) => NatsLogin::Nkey { seed: self.secret("nats.nkey_file", &path)? },
            _ => {
                let why = "expected `user` with `password_file`, or `nkey_file` alone, or none of them";
                return Err(self.refuse("nats.user", why));
            }
        };
        let ca_file = self.authorities("nats.ca_file", file.ca_file.as_deref())?;
        Ok(NatsConfig { urls: file.urls, login, ca_file })
    }
}

/// The server that a URL names. What is wrong with another is said without the URL, which may hold a password.
pub fn nats_server(url: &str) -> Result<ServerAddr, String> {
    let refused = |why: &str| format!("expected nats://host:port or tls://host:port: {why}");
    let server: ServerAddr = url.parse().map_err(|error: std::io::Error| refused(&error.to_string()))?;
    if server.is_websocket() {
        return Err(refused("WebSockets are not spoken here"));
    }
    if server.host().is_empty() {
        return Err(refused("it names no host"));
    }
    Ok(server)
}
