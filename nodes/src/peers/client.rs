//! The calling end: one connection per peer and lane, opened when first needed, opened again when it broke.

use super::codec::{BytesCodec, CALL_PATH};
use super::identity::{RequestHead, certificate_name};
use super::message::{MESSAGE_BYTES_MAX, PeerReply, PeerRequest, decode, encode};
use super::{PeerAddress, PeerError, PeerTransport};
use bytes::Bytes;
use events::ids::{ClusterId, NodeId};
use futures::future::BoxFuture;
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
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

/// What must not wait behind large messages has a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// Votes, raft's heartbeats, status.
    Small,
    /// Entries, snapshots, forwarded batches.
    Large,
}

impl Lane {
    fn of(request: &PeerRequest) -> Lane {
        match request {
            PeerRequest::Append(append) if append.entries.is_empty() => Lane::Small,
            PeerRequest::Append(_)
            | PeerRequest::Snapshot(_)
            | PeerRequest::Forward(_)
            | PeerRequest::LogRange { .. } => Lane::Large,
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
    channels: Mutex<BTreeMap<(PeerAddress, Lane), Channel>>,
}

impl TonicTransport {
    #[must_use]
    pub fn new(
        cluster: ClusterId,
        own: NodeId,
        tls: Arc<rustls::ClientConfig>,
        connect_within: Duration,
    ) -> Self {
        let tls = TlsConnector::from(tls);
        TonicTransport { cluster, own, tls, connect_within, channels: Mutex::default() }
    }

    fn channel(&self, to: &PeerAddress, lane: Lane) -> Result<Channel, PeerError> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(&(to.clone(), lane)) {
            return Ok(channel.clone());
        }
        let unreachable =
            |why: &dyn std::fmt::Display| PeerError::Unreachable { node: to.node, why: why.to_string() };
        let name = certificate_name(self.cluster, to.node);
        let server_name = ServerName::try_from(name).map_err(|e| unreachable(&e))?;
        // The connector below does TLS; the URI names where to go, nothing more.
        let endpoint = Endpoint::from_shared(format!("http://{}", to.address))
            .map_err(|e| unreachable(&e))?
            .connect_timeout(self.connect_within)
            .initial_stream_window_size(Some(1 << 20))
            .initial_connection_window_size(Some(4 << 20))
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(self.connect_within);
        let connector = Connector { address: to.address.clone(), server_name, tls: self.tls.clone() };
        let channel = endpoint.connect_with_connector_lazy(connector);
        channels.insert((to.clone(), lane), channel.clone());
        Ok(channel)
    }

    async fn exchange(&self, to: &PeerAddress, request: PeerRequest) -> Result<PeerReply, PeerError> {
        let node = to.node;
        let lane = Lane::of(&request);
        let bytes = encode(&request).map_err(|e| PeerError::Malformed { node, why: e.to_string() })?;
        let mut grpc = Grpc::new(self.channel(to, lane)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        grpc.ready().await.map_err(|e| PeerError::Unreachable { node, why: chain(&e) })?;
        let mut request: Request<Bytes> = Request::new(bytes);
        RequestHead { cluster: self.cluster, from: self.own, to: node }.write(request.metadata_mut());
        let path = PathAndQuery::from_static(CALL_PATH);
        let reply = grpc.unary(request, path, BytesCodec).await.map_err(|status| refusal(node, &status))?;
        decode(reply.get_ref()).map_err(|e| PeerError::Malformed { node, why: e.to_string() })
    }
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

/// An error with its causes, since a transport hides the telling one at the bottom.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
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
