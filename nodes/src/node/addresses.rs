//! Where members are reached: what this node's configuration says, whatever the log said when the cluster was formed.
//!
//! The log names members and their addresses once, for ever. A member that moved to another host is named by an edit of
//! every node's configuration, so whoever calls a member calls it there, raft included.

use crate::config::MemberConfig;
use crate::peers::{PeerAddress, PeerError, PeerReply, PeerRequest, PeerTransport};
use events::ids::NodeId;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A transport that goes by the member's id.
pub(super) struct AsConfigured {
    transport: Arc<dyn PeerTransport>,
    members: BTreeMap<NodeId, PeerAddress>,
}

impl AsConfigured {
    pub(super) fn new(transport: Arc<dyn PeerTransport>, members: &[MemberConfig]) -> Self {
        let address =
            |member: &MemberConfig| PeerAddress { node: member.id, address: member.address.clone() };
        AsConfigured {
            transport,
            members: members.iter().map(|member| (member.id, address(member))).collect(),
        }
    }
}

impl PeerTransport for AsConfigured {
    fn call<'a>(
        &'a self,
        to: &'a PeerAddress,
        request: PeerRequest,
        within: Duration,
    ) -> BoxFuture<'a, Result<PeerReply, PeerError>> {
        self.transport.call(self.members.get(&to.node).unwrap_or(to), request, within)
    }
}
