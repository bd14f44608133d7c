//! The receiving end: TLS, then the member's name, then the line's head, and only then its calls.

use super::codec::{BytesCodec, FRAME_BYTES_MAX, LINE_PATH, encode_malformed, encode_reply, split_call};
use super::counters::PeerCounters;
use super::identity::{LineHead, ProvenPeer, prove};
use super::lobby::Lobby;
use super::message::{PeerRequest, decode};
use super::{PeerService, identity::IdentityError};
use crate::rare_log::RareLog;
use bytes::Bytes;
use events::ids::{ClusterId, NodeId};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::convert::Infallible;
use std::future::Ready;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, StreamingService};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Status, Streaming};

/// A handshake that takes longer is given up; three round trips across the world fit.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(3);
/// Proven connections that wait to be served.
const PROVEN_MAX: usize = 64;
/// Calls of one line that are answered at one time; what comes then stays in the socket.
const UNDER_WAY_MAX: usize = 64;

/// Who this node is, to judge who speaks to it.
#[derive(Clone)]
struct Gate {
    cluster: ClusterId,
    own: NodeId,
    members: Arc<[NodeId]>,
    counters: Arc<PeerCounters>,
    strangers: Arc<RareLog>,
}

/// The peers' wire of one node, serving until [`PeerServer::stop`].
pub struct PeerServer {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl PeerServer {
    /// Serves `service` on `listener` to the other `members` of `cluster`.
    pub fn start(
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        (cluster, own): (ClusterId, NodeId),
        members: Arc<[NodeId]>,
        counters: Arc<PeerCounters>,
        service: Arc<dyn PeerService>,
    ) -> Self {
        let (stop, stopping) = watch::channel(false);
        let gate = Gate { cluster, own, members, counters, strangers: Arc::default() };
        let (proven, incoming) = mpsc::channel(PROVEN_MAX);
        tokio::spawn(accept(listener, TlsAcceptor::from(tls), gate.clone(), proven, stopping.clone()));
        let endpoint = Endpoint { gate, service, stopping: stopping.clone() };
        let task = tokio::spawn(async move {
            let mut until = stopping;
            let until = async move {
                let _ = until.wait_for(|stopping| *stopping).await;
            };
            let incoming = ReceiverStream::new(incoming);
            let server = Server::builder()
                .initial_stream_window_size(Some(4 << 20))
                .initial_connection_window_size(Some(4 << 20))
                .http2_keepalive_interval(Some(Duration::from_secs(5)));
            if let Err(error) = server.serve_with_incoming_shutdown(endpoint, incoming, until).await {
                tracing::error!(%error, "the peers' wire stopped");
            }
        });
        PeerServer { stop, task }
    }

    /// Stops at once: peers retry what was under way elsewhere.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    gate: Gate,
    proven: mpsc::Sender<Result<ProvenStream, io::Error>>,
    mut stopping: watch::Receiver<bool>,
) {
    let lobby = Lobby::default();
    let crowded = RareLog::default();
    loop {
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a peer");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            // It changes once: to stop, or because the server is gone.
            _ = stopping.changed() => return,
        };
        let (acceptor, own_gate, proven) = (acceptor.clone(), gate.clone(), proven.clone());
        let pushed_out = lobby.enter(from.ip(), |place| {
            let handshake = async move {
                let shaken = shake_hands(stream, from, &acceptor, &own_gate).await;
                drop(place);
                shaken
            };
            spawn_handshake(handshake, proven)
        });
        if pushed_out {
            PeerCounters::count(&gate.counters.handshakes_pushed_out);
            if let Some(before) = crowded.may_speak() {
                tracing::warn!(%from, more = before, "too many connections in their handshake: the longest waiting one is dropped");
            }
        }
    }
}

/// The handshake can be aborted; what it proved is handed on by a task that cannot.
fn spawn_handshake(
    handshake: impl Future<Output = Option<ProvenStream>> + Send + 'static,
    proven: mpsc::Sender<Result<ProvenStream, io::Error>>,
) -> AbortHandle {
    let handshake = tokio::spawn(handshake);
    let abort = handshake.abort_handle();
    tokio::spawn(async move {
        if let Ok(Some(stream)) = handshake.await {
            let _ = proven.send(Ok(stream)).await;
        }
    });
    abort
}

/// TLS and the member's name; nothing that the peer sends after the handshake is read here.
async fn shake_hands(
    stream: TcpStream,
    from: SocketAddr,
    acceptor: &TlsAcceptor,
    gate: &Gate,
) -> Option<ProvenStream> {
    let _ = stream.set_nodelay(true);
    let shaken = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await;
    let shaken = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let stream = match shaken {
        Ok(stream) => stream,
        Err(error) => {
            PeerCounters::count(&gate.counters.handshakes_refused);
            if let Some(before) = gate.strangers.may_speak() {
                tracing::warn!(%from, %error, more = before, "refused a peer in its TLS handshake");
            }
            return None;
        }
    };
    match prove(gate.cluster, &gate.members, stream.get_ref().1.peer_certificates()) {
        Ok(peer) => Some(ProvenStream { stream, peer }),
        Err(error) => {
            PeerCounters::count(&gate.counters.identities_refused);
            if let Some(before) = gate.strangers.may_speak() {
                tracing::warn!(%from, %error, more = before, "refused a peer by its certificate's name");
            }
            None
        }
    }
}

/// A connection that belongs to a member.
struct ProvenStream {
    stream: TlsStream<TcpStream>,
    peer: ProvenPeer,
}

impl Connected for ProvenStream {
    type ConnectInfo = ProvenPeer;

    fn connect_info(&self) -> ProvenPeer {
        self.peer
    }
}

impl AsyncRead for ProvenStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ProvenStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The one gRPC method.
#[derive(Clone)]
struct Endpoint {
    gate: Gate,
    service: Arc<dyn PeerService>,
    stopping: watch::Receiver<bool>,
}

impl Endpoint {
    /// The head, before a call is touched.
    fn check_head(&self, request: &http::Request<Body>) -> Result<ProvenPeer, IdentityError> {
        let peer = request.extensions().get::<ProvenPeer>().copied().ok_or(IdentityError::NoCertificate)?;
        let expected = LineHead { cluster: self.gate.cluster, from: peer.node, to: self.gate.own };
        expected.check(request.headers())?;
        Ok(peer)
    }
}

impl Service<http::Request<Body>> for Endpoint {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let peer = match self.check_head(&request) {
            Ok(peer) => peer,
            Err(error) => {
                PeerCounters::count(&self.gate.counters.heads_refused);
                tracing::warn!(%error, "refused a peer's line by its head");
                let refusal = Status::permission_denied(error.to_string()).into_http();
                return Box::pin(std::future::ready(Ok(refusal)));
            }
        };
        if request.uri().path() != LINE_PATH {
            let refusal = Status::unimplemented("the peers' wire has one method, Line").into_http();
            return Box::pin(std::future::ready(Ok(refusal)));
        }
        let line = Answering { peer, endpoint: self.clone() };
        Box::pin(async move {
            let mut grpc = Grpc::new(BytesCodec)
                .max_decoding_message_size(FRAME_BYTES_MAX)
                .max_encoding_message_size(FRAME_BYTES_MAX);
            Ok(grpc.streaming(line, request).await)
        })
    }
}

/// The answering end of one line. All of its calls are answered within the task that writes the answers: none is handed
/// from one thread to another.
struct Answering {
    peer: ProvenPeer,
    endpoint: Endpoint,
}

impl StreamingService<Bytes> for Answering {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, calls: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let (peer, endpoint) = (self.peer, self.endpoint.clone());
        let mut stopping = endpoint.stopping.clone();
        let stopped = async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        let answers = calls
            .into_inner()
            .map(move |call| answer(peer, endpoint.clone(), call))
            .buffer_unordered(UNDER_WAY_MAX)
            .take_until(stopped);
        std::future::ready(Ok(tonic::Response::new(answers.boxed())))
    }
}

async fn answer(peer: ProvenPeer, endpoint: Endpoint, call: Result<Bytes, Status>) -> Result<Bytes, Status> {
    let counters = &endpoint.gate.counters;
    let Some((number, request)) = split_call(call?) else {
        PeerCounters::count(&counters.malformed);
        return Err(Status::invalid_argument("a call without a number"));
    };
    match decode::<PeerRequest>(&request) {
        Ok(request) => {
            let reply = endpoint.service.answer(peer.node, request).await;
            PeerCounters::count(&counters.answered);
            Ok(encode_reply(number, &reply))
        }
        Err(error) => {
            PeerCounters::count(&counters.malformed);
            Ok(encode_malformed(number, &error.to_string()))
        }
    }
}
