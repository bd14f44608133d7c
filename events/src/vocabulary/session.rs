//! Resume: the symmetric ratchet from one epoch to the next.

use super::shared::{Suite, Wrapped};
use crate::ids::{BootId, DeviceId, Epoch, Generation, LogIndex, SourceId};
use rkyv::{Archive, Deserialize, Serialize};

/// A device proved that it holds the resumption secret of `from_epoch`.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct SessionResumed {
    pub device: DeviceId,
    pub from_epoch: Epoch,
    /// The epoch that the proposing node expects the fold to assign; the fold refuses another (`Raced`).
    pub epoch: Epoch,
    /// First commit wins per (device, from_epoch, client_nonce) (protocol.md rule 5).
    pub client_nonce: [u8; 16],
    pub server_nonce: [u8; 32],
    pub ticket_generation: Generation,
    pub ticket_applied: LogIndex,
    pub boot: BootId,
    pub boot_count: u32,
    pub firmware: u32,
    pub suite: Suite,
    /// The resumption secret of the new epoch.
    pub resumption: Wrapped,
    pub source: SourceId,
}
