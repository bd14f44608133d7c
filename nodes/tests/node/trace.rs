//! The trace of a batch through raft, as a real OTLP collector receives it over gRPC.

use crate::support::in_time;
use crate::support::members::{Members, lot_created};
use nodes::config::{LogFormat, TelemetryConfig};
use nodes::telemetry::Telemetry;
use nodes::telemetry::trace::continue_from;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tracing::Instrument;

const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

struct Collector {
    spans: mpsc::UnboundedSender<Span>,
    /// It takes requests, and answers none.
    silent: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans = resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        let mut silent = self.silent.clone();
        silent.wait_for(|silent| !silent).await.map_err(|_| Status::cancelled("the test is over"))?;
        spans.for_each(|span| drop(self.spans.send(span)));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn telemetry(endpoint: String) -> Telemetry {
    let config = TelemetryConfig {
        otlp_endpoint: Some(endpoint),
        ca_file: None,
        trace_ratio: 1.0,
        format: LogFormat::Human,
        filter: "warn".to_owned(),
    };
    Telemetry::start(&config, "muster-node", "node-1").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_receives_proposal_commit_and_apply_as_children_of_the_senders_span_and_slows_nothing_when_silent()
 {
    let (sender, mut spans) = mpsc::unbounded_channel();
    let silent = watch::Sender::new(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let service = TraceServiceServer::new(Collector { spans: sender, silent: silent.subscribe() });
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let telemetry = telemetry(endpoint);
    let members = Members::start(1).await;
    members.leader().await;
    let proposal = tracing::info_span!("proposal");
    continue_from(&proposal, Some(SENT));
    let proposer = members.core(1).proposer().clone();
    let lot = [lot_created(3)];
    let outcomes = async { proposer.propose_events(&lot).await }.instrument(proposal).await.unwrap();
    let mut named: BTreeMap<String, Span> = BTreeMap::new();
    in_time("proposal, commit and apply at the collector", async {
        while !["proposal", "commit", "apply"].iter().all(|name| named.contains_key(*name)) {
            let span = spans.recv().await.unwrap();
            named.insert(span.name.clone(), span);
        }
    })
    .await;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for name in ["proposal", "commit", "apply"] {
        assert_eq!(hex(&named[name].trace_id), "4bf92f3577b34da6a3ce929d0e0e4736", "{name}");
    }
    assert_eq!(hex(&named["proposal"].parent_span_id), "00f067aa0ba902b7");
    assert_eq!(named["commit"].parent_span_id, named["proposal"].span_id);
    assert_eq!(named["apply"].parent_span_id, named["commit"].span_id);
    let index = named["apply"].attributes.iter().find(|attribute| attribute.key == "index").unwrap();
    let index = index.value.as_ref().unwrap();
    assert!(format!("{index:?}").contains(&outcomes.index.to_string()), "{index:?}");
    assert!(named["commit"].attributes.iter().any(|attribute| attribute.key == "bytes"));

    a_silent_collector_slows_nothing(&members, &silent).await;
    // Its end would wait for the collector.
    std::mem::forget(telemetry);
}

/// The second half of the one story: a process has one telemetry.
async fn a_silent_collector_slows_nothing(members: &Members, silent: &watch::Sender<bool>) {
    silent.send_replace(true);
    let proposer = members.core(1).proposer().clone();
    let began = Instant::now();
    for number in 100..300 {
        let span = tracing::info_span!("proposal");
        continue_from(&span, Some(SENT));
        let lot = [lot_created(number)];
        async { proposer.propose_events(&lot).await }.instrument(span).await.unwrap();
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "200 traced proposals took {took:?}");
}
