//! One heartbeat, followed from the terminal to its verdict: the agent's own span in its file, the nodes' spans at a
//! real OTLP collector.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span, TracesData};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const PATIENCE: Duration = Duration::from_secs(60);
/// Each is the child of one before it.
const WHOLE_WAY: [(&str, &str); 7] = [
    ("heartbeat", ""),
    ("message", "heartbeat"),
    ("admission", "message"),
    ("proposal", "message"),
    ("commit", "proposal"),
    ("apply", "commit"),
    ("verdict", "message"),
];

#[test]
fn one_heartbeat_is_one_trace_from_the_agent_to_its_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::start();
    let mut cluster =
        crate::development_cluster::up_with(dir.path(), &["--otlp", collector.endpoint.as_str()]);
    let mut traces = Traces::default();
    let deadline = Instant::now() + PATIENCE;
    let whole = loop {
        assert!(Instant::now() < deadline, "no trace became whole; names seen: {:?}", traces.names());
        if let Ok(spans) = collector.received.recv_timeout(Duration::from_millis(100)) {
            traces.take(spans);
        }
        if let Some(whole) = traces.whole(&spans_of_agents(dir.path())) {
            break whole;
        }
    };
    cluster.kill().unwrap();
    cluster.wait().unwrap();
    eprintln!("{}", picture(&whole));
    for (name, parent) in WHOLE_WAY.iter().skip(1) {
        assert_eq!(whole[*name].span.parent_span_id, whole[*parent].span.span_id, "{name} below {parent}");
    }
    assert_eq!(whole["heartbeat"].service, "muster-agent");
    assert!(whole.iter().skip(1).all(|(name, of)| *name == "heartbeat" || of.service == "muster-node"));
    let (agent, verdict) = (&whole["heartbeat"].span, &whole["verdict"].span);
    assert!(agent.start_time_unix_nano <= whole["message"].span.start_time_unix_nano);
    assert!(verdict.start_time_unix_nano <= agent.end_time_unix_nano, "the answer ends the agent's span");
}

/// A span and who told it.
#[derive(Clone)]
struct Told {
    service: String,
    span: Span,
}

/// Spans of every trace, as they came.
#[derive(Default)]
struct Traces(BTreeMap<Vec<u8>, Vec<Told>>);

impl Traces {
    fn take(&mut self, spans: Vec<ResourceSpans>) {
        for told in told(spans) {
            self.0.entry(told.span.trace_id.clone()).or_default().push(told);
        }
    }

    /// The first way that is whole, from an agent's own span on: a heartbeat that was sent or proposed twice has spans of
    /// both times in one trace.
    fn whole(&self, agents: &[Told]) -> Option<BTreeMap<String, Told>> {
        agents.iter().filter(|told| told.span.name == "heartbeat").find_map(|told| {
            let trace = self.0.get(&told.span.trace_id)?;
            let is_its = |of: &&Told| of.span.parent_span_id == told.span.span_id;
            let messages = trace.iter().filter(|of| of.span.name == "message").filter(is_its);
            messages.cloned().find_map(|message| whole_way(trace, told, message))
        })
    }

    fn names(&self) -> Vec<Vec<&String>> {
        self.0.values().map(|trace| trace.iter().map(|told| &told.span.name).collect()).collect()
    }
}

/// The way of one message, if each step of it is there below the one that it belongs to.
fn whole_way(trace: &[Told], heartbeat: &Told, message: Told) -> Option<BTreeMap<String, Told>> {
    let mut way =
        BTreeMap::from([("heartbeat".to_owned(), heartbeat.clone()), ("message".to_owned(), message)]);
    for (name, parent) in &WHOLE_WAY[2..] {
        let above = way.get(*parent)?.span.span_id.clone();
        let mut below = trace.iter().filter(|of| of.span.name == *name && of.span.parent_span_id == above);
        // What was proposed again ends with its last time.
        way.insert((*name).to_owned(), below.next_back()?.clone());
    }
    Some(way)
}

fn told(spans: Vec<ResourceSpans>) -> impl Iterator<Item = Told> {
    spans.into_iter().flat_map(|of| {
        let service = of.resource.iter().flat_map(|resource| &resource.attributes);
        let service = service.filter(|attribute| attribute.key == "service.name");
        let service: String = service.map(|attribute| text(attribute.value.as_ref())).collect();
        let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(move |span| Told { service: service.clone(), span })
    })
}

fn text(value: Option<&opentelemetry_proto::tonic::common::v1::AnyValue>) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("not a text: {other:?}"),
    }
}

/// What the agents told in their files, read as the standard's own types; the last line may be half written.
fn spans_of_agents(dir: &Path) -> Vec<Told> {
    let terminals = std::fs::read_dir(dir.join("run/terminals")).unwrap();
    let files = terminals.map(|terminal| terminal.unwrap().path().join("spans.jsonl"));
    let texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
    let lines: Vec<String> =
        texts.flat_map(|text| text.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>()).collect();
    let whole = lines.iter().filter(|line| line.ends_with('\n'));
    whole.flat_map(|line| told(serde_json::from_str::<TracesData>(line).unwrap().resource_spans)).collect()
}

/// As people draw a trace.
fn picture(trace: &BTreeMap<String, Told>) -> String {
    let began = trace["heartbeat"].span.start_time_unix_nano;
    let millis = |nanos: u64| nanos.saturating_sub(began) as f64 / 1e6;
    let depth = |mut name: &str| {
        let mut depth = 0;
        while let Some((_, parent)) = WHOLE_WAY.iter().find(|(known, _)| *known == name) {
            (name, depth) = (parent, depth + 1);
        }
        depth
    };
    let mut lines = vec![format!("trace {}", hex(&trace["heartbeat"].span.trace_id))];
    for (name, _) in WHOLE_WAY {
        let Told { service, span } = &trace[name];
        let name = format!("{:indent$}{name}", "", indent = 2 * depth(name));
        let (from, to) = (millis(span.start_time_unix_nano), millis(span.end_time_unix_nano));
        lines.push(format!("{name:<16} {service:<14} {from:>8.2} to {to:>8.2} ms"));
    }
    lines.join("\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An OTLP collector over gRPC on a thread of its own.
struct Collector {
    endpoint: String,
    received: mpsc::Receiver<Vec<ResourceSpans>>,
    _runtime: tokio::runtime::Runtime,
}

struct Receive(mpsc::Sender<Vec<ResourceSpans>>);

#[tonic::async_trait]
impl TraceService for Receive {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        // After the test's end nobody listens.
        let _ = self.0.send(request.into_inner().resource_spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, received) = mpsc::channel();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let service = TraceServiceServer::new(Receive(sender));
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Collector { endpoint, received, _runtime: runtime }
    }
}
