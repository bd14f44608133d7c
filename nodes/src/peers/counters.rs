//! What the peers' wire refused, by the step at which it was refused.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since this start of the process.
#[derive(Debug, Default)]
pub struct PeerCounters {
    /// TLS handshakes that failed: another authority, no certificate, no TLS.
    pub handshakes_refused: AtomicU64,
    /// Connections dropped in their handshake for newer ones, because there were too many.
    pub handshakes_pushed_out: AtomicU64,
    /// Certificates of this authority that name no member of this cluster.
    pub identities_refused: AtomicU64,
    /// Lines whose head names another cluster, sender or receiver.
    pub heads_refused: AtomicU64,
    /// Calls that are no request.
    pub malformed: AtomicU64,
    pub answered: AtomicU64,
}

impl PeerCounters {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// (name, count), for the status.
    #[must_use]
    pub fn read(&self) -> [(&'static str, u64); 6] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("peer_handshakes_refused", read(&self.handshakes_refused)),
            ("peer_handshakes_pushed_out", read(&self.handshakes_pushed_out)),
            ("peer_identities_refused", read(&self.identities_refused)),
            ("peer_heads_refused", read(&self.heads_refused)),
            ("peer_malformed", read(&self.malformed)),
            ("peer_answered", read(&self.answered)),
        ]
    }
}
