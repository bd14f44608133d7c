//! Activation and re-key: the asymmetric way into a session.

use super::shared::{ComponentKind, Suite, Wrapped};
use crate::ids::{BootId, CodeDigest, DeviceId, Epoch, Generation, LogIndex, SourceId};
use rkyv::{Archive, Deserialize, Serialize};

/// A device proved its identity with HPKE, its OTP pre-shared key and its signature. The admitting node attests
/// that all three held; `transcript` and `signature` let a third party check the signature without the code.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct DeviceActivated {
    pub device: DeviceId,
    /// The code that was presented; none for a re-key (protocol.md rule 6).
    pub code: Option<CodeDigest>,
    /// What the signature covers: header ‖ encapsulated key ‖ ciphertext (protocol.md rule 17).
    pub transcript: Vec<u8>,
    /// ECDSA P-384 over the transcript, r ‖ s, low s, 96 bytes.
    pub signature: Vec<u8>,
    /// Components whose digest differed from the manifest's, none required among them.
    pub mismatched: Vec<ComponentKind>,
    pub ticket_generation: Generation,
    pub ticket_applied: LogIndex,
    pub boot: BootId,
    pub boot_count: u32,
    pub firmware: u32,
    pub suite: Suite,
    /// The epoch that the proposing node expects the fold to assign; the fold refuses another (`Raced`).
    pub epoch: Epoch,
    /// The highest epoch that the device claims to know of.
    pub epoch_claimed: Epoch,
    pub server_nonce: [u8; 32],
    /// The resumption secret of the new epoch.
    pub resumption: Wrapped,
    pub source: SourceId,
}
