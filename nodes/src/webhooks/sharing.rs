//! The members tell each other how far deliveries came.

use super::cursors::Cursors;
use crate::peers::{PeerAddress, PeerReply, PeerRequest, PeerTransport};
use std::sync::Arc;
use std::time::Duration;

/// Peers hear it at most this often, and answer within this time.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Sharing {
    pub cursors: Arc<Cursors>,
    pub transport: Arc<dyn PeerTransport>,
    pub peers: Vec<PeerAddress>,
}

impl Sharing {
    /// Tells it whenever one moved; for as long as this node leads.
    pub(super) async fn run(self) {
        let mut moved = self.cursors.moved();
        while moved.changed().await.is_ok() {
            self.exchange().await;
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Tells the peers what this node knows, and takes from them what they know better.
    pub(super) async fn exchange(&self) {
        let told = self.cursors.all();
        let calls = self
            .peers
            .iter()
            .map(|peer| self.transport.call(peer, PeerRequest::WebhookCursors(told.clone()), EVERY));
        for reply in futures::future::join_all(calls).await {
            // A peer that is away hears it the next time.
            if let Ok(PeerReply::WebhookCursors(theirs)) = reply {
                self.cursors.learn(&theirs);
            }
        }
    }
}
