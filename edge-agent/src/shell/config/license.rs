//! `[license]`: which apps may ask for the license token, where, and which further keys may have signed it.

use events::identity::key::PublicKey;
use events::ids::AppName;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where apps find the socket, if nothing else is said.
pub const LICENSE_SOCKET: &str = "/run/muster/license.sock";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LicenseConfig {
    /// The Unix socket that apps ask on; its folder must be one that only the agent may write to.
    pub socket: PathBuf,
    /// App → user ids that may ask for it. Without an app there is no socket.
    pub apps: BTreeMap<AppName, Vec<u32>>,
    /// License keys that count beside the one of `cluster_file`, while license keys are rotated (hexadecimal).
    pub keys: Vec<PublicKey>,
}

impl Default for LicenseConfig {
    fn default() -> Self {
        LicenseConfig { socket: PathBuf::from(LICENSE_SOCKET), apps: BTreeMap::new(), keys: Vec::new() }
    }
}
