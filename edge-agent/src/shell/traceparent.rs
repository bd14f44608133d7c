//! W3C Trace Context, level 1, section 3.2: one header that lets a node continue the trace of a request.
//!
//! ```text
//! traceparent = "00" "-" trace-id (32 hex) "-" parent-id (16 hex) "-" "01" (sampled)
//! ```

use rand_core::CryptoRng;
use std::fmt;

/// Name of the NATS header.
pub const HEADER: &str = "traceparent";

/// A trace and the span in it that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
}

impl TraceContext {
    /// A fresh trace with one span. All-zero ids are invalid by the standard, so the lowest bit of each is set.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        rng.fill_bytes(&mut trace);
        rng.fill_bytes(&mut span);
        trace[15] |= 1;
        span[7] |= 1;
        TraceContext { trace, span }
    }

    /// 32 lower-case hex digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex(&self.trace)
    }

    /// 16 lower-case hex digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        hex(&self.span)
    }
}

/// The header's value.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", self.trace_id(), self.span_id())
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::entropy::Entropy;

    #[test]
    fn a_traceparent_has_the_shape_of_the_standard_and_is_fresh() {
        let generate = || TraceContext::generate(&mut Entropy).to_string();
        let (one, two) = (generate(), generate());
        let parts: Vec<&str> = one.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
        assert!(
            parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()))
        );
        assert_ne!(one, two);
    }
}
