//! The calling end: one connection with one line per peer and lane, opened when first needed, opened again when it broke.

use super::codec::{BytesCodec, FRAME_BYTES_MAX, LINE_PATH};
use super::identity::{LineHead, certificate_name};
use super::line::Line;
use super::message::{PeerReply, PeerRequest};
use super::{PeerAddress, PeerError, PeerTransport, chain};
use events::ids::{ClusterId, NodeId};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::client::Grpc;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

/// What must not wait behind large messages has a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// Votes, raft's heartbeats, status.
    Small,
    /// Entries and forwarded batches.
    Log,
    /// Snapshots and history, in pieces of megabytes.
    Bulk,
}

impl Lane {
    fn of(request: &PeerRequest) -> Lane {
        match request {
            PeerRequest::Append(append) if append.entries.is_empty() => Lane::Small,
            PeerRequest::Append(_) | PeerRequest::Forward(_) => Lane::Log,
            PeerRequest::Snapshot(_) | PeerRequest::LogRange { .. } => Lane::Bulk,
            PeerRequest::Vote(_)
            | PeerRequest::PreVote(_)
            | PeerRequest::TransferLeader(_)
            | PeerRequest::HandOver { .. }
            | PeerRequest::Status
            | PeerRequest::LogStanding
            | PeerRequest::WebhookCursors(_) => Lane::Small,
        }
    }
}

/// [`PeerTransport`] over gRPC and mutual TLS.
pub struct TonicTransport {
    cluster: ClusterId,
    own: NodeId,
    tls: TlsConnector,
    connect_within: Duration,
    lines: Mutex<BTreeMap<(PeerAddress, Lane), Opening>>,
}

/// A line that is open or being opened, for all who want it. Opening goes on though who asked for it gives up: a call that
/// has less time than a handshake across the world takes would otherwise never see a line.
type Opening = Shared<BoxFuture<'static, Result<Arc<Line>, PeerError>>>;

impl TonicTransport {
    #[must_use]
    pub fn new(
        cluster: ClusterId,
        own: NodeId,
        tls: Arc<rustls::ClientConfig>,
        connect_within: Duration,
    ) -> Self {
        let tls = TlsConnector::from(tls);
        TonicTransport { cluster, own, tls, connect_within, lines: Mutex::default() }
    }

    async fn exchange(&self, to: &PeerAddress, request: PeerRequest) -> Result<PeerReply, PeerError> {
        let line = self.line(to, Lane::of(&request)).await?;
        line.call(&request).await
    }

    /// The line that is open, or a new one if there is none or it broke.
    fn line(&self, to: &PeerAddress, lane: Lane) -> Opening {
        let mut lines = self.lines.lock();
        let known = lines.get(&(to.clone(), lane)).filter(|opening| match opening.peek() {
            None => true,
            Some(opened) => opened.as_ref().is_ok_and(|line| !line.is_broken()),
        });
        if let Some(opening) = known {
            return opening.clone();
        }
        let opening = self.open(to.clone());
        lines.insert((to.clone(), lane), opening.clone());
        opening
    }

    fn open(&self, to: PeerAddress) -> Opening {
        let node = to.node;
        let head = LineHead { cluster: self.cluster, from: self.own, to: node };
        let opening = open_line(to, head, self.tls.clone(), self.connect_within);
        let opening = tokio::spawn(opening);
        let opened = async move {
            opening.await.unwrap_or_else(|e| Err(PeerError::Unreachable { node, why: e.to_string() }))
        };
        opened.boxed().shared()
    }
}

/// Connects, proves who both are, and says the head.
async fn open_line(
    to: PeerAddress,
    head: LineHead,
    tls: TlsConnector,
    connect_within: Duration,
) -> Result<Arc<Line>, PeerError> {
    let node = to.node;
    let unreachable = |why: &dyn std::fmt::Display| PeerError::Unreachable { node, why: why.to_string() };
    let name = certificate_name(head.cluster, node);
    let server_name = ServerName::try_from(name).map_err(|e| unreachable(&e))?;
    // The connector below does TLS; the URI names where to go, nothing more.
    let endpoint = Endpoint::from_shared(format!("http://{}", to.address))
        .map_err(|e| unreachable(&e))?
        .connect_timeout(connect_within)
        .initial_stream_window_size(Some(4 << 20))
        .initial_connection_window_size(Some(4 << 20))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(connect_within);
    let connector = Connector { address: to.address, server_name, tls };
    let channel = endpoint.connect_with_connector(connector).await.map_err(|e| unreachable(&chain(&e)))?;

    let mut grpc = Grpc::new(channel)
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    let (line, calls) = Line::new(node);
    let mut request = Request::new(calls);
    head.write(request.metadata_mut());
    let opening = async {
        grpc.ready().await.map_err(|e| unreachable(&chain(&e)))?;
        let path = PathAndQuery::from_static(LINE_PATH);
        grpc.streaming(request, path, BytesCodec).await.map_err(|status| refusal(node, &status))
    };
    match tokio::time::timeout(connect_within, opening).await {
        Ok(answers) => line.listen(answers?.into_inner()),
        Err(_) => return Err(PeerError::Timeout { node, after: connect_within }),
    }
    Ok(Arc::new(line))
}

impl PeerTransport for TonicTransport {
    fn call<'a>(
        &'a self,
        to: &'a PeerAddress,
        request: PeerRequest,
        within: Duration,
    ) -> BoxFuture<'a, Result<PeerReply, PeerError>> {
        Box::pin(async move {
            match tokio::time::timeout(within, self.exchange(to, request)).await {
                Ok(result) => result,
                Err(_) => Err(PeerError::Timeout { node: to.node, after: within }),
            }
        })
    }
}

fn refusal(node: NodeId, status: &tonic::Status) -> PeerError {
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => {
            PeerError::Refused { node, why: status.message().to_owned() }
        }
        Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange => {
            PeerError::Malformed { node, why: status.message().to_owned() }
        }
        _ => PeerError::Unreachable { node, why: chain(status) },
    }
}

/// Opens TCP and TLS to one peer; the certificate must carry the peer's name.
#[derive(Clone)]
struct Connector {
    address: String,
    server_name: ServerName<'static>,
    tls: TlsConnector,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let Connector { address, server_name, tls } = self.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            let stream = tls.connect(server_name, stream).await?;
            Ok(TokioIo::new(stream))
        })
    }
}
