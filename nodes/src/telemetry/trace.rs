//! The trace context as it travels: a W3C `traceparent`, in a NATS header or between peers.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header's name.
pub const TRACEPARENT: &str = "traceparent";

/// A traceparent is 55 characters; whatever is longer is not read.
const TRACEPARENT_BYTES_MAX: usize = 64;

/// Makes `span` a child of the sender's span. A malformed or missing context is ignored: it says nothing about the
/// message.
pub fn continue_from(span: &Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent.filter(|text| text.len() <= TRACEPARENT_BYTES_MAX) else { return };
    let context = TraceContextPropagator::new().extract(&One(traceparent));
    if context.span().span_context().is_valid() {
        // Without the exporting layer there is no trace to continue.
        let _ = span.set_parent(context);
    }
}

/// The traceparent of `span`, if it is part of a trace.
#[must_use]
pub fn traceparent_of(span: &Span) -> Option<String> {
    traceparent(&span.context())
}

fn traceparent(context: &Context) -> Option<String> {
    let mut head = Head(None);
    TraceContextPropagator::new().inject_context(context, &mut head);
    head.0
}

struct One<'a>(&'a str);

impl Extractor for One<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

struct Head(Option<String>);

impl Injector for Head {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT && !value.is_empty() {
            self.0 = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn in_a_trace<T>(work: impl FnOnce() -> T) -> T {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work)
    }

    #[test]
    fn a_span_continues_the_trace_that_came_with_the_message() {
        let sent_on = in_a_trace(|| {
            let span = tracing::info_span!("admit");
            continue_from(&span, Some(SENT));
            traceparent_of(&span)
        });
        let sent_on = sent_on.expect("the span is part of a trace");
        assert_eq!(sent_on[..35], SENT[..35], "the same trace");
        assert_ne!(sent_on[36..52], SENT[36..52], "another span");
    }

    #[test]
    fn a_malformed_context_starts_a_trace_of_its_own() {
        for text in ["", "00-zz-11-01", &"0".repeat(10_000)] {
            let sent_on = in_a_trace(|| {
                let span = tracing::info_span!("admit");
                continue_from(&span, Some(text));
                traceparent_of(&span)
            });
            assert_ne!(sent_on.expect("a trace of its own")[3..35], SENT[3..35]);
        }
    }

    #[test]
    fn without_an_exporter_there_is_nothing_to_send_on() {
        let span = tracing::info_span!("admit");
        continue_from(&span, Some(SENT));
        assert_eq!(traceparent_of(&span), None);
    }
}
