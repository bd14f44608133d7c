//! The keyring of this node, refused by name if it is another cluster's.

use super::NodeError;
use crate::config::NodeConfig;
use events::keyring::Keyring;
use zeroize::Zeroizing;

pub(super) fn load(config: &NodeConfig) -> Result<Keyring, NodeError> {
    let file = &config.keyring;
    let text = std::fs::read_to_string(file)
        .map_err(|e| NodeError::KeyringUnreadable { file: file.clone(), why: e.to_string() })?;
    let text = Zeroizing::new(text);
    let keyring =
        Keyring::from_json(&text).map_err(|source| NodeError::Keyring { file: file.clone(), source })?;
    if keyring.cluster == config.cluster {
        return Ok(keyring);
    }
    Err(NodeError::OtherKeyring { file: file.clone(), found: keyring.cluster, expected: config.cluster })
}
