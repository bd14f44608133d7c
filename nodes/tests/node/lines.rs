//! Many calls on one line between members: real sockets, real TLS.

use crate::support::authority::Authority;
use crate::support::{CLUSTER, in_time};
use futures::future::BoxFuture;
use nodes::peers::message::LogStanding;
use nodes::peers::tls::PeerTls;
use nodes::peers::{
    PeerAddress, PeerCounters, PeerError, PeerReply, PeerRequest, PeerServer, PeerService, TonicTransport,
};
use nodes::peers::{PeerStatus, PeerTransport};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

const WITHIN: Duration = Duration::from_secs(30);

/// Answers each `LogRange` only once it was asked for a `LogStanding`.
struct Patient {
    asked: Semaphore,
    holding: Semaphore,
}

impl Patient {
    fn new() -> Arc<Self> {
        Arc::new(Patient { asked: Semaphore::new(0), holding: Semaphore::new(0) })
    }

    async fn holds_another(&self) {
        in_time("a call to be heard", self.holding.acquire()).await.unwrap().forget();
    }
}

impl PeerService for Patient {
    fn answer(&self, _from: events::ids::NodeId, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        Box::pin(async move {
            match request {
                PeerRequest::LogRange { .. } => {
                    self.holding.add_permits(1);
                    self.asked.acquire().await.unwrap().forget();
                    PeerReply::LogRange(Vec::new())
                }
                PeerRequest::LogStanding => {
                    self.asked.add_permits(1);
                    PeerReply::LogStanding(LogStanding { term: 1, leads: false, committed: None, last: None })
                }
                _ => PeerReply::Status(PeerStatus::default()),
            }
        })
    }
}

struct Pair {
    _dir: TempDir,
    tls: PeerTls,
    caller: Arc<TonicTransport>,
}

impl Pair {
    fn new() -> Self {
        let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
        let files = |node| {
            let files =
                authority.member_files(&dir.path().join(format!("{node}")), (CLUSTER, node), &authority);
            PeerTls::load(&files).unwrap()
        };
        let (tls, own) = (files(1), files(2));
        let caller = Arc::new(TonicTransport::new(CLUSTER, 2, own.client, WITHIN));
        Pair { _dir: dir, tls, caller }
    }

    fn serve(&self, listener: TcpListener, service: Arc<dyn PeerService>) -> PeerServer {
        let (members, counters) = (Arc::from([1, 2, 3]), Arc::new(PeerCounters::default()));
        PeerServer::start(listener, self.tls.server.clone(), (CLUSTER, 1), members, counters, service)
    }
}

async fn listener() -> (TcpListener, PeerAddress) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = PeerAddress { node: 1, address: listener.local_addr().unwrap().to_string() };
    (listener, at)
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_calls_at_once_are_all_answered() {
    let (pair, (listener, at)) = (Pair::new(), listener().await);
    let _server = pair.serve(listener, Patient::new());
    let calls = (0..300).map(|_| pair.caller.call(&at, PeerRequest::Status, WITHIN));
    let answers = in_time("all answers", futures::future::join_all(calls)).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(PeerReply::Status(_)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_holds_up_no_other_on_its_line() {
    let (pair, (listener, at)) = (Pair::new(), listener().await);
    let service = Patient::new();
    let _server = pair.serve(listener, service.clone());
    // Both of the same lane: neither is answered before both were heard.
    let (caller, to) = (pair.caller.clone(), at.clone());
    let first =
        tokio::spawn(async move { caller.call(&to, PeerRequest::LogRange { from: 1 }, WITHIN).await });
    service.holds_another().await;
    let second = tokio::spawn({
        let (caller, to) = (pair.caller.clone(), at.clone());
        async move { caller.call(&to, PeerRequest::LogRange { from: 2 }, WITHIN).await }
    });
    service.holds_another().await;
    for _ in 0..2 {
        pair.caller.call(&at, PeerRequest::LogStanding, WITHIN).await.unwrap();
    }
    for call in [first, second] {
        assert!(matches!(in_time("its answer", call).await.unwrap(), Ok(PeerReply::LogRange(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_at_a_node_that_stops_hears_it_and_calls_again_when_it_is_back() {
    let (pair, (listener, at)) = (Pair::new(), listener().await);
    let service = Patient::new();
    let server = pair.serve(listener, service.clone());
    let (caller, to) = (pair.caller.clone(), at.clone());
    let waiting = tokio::spawn(async move {
        // More than the test has: an answer by time would be a failure.
        caller.call(&to, PeerRequest::LogRange { from: 1 }, Duration::from_secs(3600)).await
    });
    service.holds_another().await;
    server.stop().await;
    let error = in_time("word of the stop", waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, PeerError::Unreachable { node: 1, .. }), "{error}");

    let listener = TcpListener::bind(&at.address).await.unwrap();
    let _server = pair.serve(listener, service);
    let answer = in_time("an answer", pair.caller.call(&at, PeerRequest::LogStanding, WITHIN)).await;
    assert!(matches!(answer, Ok(PeerReply::LogStanding(_))), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_goes_on_being_opened_when_the_call_that_wanted_it_has_no_time_left() {
    let (pair, (listener, real)) = (Pair::new(), listener().await);
    let _server = pair.serve(listener, Patient::new());
    // On the way, connections are held until they are let through.
    let way = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = PeerAddress { node: 1, address: way.local_addr().unwrap().to_string() };
    let (came, through) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    tokio::spawn({
        let (came, through) = (came.clone(), through.clone());
        async move {
            loop {
                let (mut from, _) = way.accept().await.unwrap();
                came.fetch_add(1, Ordering::SeqCst);
                through.notified().await;
                let mut to = TcpStream::connect(&real.address).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
            }
        }
    });
    for _ in 0..3 {
        let short = Duration::from_millis(20);
        let error = pair.caller.call(&at, PeerRequest::Status, short).await.unwrap_err();
        assert!(matches!(error, PeerError::Timeout { .. }), "{error}");
    }
    through.notify_one();
    in_time("an answer", pair.caller.call(&at, PeerRequest::Status, WITHIN)).await.unwrap();
    assert_eq!(came.load(Ordering::SeqCst), 1, "each call waited for the same line");
}
