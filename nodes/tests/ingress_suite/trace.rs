//! A message that came with a trace continues it: admission, proposal and verdict are its children.

use crate::world::{World, answered};
use nodes::bus::Message;
use opentelemetry::trace::{SpanId, TraceId, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tracing_subscriber::layer::SubscriberExt;

const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

#[tokio::test]
async fn a_heartbeat_is_traced_from_its_sender_to_its_verdict() {
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _traced = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let mut world = World::new().await;
    let terminal = world.burn();
    let mut live = terminal.activate(&mut world).await;
    terminal.beat(&world, &mut live).await;
    kept.0.lock().unwrap().clear();

    let message = terminal.seal_heartbeat(&mut live);
    let inbox = world.inbox(&terminal.name());
    let subject = format!("muster.v1.eu.up.{}.{}.heartbeat", terminal.source, terminal.id);
    let mut answers = world.nodes[0].bus.listen(&inbox);
    let traced = Message { trace: Some(SENT.into()), ..Message::new(subject, inbox, message) };
    world.nodes[0].bus.send(traced);
    answered(&mut answers).await;
    // The message's own span ends when the last that knows it is dropped, just after the answer left.
    world.admitted(0).await;

    let trace = TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap();
    let spans = kept.0.lock().unwrap();
    let named: BTreeMap<&str, &SpanData> = spans
        .iter()
        .filter(|span| span.span_context.trace_id() == trace)
        .map(|span| (span.name.as_ref(), span))
        .collect();
    assert_eq!(named["message"].parent_span_id, SpanId::from_hex("00f067aa0ba902b7").unwrap());
    for child in ["admission", "proposal", "verdict"] {
        assert_eq!(named[child].parent_span_id, named["message"].span_context.span_id(), "{child}");
    }
}

#[tokio::test]
async fn a_flood_of_trace_headers_does_not_become_a_flood_of_spans() {
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _traced = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let world = World::new().await;
    let device = events::ids::DeviceId::from_bytes([9; 16]);
    for number in 0..3_000u32 {
        let subject = format!("muster.v1.eu.up.flood.{device}.heartbeat");
        let message = Message::new(subject, format!("_INBOX_{device}.1"), number.to_le_bytes().to_vec());
        world.nodes[0].bus.send(Message { trace: Some(SENT.into()), ..message });
    }
    world.admitted(0).await;
    world.until_counted(0, |counters| counters.received >= 3_000).await;
    world.admitted(0).await;
    let spans = kept.0.lock().unwrap().iter().filter(|span| span.name == "message").count();
    assert!((256..1_000).contains(&spans), "{spans} spans of 3000 messages");
}
