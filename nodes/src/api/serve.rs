//! The socket below the API: TLS with or without a client's certificate, a place in the hall, and time limits on whatever a
//! client may be slow with.

use super::ApiError;
use super::access::Shown;
use super::hall::{Guarded, Hall, Place};
use crate::config::ApiConfig;
use crate::peers::tls::{TlsError, certificates, private_key, provider, roots};
use axum::Extension;
use axum::middleware::AddExtension;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use futures::future::BoxFuture;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tower::Layer;

/// A client that does not finish its handshake, or its request's head, is let go after this time.
pub(super) const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// TLS for the API; a client may show a certificate if an authority for clients is configured.
pub(super) fn tls(config: &ApiConfig) -> Result<Arc<ServerConfig>, ApiError> {
    let unfit =
        |e: &dyn std::fmt::Display| TlsError::Unfit { file: config.certificate.clone(), why: e.to_string() };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| unfit(&e))?;
    let builder = match &config.client_authority {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let roots = Arc::new(roots(authority)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .allow_unauthenticated()
                .build()
                .map_err(|e| unfit(&e))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates(&config.certificate)?;
    let mut tls = builder.with_single_cert(chain, private_key(&config.key)?).map_err(|e| unfit(&e))?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

/// Lets connections into the hall, and tells each request which certificate its connection showed.
#[derive(Clone)]
pub(super) struct Door {
    tls: RustlsAcceptor,
    hall: Hall,
}

impl Door {
    pub(super) fn new(tls: Arc<ServerConfig>, connections: usize) -> Self {
        let tls = RustlsAcceptor::new(RustlsConfig::from_config(tls)).handshake_timeout(HEAD_WITHIN);
        Door { tls, hall: Hall::new(connections) }
    }
}

type Secured<S> = <RustlsAcceptor as Accept<Guarded<TcpStream>, S>>::Service;

impl<S: Send + 'static> Accept<TcpStream, S> for Door {
    type Stream = TlsStream<Guarded<TcpStream>>;
    type Service = AddExtension<AddExtension<Secured<S>, Shown>, Arc<Place>>;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let (tls, hall) = (self.tls.clone(), self.hall.clone());
        Box::pin(async move {
            let place = hall.enter(stream.peer_addr()?.ip());
            let (stream, service) = tls.accept(place.guard(stream), service).await?;
            let certificates = stream.get_ref().1.peer_certificates();
            let leaf = certificates.and_then(<[_]>::first).map(|leaf| Arc::new(leaf.clone().into_owned()));
            let service = Extension(Shown(leaf)).layer(service);
            Ok((stream, Extension(place).layer(service)))
        })
    }
}
