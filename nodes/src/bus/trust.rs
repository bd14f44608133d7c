//! Whose certificates NATS servers may show.
//!
//! Invariant: with an authority configured nothing is said in the clear. A server's greeting is not encrypted, so who
//! stands between could else take the word away that the server wants encryption, and read the login.

use crate::config::NatsConfig;
use crate::peers::tls::{TlsError, provider, roots, roots_of_this_host};
use std::io;
use std::sync::Arc;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// What a node believes of NATS servers.
pub enum Trust {
    /// What this host believes; asked only for a server that wants encryption.
    System,
    /// The configured authority and no other; encryption is demanded.
    Authority(Arc<ClientConfig>),
}

impl Trust {
    pub fn of(config: &NatsConfig) -> Result<Trust, TlsError> {
        let Some(file) = &config.ca_file else { return Ok(Trust::System) };
        let unfit = |e: io::Error| TlsError::Unfit { file: file.clone(), why: e.to_string() };
        Ok(Trust::Authority(client(roots(file)?).map_err(unfit)?))
    }

    pub(super) fn demands_tls(&self) -> bool {
        match self {
            Trust::System => false,
            Trust::Authority(_) => true,
        }
    }

    pub(super) fn client(&self) -> io::Result<Arc<ClientConfig>> {
        match self {
            Trust::System => client(roots_of_this_host("nats.ca_file").map_err(io::Error::other)?),
            Trust::Authority(config) => Ok(config.clone()),
        }
    }
}

fn client(roots: RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = builder.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}
