//! Whether a node could start with the files that its configuration names. Nothing is left behind, and nobody is called.

use super::opening::segment_keys;
use super::{NodeError, keyring};
use crate::bus::Trust;
use crate::config::{NodeConfig, RetentionConfig};
use crate::peers::tls::PeerTls;
use crate::webhooks::Receiver;

/// Loads each file as the start of a node does; the error names the first that is missing or unfit. Returns what a node
/// starts with all the same, and somebody should know.
pub fn check(config: &NodeConfig) -> Result<Vec<String>, NodeError> {
    segment_keys(config, &keyring::load(config)?)?;
    PeerTls::load(&config.peers)?;
    crate::api::check_tls(&config.api)?;
    Trust::of(&config.nats).map_err(NodeError::NatsTls)?;
    for hook in &config.webhooks {
        Receiver::open(hook)?;
    }
    crate::telemetry::check(&config.telemetry)?;
    Ok(config.retention.as_ref().and_then(archive_is_shut).into_iter().collect())
}

/// Why the archive cannot be written. A node runs without it and keeps its whole log meanwhile: so nobody would look before
/// its disk is full, and nobody must be kept from starting for it.
fn archive_is_shut(retention: &RetentionConfig) -> Option<String> {
    let dir = &retention.archive_directory;
    let probe = dir.join(format!(".muster-check-{}", std::process::id()));
    let written = std::fs::File::create_new(&probe).map(drop).and_then(|()| std::fs::remove_file(&probe));
    written.err().map(|error| {
        format!(
            "`retention.archive_directory`: {} cannot be written: {error}; create it for this node's user, and let the unit \
             (ReadWritePaths) or the container (a volume) write it. Until then the node keeps its whole log",
            dir.display()
        )
    })
}
