//! The independent witness: no key ever seals two different things under one nonce.

use edge_agent::machine::{Transmit, TransmitKind};
use events::envelope::{Header, MessageKind};
use std::collections::BTreeMap;

use super::cluster::ModelCluster;

#[derive(Default)]
pub struct NonceChecker {
    sealed: BTreeMap<Vec<u8>, Vec<u8>>,
    pub heartbeats: u64,
}

impl NonceChecker {
    /// Looks at every message that leaves a terminal, whether or not it arrives.
    pub fn observe(&mut self, transmit: &Transmit, cluster: &ModelCluster) {
        let bytes = &transmit.payload[..];
        let name = match transmit.kind {
            TransmitKind::Heartbeat => {
                let header = Header::parse(bytes, MessageKind::Heartbeat).unwrap();
                self.heartbeats += 1;
                // The server nonce tells two keys of one epoch number apart (a restored cluster counts anew).
                let nonce =
                    cluster.device(header.device).sessions.get(&header.epoch).map(|s| s.server_nonce());
                let numbers = [header.epoch.to_le_bytes(), header.sequence.to_le_bytes()].concat();
                [b"beat", &header.device.as_bytes()[..], &numbers, &nonce.unwrap_or_default()].concat()
            }
            TransmitKind::Resume => {
                let header = Header::parse(bytes, MessageKind::Resume).unwrap();
                let client_nonce = &bytes[Header::BYTES..Header::BYTES + 16];
                [b"resume", &header.device.as_bytes()[..], &header.epoch.to_le_bytes(), client_nonce].concat()
            }
            TransmitKind::Hello | TransmitKind::Activation | TransmitKind::Tamper => return,
        };
        let before = self.sealed.entry(name).or_insert_with(|| bytes.to_vec());
        assert_eq!(before, bytes, "one key and nonce sealed two different {:?}s", transmit.kind);
    }
}
