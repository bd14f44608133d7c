//! Verdicts of a burst, sealed one behind the other into shared room: an allocation for many of them, none for each.

use super::nonces::Nonces;
use crate::entropy::Entropy;
use bytes::{Bytes, BytesMut};
use events::envelope::verdict::VERDICT_BYTES;
use events::envelope::{RequestDigest, SessionKeys, VerdictBody};
use std::sync::Arc;

/// Verdicts that share room, from the first of a burst on; a room lives until the last of them is sent.
const SHARED: std::ops::RangeInclusive<usize> = 8..=512;

pub struct Sealer {
    nonces: Nonces,
    room: BytesMut,
    /// For how many the room was made.
    shared: usize,
}

impl Sealer {
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Sealer { nonces: Nonces::new(entropy), room: BytesMut::new(), shared: 0 }
    }

    /// Seals a verdict under a fresh random nonce (protocol.md rule 11).
    pub fn verdict(&mut self, keys: &SessionKeys, request: &RequestDigest, verdict: &VerdictBody) -> Bytes {
        if self.room.capacity() < VERDICT_BYTES {
            self.shared = (2 * self.shared).clamp(*SHARED.start(), *SHARED.end());
            self.room = BytesMut::with_capacity(self.shared * VERDICT_BYTES);
        }
        self.room.extend_from_slice(&keys.seal_verdict(request, self.nonces.draw(), verdict));
        self.room.split().freeze()
    }
}
