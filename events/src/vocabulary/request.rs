//! A write by a person or a program that may come twice, over whatever node.

use rkyv::{Archive, Deserialize, Serialize};

/// Stands first in a batch: what follows is done once per key. The same key with the same content again answers where
/// the first stands in the log; with other content it is refused.
#[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
pub struct RequestKeyed {
    /// Digest of the caller's name and its key.
    pub key: [u8; 16],
    /// Digest of what the request asks for.
    pub content: [u8; 16],
}
