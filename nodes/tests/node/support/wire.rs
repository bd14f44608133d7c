//! A wire in memory between members: what is said is encoded and decoded as on the real one; it can be cut.

use events::ids::NodeId;
use futures::future::BoxFuture;
use nodes::peers::message::{decode, encode};
use nodes::peers::{PeerAddress, PeerError, PeerReply, PeerRequest, PeerService, PeerTransport};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

#[derive(Default)]
pub struct Switchboard {
    members: Mutex<BTreeMap<NodeId, Arc<dyn PeerService>>>,
    cut_off: Mutex<BTreeSet<NodeId>>,
    withheld: Mutex<BTreeSet<NodeId>>,
    /// Where in a snapshot each piece began that was sent.
    pieces: Mutex<Vec<u64>>,
    /// The line to who gets pieces is cut at this one.
    cut_at_piece: Mutex<Option<usize>>,
}

impl Switchboard {
    pub fn plug_in(&self, node: NodeId, service: Arc<dyn PeerService>) {
        self.members.lock().insert(node, service);
    }

    pub fn unplug(&self, node: NodeId) {
        self.members.lock().remove(&node);
    }

    /// Nothing reaches the node, and nothing it says reaches anybody.
    pub fn cut_off(&self, node: NodeId) {
        self.cut_off.lock().insert(node);
    }

    /// No entry of the log reaches the node; all else does.
    pub fn withhold(&self, node: NodeId) {
        self.withheld.lock().insert(node);
    }

    /// Cuts whoever is sent a snapshot off before the piece of this number, once, counted from the first ever.
    pub fn cut_at_piece(&self, number: usize) {
        *self.cut_at_piece.lock() = Some(number);
    }

    /// Waits until the line was cut before a piece.
    pub async fn cut_came(&self) {
        while self.cut_off.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Where in a snapshot each piece began that was sent.
    pub fn pieces(&self) -> Vec<u64> {
        self.pieces.lock().clone()
    }

    pub fn heal(&self) {
        self.cut_off.lock().clear();
        self.withheld.lock().clear();
    }

    fn lets_through(&self, to: NodeId, request: &PeerRequest) -> bool {
        let brings_entries = matches!(request, PeerRequest::Append(append) if !append.entries.is_empty());
        if let PeerRequest::Snapshot(piece) = request {
            let mut pieces = self.pieces.lock();
            if self.cut_at_piece.lock().take_if(|number| *number == pieces.len()).is_some() {
                self.cut_off.lock().insert(to);
                return false;
            }
            pieces.push(piece.offset);
        }
        !(brings_entries && self.withheld.lock().contains(&to))
    }

    fn line(&self, from: NodeId, to: NodeId) -> Option<Arc<dyn PeerService>> {
        let cut = self.cut_off.lock();
        if cut.contains(&from) || cut.contains(&to) {
            return None;
        }
        self.members.lock().get(&to).cloned()
    }
}

/// One member's end of the wire.
pub struct Line {
    pub own: NodeId,
    pub board: Arc<Switchboard>,
}

impl PeerTransport for Line {
    fn call<'a>(
        &'a self,
        to: &'a PeerAddress,
        request: PeerRequest,
        within: Duration,
    ) -> BoxFuture<'a, Result<PeerReply, PeerError>> {
        let node = to.node;
        Box::pin(async move {
            let unreachable = PeerError::Unreachable { node, why: "the line is cut".to_owned() };
            let service = self.board.line(self.own, node).ok_or_else(|| unreachable.clone())?;
            if !self.board.lets_through(node, &request) {
                return Err(unreachable);
            }
            let request = decode::<PeerRequest>(&encode(&request).unwrap()).unwrap();
            let reply = tokio::time::timeout(within, service.answer(self.own, request)).await;
            let reply = reply.map_err(|_| PeerError::Timeout { node, after: within })?;
            // A reply is lost if the line was cut meanwhile.
            self.board.line(self.own, node).ok_or(unreachable)?;
            Ok(decode(&encode(&reply).unwrap()).unwrap())
        })
    }
}
