//! The trace of one message, from the terminal's span to the answer. Only a message that came with a trace has one:
//! for all others it costs nothing.
//!
//! ```text
//!   terminal's span ─▶ message ─┬─ admission   parse, open, judge
//!                               ├─ proposal    wait for the batch, commit, apply
//!                               └─ verdict     seal, hand to the bus
//! ```

use crate::bus::subject::{Sender, UpKind};
use crate::telemetry::trace::continue_from;
use tracing::Span;

/// The spans of one traced message.
#[derive(Debug)]
pub struct Trace {
    message: Span,
    proposal: Option<Span>,
}

impl Trace {
    /// Continues the sender's trace, if the message carries one.
    #[must_use]
    pub fn begin(traceparent: Option<&str>, kind: UpKind, sender: &Sender) -> Option<Box<Trace>> {
        let traceparent = traceparent?;
        let message = match sender {
            Sender::Device(device) => tracing::info_span!("message", kind = kind.as_str(), %device),
            Sender::Lot(lot) => tracing::info_span!("message", kind = kind.as_str(), %lot),
        };
        continue_from(&message, Some(traceparent));
        Some(Box::new(Trace { message, proposal: None }))
    }

    #[must_use]
    pub fn admission(&self) -> Span {
        tracing::info_span!(parent: &self.message, "admission")
    }

    /// From here on the message waits for the log.
    pub fn propose(&mut self) {
        self.proposal = Some(tracing::info_span!(parent: &self.message, "proposal"));
    }

    /// The span of the wait, for the batch to join.
    #[must_use]
    pub fn proposal(&self) -> Option<&Span> {
        self.proposal.as_ref()
    }

    /// Ends the wait; the answer is being sealed.
    pub fn verdict(&mut self) -> Span {
        self.proposal = None;
        tracing::info_span!(parent: &self.message, "verdict")
    }
}
