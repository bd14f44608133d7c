//! Which traces are told. A sender's word that its message is traced is a wish: the ratio decides, by the trace's id, so that
//! all nodes decide alike.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingResult, ShouldSample};

#[derive(Clone, Debug)]
pub(super) struct RatioOfWishes(f64);

impl RatioOfWishes {
    pub fn new(ratio: f64) -> Self {
        RatioOfWishes(ratio)
    }
}

impl ShouldSample for RatioOfWishes {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let sampler = match parent.map(|parent| parent.span().span_context().clone()) {
            Some(parent) if parent.is_valid() && !parent.is_sampled() => Sampler::AlwaysOff,
            // What this node began goes on as it began.
            Some(parent) if parent.is_valid() && !parent.is_remote() => Sampler::AlwaysOn,
            Some(_) | None => Sampler::TraceIdRatioBased(self.0),
        };
        let mut result = sampler.should_sample(None, trace, name, kind, attributes, links);
        if let Some(parent) = parent {
            result.trace_state = parent.span().span_context().trace_state().clone();
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};
    use opentelemetry_sdk::trace::SamplingDecision;

    /// How many of a thousand traces with such a parent are told.
    fn told(ratio: f64, parent: Option<(TraceFlags, bool)>) -> usize {
        let sampler = RatioOfWishes::new(ratio);
        let is_told = |n: &u128| {
            let trace = TraceId::from((n + 1) * (u128::MAX / 1_001));
            let parent = parent.map(|(flags, remote)| {
                let span = SpanContext::new(trace, SpanId::from(7), flags, remote, TraceState::NONE);
                Context::new().with_remote_span_context(span)
            });
            let result = sampler.should_sample(parent.as_ref(), trace, "x", &SpanKind::Server, &[], &[]);
            result.decision == SamplingDecision::RecordAndSample
        };
        (0..1_000).filter(is_told).count()
    }

    #[test]
    fn a_senders_wish_is_granted_by_the_ratio_and_never_forced() {
        assert_eq!(told(0.0, Some((TraceFlags::SAMPLED, true))), 0);
        assert_eq!(told(1.0, Some((TraceFlags::SAMPLED, true))), 1_000);
        let some = told(0.25, Some((TraceFlags::SAMPLED, true)));
        assert!((200..300).contains(&some), "{some}");
    }

    #[test]
    fn what_is_not_wished_for_is_not_told_and_what_began_goes_on() {
        assert_eq!(told(1.0, Some((TraceFlags::NOT_SAMPLED, true))), 0);
        assert_eq!(told(0.0, Some((TraceFlags::SAMPLED, false))), 1_000);
        assert_eq!(told(1.0, None), 1_000);
    }
}
