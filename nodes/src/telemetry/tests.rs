//! The way of a finished span to a collector, in the clear and encrypted.

use super::*;
use opentelemetry::trace::{Span, Tracer};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::Path;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

const PATIENCE: Duration = Duration::from_secs(10);

fn config(filter: &str) -> TelemetryConfig {
    TelemetryConfig {
        otlp_endpoint: None,
        ca_file: None,
        trace_ratio: 1.0,
        format: LogFormat::Human,
        filter: filter.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_span_goes_to_the_collector() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let provider = exporter(&endpoint, &config("info"), "muster-node", "node-1").unwrap();
    provider.tracer("test").start("admit").end();
    let flushing = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_WITHIN));
    let came = async {
        let (mut stream, _) = collector.accept().await.unwrap();
        let mut preface = [0; 14];
        stream.read_exact(&mut preface).await.unwrap();
        preface
    };
    let preface = tokio::time::timeout(PATIENCE, came).await.expect("the exporter calls");
    assert_eq!(&preface, b"PRI * HTTP/2.0", "gRPC begins with this");
    drop(collector);
    let _ = flushing.await.unwrap();
}

struct Collector(mpsc::UnboundedSender<String>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans = resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        spans.for_each(|span| drop(self.0.send(span.name)));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// An authority in `file`, and what it signed for `localhost`.
fn authority(file: &Path) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    std::fs::write(file, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    Identity::from_pem(leaf.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

/// Sends one span to the endpoint and ends; whether the collector took it.
async fn export(endpoint: &str, ca_file: &Path, span: &'static str) -> bool {
    let config = TelemetryConfig { ca_file: Some(ca_file.to_owned()), ..config("info") };
    let provider = exporter(endpoint, &config, "muster-node", "node-1").unwrap();
    provider.tracer("test").start(span).end();
    tokio::task::spawn_blocking(move || {
        let taken = provider.force_flush().is_ok();
        let _ = provider.shutdown_with_timeout(FLUSH_WITHIN);
        taken
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_reached_encrypted_if_the_configured_authority_signed_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, stranger) = (dir.path().join("ca.pem"), dir.path().join("stranger.pem"));
    let (identity, _) = (authority(&ca), authority(&stranger));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://localhost:{}", socket.local_addr().unwrap().port());
    let (sender, mut spans) = mpsc::unbounded_channel();
    let mut server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
    let server = server.add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(socket)));

    assert!(!export(&endpoint, &stranger, "to a stranger").await);
    assert!(export(&endpoint, &ca, "to the collector").await);
    let came = tokio::time::timeout(PATIENCE, spans.recv()).await.expect("the exporter calls");
    assert_eq!(came.as_deref(), Some("to the collector"), "and nothing went to the stranger");
}

#[test]
fn a_malformed_filter_is_refused_with_what_was_expected() {
    let error = Telemetry::start(&config("nodes=loud"), "muster-node", "node-1").err();
    let error = error.map(|e| e.to_string());
    assert!(error.is_some_and(|e| e.contains("nodes=loud") && e.contains("expected")));
}
