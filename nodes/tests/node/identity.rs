//! Who may speak on the peers' wire: real sockets, real TLS.

use crate::support::authority::Authority;
use crate::support::{CLUSTER, in_time};
use events::ids::{ClusterId, NodeId};
use futures::future::BoxFuture;
use nodes::peers::tls::PeerTls;
use nodes::peers::{
    PeerAddress, PeerCounters, PeerError, PeerReply, PeerRequest, PeerServer, PeerService, PeerStatus,
    PeerTransport, TonicTransport,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;

const OTHER_CLUSTER: ClusterId = ClusterId::from_bytes([8; 16]);
const WITHIN: Duration = Duration::from_secs(5);

/// Says who called it, and counts.
#[derive(Default)]
struct Greeter {
    calls: AtomicU64,
}

impl PeerService for Greeter {
    fn answer(&self, from: NodeId, _request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { PeerReply::Status(PeerStatus { node: from, ..PeerStatus::default() }) })
    }
}

/// Node 1 of the cluster, listening.
struct Listening {
    _server: PeerServer,
    at: PeerAddress,
    greeter: Arc<Greeter>,
    counters: Arc<PeerCounters>,
    dir: TempDir,
    authority: Authority,
}

async fn node_1() -> Listening {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
    let files = authority.member_files(&dir.path().join("1"), (CLUSTER, 1), &authority);
    let tls = PeerTls::load(&files).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = PeerAddress { node: 1, address: listener.local_addr().unwrap().to_string() };
    let (greeter, counters) = (Arc::new(Greeter::default()), Arc::new(PeerCounters::default()));
    let members = Arc::from([1, 2, 3]);
    let server =
        PeerServer::start(listener, tls.server, (CLUSTER, 1), members, counters.clone(), greeter.clone());
    Listening { _server: server, at, greeter, counters, dir, authority }
}

impl Listening {
    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A caller with a certificate of `issuer` for one name, who says to be (`cluster`, `node`).
    fn caller(
        &self,
        issuer: &Authority,
        named: (ClusterId, NodeId),
        says: (ClusterId, NodeId),
    ) -> TonicTransport {
        let files = issuer.member_files(&self.dir().join("caller"), named, &self.authority);
        let tls = PeerTls::load(&files).unwrap();
        TonicTransport::new(says.0, says.1, tls.client, WITHIN)
    }

    async fn is_refused(&self, caller: &TonicTransport, at: &PeerAddress) -> PeerError {
        let answer = in_time("an answer", caller.call(at, PeerRequest::Status, WITHIN)).await;
        assert_eq!(self.greeter.calls.load(Ordering::SeqCst), 0, "nothing reached the node");
        answer.unwrap_err()
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_answered_and_known_by_its_certificate() {
    let node_1 = node_1().await;
    let caller = node_1.caller(&node_1.authority, (CLUSTER, 2), (CLUSTER, 2));
    let reply = in_time("a reply", caller.call(&node_1.at, PeerRequest::Status, WITHIN)).await.unwrap();
    let PeerReply::Status(status) = reply else { panic!("another kind came back") };
    assert_eq!(status.node, 2);
    assert_eq!(count(&node_1.counters.answered), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_refused_in_the_handshake() {
    let node_1 = node_1().await;
    let caller = node_1.caller(&Authority::new(), (CLUSTER, 2), (CLUSTER, 2));
    node_1.is_refused(&caller, &node_1.at).await;
    assert!(count(&node_1.counters.handshakes_refused) >= 1);
    assert_eq!(count(&node_1.counters.heads_refused), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_named_for_another_cluster_or_a_stranger_is_refused_before_a_request_is_read() {
    let node_1 = node_1().await;
    for named in [(OTHER_CLUSTER, 2), (CLUSTER, 4)] {
        let caller = node_1.caller(&node_1.authority, named, (CLUSTER, 2));
        node_1.is_refused(&caller, &node_1.at).await;
    }
    assert!(count(&node_1.counters.identities_refused) >= 2);
    assert_eq!(count(&node_1.counters.malformed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_claims_to_be_another_one_or_of_another_cluster_is_refused_by_the_head() {
    let node_1 = node_1().await;
    let as_another = node_1.caller(&node_1.authority, (CLUSTER, 2), (CLUSTER, 3));
    let error = node_1.is_refused(&as_another, &node_1.at).await;
    assert!(matches!(&error, PeerError::Refused { why, .. } if why.contains("muster-from")), "{error}");
    assert_eq!(count(&node_1.counters.heads_refused), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_does_not_speak_to_a_node_with_another_name() {
    let node_1 = node_1().await;
    let caller = node_1.caller(&node_1.authority, (CLUSTER, 2), (CLUSTER, 2));
    let as_node_3 = PeerAddress { node: 3, ..node_1.at.clone() };
    let error = node_1.is_refused(&caller, &as_node_3).await;
    assert!(matches!(error, PeerError::Unreachable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_half_open_connections_from_a_members_own_address_do_not_keep_a_member_out() {
    let node_1 = node_1().await;
    let mut half_open = Vec::new();
    for _ in 0..400 {
        half_open.push(tokio::net::TcpStream::connect(&node_1.at.address).await.unwrap());
    }
    let caller = node_1.caller(&node_1.authority, (CLUSTER, 2), (CLUSTER, 2));
    let began = tokio::time::Instant::now();
    caller.call(&node_1.at, PeerRequest::Status, WITHIN).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "it waited {:?}", began.elapsed());
    assert!(count(&node_1.counters.handshakes_pushed_out) >= 300, "they were bounded, not served in turn");

    // And a member that is through stays, whatever comes after it.
    for _ in 0..400 {
        half_open.push(tokio::net::TcpStream::connect(&node_1.at.address).await.unwrap());
    }
    caller.call(&node_1.at, PeerRequest::Status, Duration::from_secs(2)).await.unwrap();
}
