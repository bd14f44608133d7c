//! `[nats]`: which servers, and as whom.

use async_nats::ServerAddr;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroizing;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    pub url: NatsServers,
    pub user: Option<String>,
    pub password: Option<Zeroizing<String>>,
    /// Instead of `password`: a file that holds it.
    pub password_file: Option<PathBuf>,
    /// Certificates that a TLS server is checked against (PEM).
    pub ca_file: Option<PathBuf>,
}

impl NatsConfig {
    /// Relations that no single field can show.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.password.is_some() && self.password_file.is_some() {
            return Err("table `[nats]`: expected `password` or `password_file`, got both");
        }
        let has_password = self.password.is_some() || self.password_file.is_some();
        if self.user.is_some() != has_password {
            return Err(
                "table `[nats]`: expected `user` with `password` or `password_file`, got one of the two",
            );
        }
        Ok(())
    }
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NatsConfig({}, user {:?})", self.url, self.user)
    }
}

/// One server at least, in the order in which they are tried. No URL holds a login: URLs are shown and logged.
#[derive(Clone)]
pub struct NatsServers(Vec<ServerAddr>);

impl NatsServers {
    #[must_use]
    pub fn as_slice(&self) -> &[ServerAddr] {
        &self.0
    }
}

impl fmt::Display for NatsServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.0.iter().map(ServerAddr::as_url_str).collect();
        f.write_str(&urls.join(", "))
    }
}

impl<'de> Deserialize<'de> for NatsServers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Servers)
    }
}

struct Servers;

impl<'de> Visitor<'de> for Servers {
    type Value = NatsServers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a URL such as nats://nats.example.net:4222, or a list of them")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<NatsServers, E> {
        Ok(NatsServers(vec![server(text).map_err(E::custom)?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<NatsServers, A::Error> {
        let mut servers = Vec::new();
        while let Some(text) = list.next_element::<Zeroizing<String>>()? {
            servers.push(server(&text).map_err(A::Error::custom)?);
        }
        if servers.is_empty() {
            return Err(A::Error::custom("`[nats] url`: expected at least one URL"));
        }
        Ok(NatsServers(servers))
    }
}

/// The text itself is not repeated: it may hold a password.
fn server(text: &str) -> Result<ServerAddr, String> {
    let refused = |why: &str| format!("`[nats] url`: expected nats://host:port or tls://host:port: {why}");
    let server: ServerAddr = text.parse().map_err(|error: std::io::Error| refused(&error.to_string()))?;
    if server.has_user_pass() || server.password().is_some() {
        return Err("`[nats] url`: URLs are logged; give the login as `user` and `password_file`".to_owned());
    }
    if server.is_websocket() {
        return Err(refused("WebSockets are not spoken here"));
    }
    if server.host().is_empty() {
        return Err(refused("it names no host"));
    }
    Ok(server)
}
