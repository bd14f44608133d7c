//! Who answers the peers: one service, and then another, on the same wire.

use crate::peers::{PeerReply, PeerRequest, PeerService};
use events::ids::NodeId;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use std::sync::Arc;

/// Passes calls on to whoever sits there now.
pub(super) struct Desk(RwLock<Arc<dyn PeerService>>);

impl Desk {
    pub(super) fn new(first: Arc<dyn PeerService>) -> Self {
        Desk(RwLock::new(first))
    }

    pub(super) fn hand_over(&self, next: Arc<dyn PeerService>) {
        *self.0.write() = next;
    }
}

impl PeerService for Desk {
    fn answer(&self, from: NodeId, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        let service = self.0.read().clone();
        Box::pin(async move { service.answer(from, request).await })
    }
}
