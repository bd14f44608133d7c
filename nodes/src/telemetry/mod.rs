//! Logs and traces. Nothing secret is ever a field of a span or an event: what is traced are ids, counts and reasons.
//!
//! Logs go to standard error, for people or as JSON. Traces go by OTLP to an endpoint, if one is configured; the
//! context comes from and goes to others as a W3C `traceparent` ([`trace`]).

pub mod measures;
pub mod metrics;
mod sampler;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod traced;

use crate::config::{LogFormat, TelemetryConfig};
use crate::peers::tls::{roots, roots_of_this_host};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use sampler::RatioOfWishes;
use std::time::Duration;
use tonic::transport::ClientTlsConfig;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// Spans that are still to be sent get so long at the end of the process.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log filter `{filter}` is malformed: {why}; expected directives such as `info,nodes=debug`")]
    Filter { filter: String, why: String },
    #[error("cannot export traces to {endpoint}: {why}")]
    Exporter { endpoint: String, why: String },
    #[error("telemetry was set up before in this process")]
    SetTwice,
}

/// Sends what is left when it is dropped.
#[must_use = "dropping it ends the export of traces"]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sets up logs and traces of the process; `service` and `node` name it to the collector. Must be called in a
    /// tokio runtime.
    pub fn start(config: &TelemetryConfig, service: &str, node: &str) -> Result<Self, TelemetryError> {
        let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| config.filter.clone());
        let filter = EnvFilter::try_new(&directives)
            .map_err(|e| TelemetryError::Filter { filter: directives.clone(), why: e.to_string() })?;
        let traces = match &config.otlp_endpoint {
            Some(endpoint) => Some(exporter(endpoint, config, service, node)?),
            None => None,
        };
        let mut layers = vec![lines(config.format, filter)];
        if let Some(provider) = &traces {
            layers.push(spans(provider));
        }
        tracing_subscriber::registry().with(layers).try_init().map_err(|_| TelemetryError::SetTwice)?;
        Ok(Telemetry { traces })
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = self.traces.take() {
            // At the end of the process nobody is left to be told that the collector is gone.
            let _ = traces.shutdown_with_timeout(FLUSH_WITHIN);
        }
    }
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn lines(format: LogFormat, filter: EnvFilter) -> BoxedLayer {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Human => layer.with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
    }
}

/// Spans of this program only: those of the exporter's own requests would cause another export each.
fn spans(provider: &SdkTracerProvider) -> BoxedLayer {
    let own = filter_fn(|metadata| {
        !["h2", "hyper", "tonic", "tower", "openraft"]
            .iter()
            .any(|other| metadata.target().starts_with(other))
    });
    tracing_opentelemetry::layer().with_tracer(provider.tracer("muster")).with_filter(own).boxed()
}

/// Whether the exporter's files are what they should be.
pub fn check(config: &TelemetryConfig) -> Result<(), TelemetryError> {
    config.otlp_endpoint.as_ref().map_or(Ok(()), |endpoint| tls(endpoint, config).map(drop))
}

/// How an endpoint of `https://` proves itself; none for one that does not.
fn tls(endpoint: &str, config: &TelemetryConfig) -> Result<Option<ClientTlsConfig>, TelemetryError> {
    if !endpoint.starts_with("https://") {
        return Ok(None);
    }
    let roots = match &config.ca_file {
        Some(file) => roots(file),
        None => roots_of_this_host("telemetry.ca_file"),
    };
    let roots =
        roots.map_err(|e| TelemetryError::Exporter { endpoint: endpoint.to_owned(), why: e.to_string() })?;
    Ok(Some(ClientTlsConfig::new().trust_anchors(roots.roots)))
}

fn exporter(
    endpoint: &str,
    config: &TelemetryConfig,
    service: &str,
    node: &str,
) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
    let exporter = match tls(endpoint, config)? {
        Some(tls) => exporter.with_tls_config(tls),
        None => exporter,
    };
    let exporter = exporter
        .build()
        .map_err(|e| TelemetryError::Exporter { endpoint: endpoint.to_owned(), why: e.to_string() })?;
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attribute(KeyValue::new("service.instance.id", node.to_owned()))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_sampler(RatioOfWishes::new(config.trace_ratio))
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}
