//! Whether a node could start with the files that its configuration names. Nothing is written, and nobody is called.

use super::opening::segment_keys;
use super::{NodeError, keyring};
use crate::bus::Trust;
use crate::config::NodeConfig;
use crate::peers::tls::PeerTls;
use crate::webhooks::Receiver;

/// Loads each file as the start of a node does; the error names the first that is missing or unfit.
pub fn check(config: &NodeConfig) -> Result<(), NodeError> {
    segment_keys(config, &keyring::load(config)?)?;
    PeerTls::load(&config.peers)?;
    crate::api::check_tls(&config.api)?;
    Trust::of(&config.nats).map_err(NodeError::NatsTls)?;
    for hook in &config.webhooks {
        Receiver::open(hook)?;
    }
    crate::telemetry::check(&config.telemetry)?;
    Ok(())
}
