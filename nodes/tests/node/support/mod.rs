//! What the stories are told with: members on temporary disks, wired in memory or over TLS.

pub mod authority;
pub mod device;
pub mod factory;
pub mod faulty;
pub mod hands;
pub mod listener;
pub mod members;
pub mod served;
pub mod wire;

use events::ids::ClusterId;
use events::keyring::Keyring;
use nodes::entropy::{EntropyRng, OsEntropy};
use std::time::Duration;

/// Longer than anything here takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);

pub fn keyring() -> Keyring {
    Keyring::generate(&mut EntropyRng(&OsEntropy), CLUSTER)
}

/// Waits for something that must come.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("in vain: {what}"),
    }
}
